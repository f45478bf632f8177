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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Numbers of `numpy.percentile([1, 2, 4, 8, 16], [2.5, 97.5, 50])`.
    #[test]
    fn percentiles_are_numpys() {
        let values = [1.0, 2.0, 4.0, 8.0, 16.0];
        for (share, expected) in [(0.025, 1.1), (0.975, 15.2), (0.5, 4.0)] {
            assert!((percentile(&values, share) - expected).abs() < 1e-12, "{share}");
        }
    }

    /// Of 400 items of which 300 are right, the share's interval is that of the normal curve, 0.75 ± 1.96 · 0.02165; a
    /// thousand draws know its ends to about 0.002.
    #[test]
    fn the_interval_of_a_share_is_that_of_the_normal_curve() {
        let share = |drawn: &[usize]| Some(drawn.iter().filter(|&&place| place < 300).count() as f64 / 400.0);
        let Interval { low, high } = bootstrap(400, share).unwrap();
        assert!((low - 0.7076).abs() < 0.006 && (high - 0.7924).abs() < 0.006, "{low} {high}");
        assert_eq!(bootstrap(400, share), Some(Interval { low, high }), "not the same again");
    }

    #[test]
    fn there_is_no_interval_of_one_or_of_what_is_not_defined() {
        assert_eq!(bootstrap(1, |_| Some(1.0)), None);
        assert_eq!(bootstrap(0, |_| Some(1.0)), None);
        assert_eq!(bootstrap(9, |_| None), None);
        // Draws of one item alone have no value here, and are left out.
        let some = bootstrap(3, |drawn| drawn.iter().any(|place| place != &drawn[0]).then_some(1.0));
        assert_eq!(some, Some(Interval { low: 1.0, high: 1.0 }));
    }

    #[test]
    fn seeds_have_a_mean_and_an_interval() {
        assert_eq!(over_seeds(&[]), None);
        assert_eq!(over_seeds(&[2.0]), Some((2.0, None)));
        let (mean, interval) = over_seeds(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let Interval { low, high } = interval.unwrap();
        assert!(mean == 3.0 && (1.5..2.5).contains(&low) && (3.5..4.5).contains(&high), "{low} {high}");
    }
}
