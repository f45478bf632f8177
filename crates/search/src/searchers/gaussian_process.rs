//! Gaussian-process regression, exact (Rasmussen and Williams 2006, chapters 2 and 5): a zero mean on standardised values, the
//! Matérn-5/2 kernel and noise; their parameters are those of a grid with the largest marginal likelihood.
//!
//! Of the crates that have this, `friedrich` has one length for all coordinates and ends its fit by the clock, so that a search
//! would not go on bit for bit; `egobox-gp` brings linfa and an optimiser, more than the rest of the search together. What is
//! hard here is nalgebra's Cholesky factorisation, which the program has anyway.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use crate::front::Guess;

/// A point: coordinates of two kinds, each kind with a length of its own.
pub(crate) type Point = [Vec<f64>; 2];

/// Lengths: a distance of 1 is that between points that differ by 1 in every coordinate of a kind.
const LENGTHS: [f64; 6] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2];
/// Variances of the noise, over that of the values.
const NOISES: [f64; 4] = [1e-4, 1e-3, 1e-2, 1e-1];

/// A Gaussian process that has seen some values.
#[derive(Clone, Debug)]
pub(crate) struct GaussianProcess {
    points: Vec<Point>,
    lengths: [f64; 2],
    factor: Cholesky<f64, Dyn>,
    /// K⁻¹ y.
    weights: DVector<f64>,
    /// The kernel's variance, of standardised values.
    variance: f64,
    /// Mean and deviation of the values.
    standard: Guess,
}

impl GaussianProcess {
    /// Of values at points, at least two of which differ; else none.
    pub fn fit(points: &[Point], values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviation = (values.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / count).sqrt();
        if !(deviation.is_finite() && deviation > 0.0) {
            return None;
        }
        let y = DVector::from_iterator(values.len(), values.iter().map(|y| (y - mean) / deviation));
        let mut best: Option<(f64, Self)> = None;
        for lengths in LENGTHS.into_iter().flat_map(|one| LENGTHS.map(|other| [one, other])) {
            let kernel = DMatrix::from_fn(points.len(), points.len(), |i, j| kernel(&points[i], &points[j], lengths));
            for noise in NOISES {
                let noisy = &kernel + DMatrix::from_diagonal_element(points.len(), points.len(), noise);
                let Some(factor) = noisy.cholesky() else { continue };
                let weights = factor.solve(&y);
                // The variance that makes the rest likeliest is known.
                let variance = (y.dot(&weights) / count).max(f64::MIN_POSITIVE);
                let diagonal = factor.l_dirty().diagonal();
                let likelihood = -0.5 * count * variance.ln() - diagonal.iter().map(|d| d.ln()).sum::<f64>();
                if best.as_ref().is_none_or(|(most, _)| likelihood > *most) {
                    let (points, standard) = (points.to_vec(), Guess { mean, deviation });
                    best = Some((likelihood, Self { points, lengths, factor, weights, variance, standard }));
                }
            }
        }
        best.map(|(_, process)| process)
    }

    /// What is thought of the value at a point, without its noise.
    pub fn at(&self, point: &Point) -> Guess {
        let near = self.points.iter().map(|there| kernel(there, point, self.lengths));
        let near = DVector::from_iterator(self.points.len(), near);
        let known = self.factor.l_dirty().solve_lower_triangular(&near).map_or(0.0, |v| v.norm_squared());
        let deviation = (self.variance * (1.0 - known).max(1e-12)).sqrt();
        let Guess { mean, deviation: scale } = self.standard;
        Guess { mean: mean + scale * near.dot(&self.weights), deviation: scale * deviation }
    }
}

/// Matérn-5/2 at distance r: (1 + √5 r + 5r²/3) e^(−√5 r).
fn kernel(one: &Point, other: &Point, lengths: [f64; 2]) -> f64 {
    let of = |kind: usize| {
        let squares = one[kind].iter().zip(&other[kind]).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f64>() / one[kind].len().max(1) as f64 / lengths[kind].powi(2)
    };
    let distance = (5.0 * (of(0) + of(1))).sqrt();
    (1.0 + distance + distance * distance / 3.0) * (-distance).exp()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::RngExt;
    use stratune_protocol::draws;

    use super::*;

    fn points(count: usize) -> Vec<Point> {
        let mut rng = draws(3, "points", [0, 0]);
        let mut some = |n: usize| (0..n).map(|_| rng.random_range(0.0..1.0)).collect();
        (0..count).map(|_| [some(2), some(1)]).collect()
    }

    fn value(at: &Point) -> f64 {
        3.0 + (2.0 * at[0][0]).sin() + 0.5 * at[0][1] - at[1][0].powi(2)
    }

    /// What it has not seen it says to a hundredth, and it is less sure of what is farther from what it has seen.
    #[test]
    fn a_smooth_function_is_learned() {
        let (seen, unseen) = (points(70)[..60].to_vec(), points(70)[60..].to_vec());
        let values: Vec<f64> = seen.iter().map(value).collect();
        let process = GaussianProcess::fit(&seen, &values).unwrap();
        for point in &unseen {
            let guess = process.at(point);
            assert!((guess.mean - value(point)).abs() < 0.01, "{guess:?}, not {}", value(point));
        }
        let [near, far] = [process.at(&seen[0]), process.at(&[vec![4.0, -3.0], vec![5.0]])];
        assert!(near.deviation < 0.02 && far.deviation > 10.0 * near.deviation, "{near:?} {far:?}");
    }

    /// By hand, of two points: K = [[1 + s, k], [k, 1 + s]].
    #[test]
    fn two_values_by_hand() {
        let points = [[vec![0.0], vec![]], [vec![1.0], vec![]]];
        let process = GaussianProcess::fit(&points, &[1.0, 3.0]).unwrap();
        let r = 5.0_f64.sqrt() / process.lengths[0];
        let k = (1.0 + r + r * r / 3.0) * (-r).exp();
        let noise = process.factor.l_dirty()[(0, 0)].powi(2) - 1.0;
        assert!(NOISES.iter().any(|known| (known - noise).abs() < 1e-12));
        // Of the standardised values −1 and 1 the weights are ∓1 / (1 + s − k).
        let weight = 1.0 / (1.0 + noise - k);
        assert!(
            (process.weights[1] - weight).abs() < 1e-9 * weight && (process.variance - weight).abs() < 1e-9 * weight
        );
        let guess = process.at(&points[1]);
        assert!((guess.mean - (2.0 + weight * (1.0 - k))).abs() < 1e-9);
        let known = [1.0, k].map(|x| x * x).iter().sum::<f64>() * (1.0 + noise) - 2.0 * k * k;
        let known = known / ((1.0 + noise).powi(2) - k * k);
        assert!((guess.deviation - (weight * (1.0 - known)).sqrt()).abs() < 1e-9);
    }

    /// What differs along one kind of coordinates alone has a long length along the other; values that are all alike say
    /// nothing.
    #[test]
    fn the_likeliest_lengths_are_taken() {
        let seen = points(60);
        let values: Vec<f64> = seen.iter().map(|at| (9.0 * at[1][0]).sin()).collect();
        let process = GaussianProcess::fit(&seen, &values).unwrap();
        assert!(process.lengths[0] > process.lengths[1], "{:?}", process.lengths);
        assert!(GaussianProcess::fit(&seen, &[1.0; 60]).is_none());
    }
}
