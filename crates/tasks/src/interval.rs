//! Intervals by the percentile bootstrap (Efron 1979).

use rand::RngExt;
use serde::{Deserialize, Serialize};
use stratune_protocol::draws;

/// How often is drawn.
const RESAMPLES: u64 = 1000;

/// Where a value is with a confidence of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The 2.5th percentile.
    pub low: f64,
    /// The 97.5th.
    pub high: f64,
}

/// Draws `units` units with replacement, a thousand times, the same each time it is called; `statistic` gets their
/// places. Draws for which it is not defined are left out. None for fewer than two units, or where it is not defined for
/// half of the draws.
pub(crate) fn bootstrap(units: usize, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Interval> {
    if units < 2 {
        return None;
    }
    let value = |draw: u64| {
        let mut rng = draws(0, "bootstrap", [draw, units as u64]);
        let drawn: Vec<usize> = (0..units).map(|_| rng.random_range(0..units)).collect();
        statistic(&drawn)
    };
    let mut values: Vec<f64> = (0..RESAMPLES).filter_map(value).collect();
    if values.len() as u64 * 2 < RESAMPLES {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some(Interval { low: percentile(&values, 0.025), high: percentile(&values, 0.975) })
}

/// The mean over seeds, or whatever else was repeated, with its interval; none of no values. Of fewer than five the
/// interval is too narrow: it says how far these runs lie apart, and little of others.
pub fn over_seeds(values: &[f64]) -> Option<(f64, Option<Interval>)> {
    let mean = |places: &[usize]| places.iter().map(|&place| values[place]).sum::<f64>() / places.len() as f64;
    let all: Vec<usize> = (0..values.len()).collect();
    (!all.is_empty()).then(|| (mean(&all), bootstrap(all.len(), |drawn| Some(mean(drawn)))))
}

/// Between sorted values, linearly.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}
