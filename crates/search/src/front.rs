//! Structures that were measured, and those of them that no other is better than.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use serde::{Deserialize, Serialize};
use special::Error;
use stratune_protocol::FrontPoint;

use crate::Space;

/// A Pareto front in two objectives, both the better the lower: numbers that train, and the loss on rows that are set apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Front(Vec<FrontPoint>);

impl Front {
    /// Its structures, upwards in numbers and downwards in loss.
    pub fn points(&self) -> &[FrontPoint] {
        &self.0
    }

    /// Takes a structure in, and out those that it is better than. False if another is as small and as good.
    pub fn add(&mut self, point: FrontPoint) -> bool {
        let worse = |one: &FrontPoint, other: &FrontPoint| one.parameters >= other.parameters && one.loss >= other.loss;
        if self.0.iter().any(|there| worse(&point, there)) {
            return false;
        }
        self.0.retain(|there| !worse(there, &point));
        let at = self.0.partition_point(|there| there.parameters < point.parameters);
        self.0.insert(at, point);
        true
    }

    /// The structure with the lowest loss of those with so many numbers at most.
    pub fn within(&self, numbers: u64) -> Option<&FrontPoint> {
        self.0[..self.0.partition_point(|point| point.parameters <= numbers)].last()
    }

    /// The area of what is worse than a structure of the front and better than `reference` (numbers, loss).
    pub fn hypervolume(&self, reference: [f64; 2]) -> f64 {
        let (mut area, mut ceiling) = (0.0, reference[1]);
        for point in &self.0 {
            let width = (reference[0] - point.parameters as f64).max(0.0);
            area += width * (ceiling - point.loss).max(0.0);
            ceiling = ceiling.min(point.loss);
        }
        area
    }

    /// What the hypervolume is expected to grow by with a structure of so many numbers whose loss is guessed: over each stretch
    /// of numbers the front has one loss, below which that of the structure may be.
    pub(crate) fn expected_gain(&self, parameters: u64, guess: Guess, reference: [f64; 2]) -> f64 {
        let (mut from, mut ceiling, mut gain) = (parameters as f64, reference[1], 0.0);
        for point in &self.0 {
            let to = (point.parameters as f64).min(reference[0]).max(from);
            gain += (to - from) * guess.expected_below(ceiling);
            (from, ceiling) = (to, ceiling.min(point.loss));
        }
        gain + (reference[0] - from).max(0.0) * guess.expected_below(ceiling)
    }

    /// Whether it can be of this space: what a file says is not believed.
    pub(crate) fn fits(&self, space: &Space) -> bool {
        let ordered = |pair: &[FrontPoint]| pair[0].parameters < pair[1].parameters && pair[0].loss > pair[1].loss;
        let whole = |point: &FrontPoint| space.has(&point.sizes) && space.count(&point.sizes) == point.parameters;
        self.0.iter().all(whole) && self.0.windows(2).all(ordered)
    }
}

/// What is thought of a value that is normally distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Guess {
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation, above 0.
    pub deviation: f64,
}

impl Guess {
    /// E max(0, c − y) = (c − μ) Φ(z) + σ φ(z), z = (c − μ)/σ.
    fn expected_below(&self, ceiling: f64) -> f64 {
        let z = (ceiling - self.mean) / self.deviation;
        let below = 0.5 * (-z * FRAC_1_SQRT_2).compl_error();
        let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
        ((ceiling - self.mean) * below + self.deviation * density).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use stratune_protocol::{draws, normals};

    use super::*;

    fn point(parameters: u64, loss: f64) -> FrontPoint {
        FrontPoint { parameters, loss, sizes: Vec::new() }
    }

    #[test]
    fn what_another_is_better_than_is_no_part_of_it() {
        let mut front = Front::default();
        assert!(front.add(point(10, 2.0)) && front.add(point(30, 1.0)) && front.add(point(20, 1.5)));
        assert!(!front.add(point(20, 1.5)) && !front.add(point(25, 1.5)) && !front.add(point(11, 3.0)));
        assert!(front.add(point(15, 0.9)), "better than two");
        assert_eq!(front.points(), [point(10, 2.0), point(15, 0.9)]);
        assert_eq!(front.within(14), Some(&point(10, 2.0)));
        assert_eq!((front.within(9), front.within(99)), (None, Some(&point(15, 0.9))));
        // (20 − 10) · (3 − 2) and (20 − 15) · (2 − 0.9).
        assert!((front.hypervolume([20.0, 3.0]) - (10.0 + 5.5)).abs() < 1e-12);
        assert!((front.hypervolume([12.0, 3.0]) - 2.0).abs() < 1e-12, "what is beyond the reference adds nothing");
    }

    /// Whatever comes, the volume never falls, and it is the one that is counted by hand on a grid.
    #[test]
    fn the_hypervolume_never_falls() {
        let mut rng = draws(3, "front", [0, 0]);
        for _ in 0..20 {
            let (mut front, mut before, mut all) = (Front::default(), 0.0, Vec::new());
            for _ in 0..30 {
                let (x, y) = (rng.random_range(0..40_u64), rng.random_range(0..40_u64));
                all.push((x, y));
                front.add(point(x, y as f64));
                let now = front.hypervolume([40.0, 40.0]);
                let cells = (0..40).flat_map(|a| (0..40).map(move |b| (a, b)));
                let counted = cells.filter(|(a, b)| all.iter().any(|(x, y)| x <= a && y <= b)).count();
                assert!(now >= before && now == counted as f64, "{before}, {now}, counted {counted}");
                before = now;
            }
        }
    }

    /// The mean over draws of what the volume grows by.
    #[test]
    fn the_expected_gain_is_the_mean_of_the_gains() {
        let mut front = Front::default();
        [point(10, 2.0), point(20, 1.5), point(35, 0.8)].into_iter().for_each(|point| assert!(front.add(point)));
        let (reference, before) = ([40.0, 3.0], front.hypervolume([40.0, 3.0]));
        for (numbers, mean, deviation) in
            [(5, 1.6, 0.5), (20, 1.2, 0.3), (25, 1.0, 0.8), (39, 1.0, 0.4), (41, 0.0, 1.0)]
        {
            let drawn = normals(&mut draws(1, "gain", [0, 0]), 20_000, deviation as f32);
            let gains = drawn.iter().map(|by| {
                let mut front = front.clone();
                front.add(point(numbers, mean + f64::from(*by)));
                front.hypervolume(reference) - before
            });
            let want = gains.sum::<f64>() / 20_000.0;
            let got = front.expected_gain(numbers, Guess { mean, deviation }, reference);
            assert!((got - want).abs() < 0.03 * want + 1e-3, "{numbers}: {got}, not {want}");
        }
    }
}
