//! How likely each block is to be in a draw.
//!
//! Let every block ring after a random time, exponential with its weight as rate. The next to ring among those that are
//! left is each of them with a probability proportional to its weight, so the order of ringing is the order of
//! [`draw`](crate::draw): a block is drawn if it rings while fewer than `count` others have. Given the time t, the others ring
//! independently of each other, so that how many have is a product of polynomials; over t it is an integral,
//! `∫ w e^{−wt} P(fewer than count others before t) dt`, which the trapezoidal rule on `t = exp(x − e^{−x})` gives to ten
//! digits. There is no sampling in it: a resumed run computes the same bits.

use crate::sample::{Floor, most_low};

/// Distance of the places where the integrand is taken, in x.
const SPACING: f64 = 0.0625;

/// The probability of each block to be among the `count` that [`draw`](crate::draw) gives.
pub fn inclusion(weights: &[f64], count: usize, floor: Option<Floor>) -> Vec<f64> {
    let weights = &relative(weights)[..];
    let below = floor.map_or(0, |f| f.below.min(weights.len()));
    let most_low = most_low(weights.len() - below, count);
    let mut sums = vec![0.0; weights.len()];
    for (t, width) in times(weights) {
        let rung = rung(weights, t);
        let (low, high) = rung.split_at(below);
        let (low_counts, high_counts) = (counts(low.iter(), count), counts(high.iter(), count));
        // A low block finds its place if fewer low ones than may be drawn, and fewer than `count` in all, are there.
        for i in 0..below {
            let others = counts(without(low, i), most_low.min(count));
            let there = others.iter().enumerate().map(|(b, p)| p * high_counts[..count - b].iter().sum::<f64>());
            sums[i] += width * weights[i] * (1.0 - rung[i]) * there.sum::<f64>();
        }
        // Of the low ones that have rung, no more than that were drawn.
        let few: f64 = low_counts.iter().take(most_low).sum();
        for i in below..weights.len() {
            let others = counts(without(high, i - below), count);
            let fewer_than = |n: usize| others[..n].iter().sum::<f64>();
            let mut there: f64 =
                low_counts.iter().take(most_low).enumerate().map(|(b, p)| p * fewer_than(count - b)).sum();
            there += (1.0 - few).max(0.0) * fewer_than(count.saturating_sub(most_low));
            sums[i] += width * weights[i] * (1.0 - rung[i]) * there;
        }
    }
    sums
}

/// The probability of each block to be drawn when the lowest of the draw is block f with probability `floors[f]`, and
/// `count − 1` more are drawn by weight among the blocks above it.
pub fn inclusion_above(floors: &[f64], weights: &[f64], count: usize) -> Vec<f64> {
    let weights = &relative(weights)[..];
    let more = count.saturating_sub(1);
    let mut sums = floors.to_vec();
    for (t, width) in times(weights) {
        let rung = rung(weights, t);
        // Of the blocks above the floor, all and all but one: how likely 0, 1, … of them have rung.
        let mut all = counts([].iter(), more);
        let mut others = vec![Vec::new(); weights.len()];
        for floor in (0..weights.len()).rev() {
            for i in floor + 1..weights.len() {
                sums[i] += floors[floor] * width * weights[i] * (1.0 - rung[i]) * others[i].iter().sum::<f64>();
                join(&mut others[i], rung[floor]);
            }
            others[floor] = all.clone();
            join(&mut all, rung[floor]);
        }
    }
    sums
}

/// The weights as shares of the largest, which is all that a draw depends on. Where none has a measure each is as likely.
fn relative(weights: &[f64]) -> Vec<f64> {
    let most = weights.iter().copied().fold(0.0, f64::max);
    weights.iter().map(|w| if most.is_normal() { w / most } else { 1.0 }).collect()
}

/// Times t, and how much of the integral each stands for. The largest weight is 1.
fn times(weights: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let least = weights.iter().copied().fold(1.0, f64::min).max(1e-12);
    // Before the first time none has rung, after the last one all have, to the last digit.
    let (first, last) = (-3.6, (45.0_f64 / least).ln());
    let steps = ((last - first) / SPACING).ceil() as usize;
    (0..=steps).map(move |k| {
        let x = first + SPACING * k as f64;
        let t = (x - (-x).exp()).exp();
        (t, SPACING * t * (1.0 + (-x).exp()))
    })
}

/// The probability of each block to have rung at t.
fn rung(weights: &[f64], t: f64) -> Vec<f64> {
    weights.iter().map(|w| -(-w * t).exp_m1()).collect()
}

fn without(rung: &[f64], i: usize) -> impl Iterator<Item = &f64> {
    rung[..i].iter().chain(&rung[i + 1..])
}

/// The probabilities that 0, 1, … and `most − 1` blocks have rung.
fn counts<'a>(rung: impl Iterator<Item = &'a f64>, most: usize) -> Vec<f64> {
    let mut counts = vec![0.0; most];
    if let Some(none) = counts.first_mut() {
        *none = 1.0;
    }
    rung.for_each(|p| join(&mut counts, *p));
    counts
}

/// One block more, which has rung with probability `p`.
fn join(counts: &mut [f64], p: f64) {
    for n in (0..counts.len()).rev() {
        let before = if n > 0 { counts[n - 1] } else { 0.0 };
        counts[n] = counts[n] * (1.0 - p) + before * p;
    }
}

#[cfg(test)]
mod tests {
    use stratune_protocol::draws;

    use super::*;
    use crate::{DepthBudget, draw};

    /// Every order of a draw in turn, with its probability.
    fn by_hand(weights: &[f64], count: usize, floor: Option<Floor>) -> Vec<f64> {
        fn go(weights: &[f64], left: &[usize], drawn: &[usize], p: f64, count: usize, below: usize, sums: &mut [f64]) {
            if drawn.len() == count || left.is_empty() {
                return drawn.iter().for_each(|i| sums[*i] += p);
            }
            let total: f64 = left.iter().map(|i| weights[*i]).sum();
            for block in left {
                let mut left: Vec<usize> = left.iter().copied().filter(|i| i != block).collect();
                let drawn = [drawn, &[*block]].concat();
                let others = left.iter().filter(|i| **i >= below).count();
                if *block < below && others >= count - drawn.len() {
                    left.retain(|i| *i >= below);
                }
                go(weights, &left, &drawn, p * weights[*block] / total, count, below, sums);
            }
        }
        let mut sums = vec![0.0; weights.len()];
        let all: Vec<usize> = (0..weights.len()).collect();
        go(weights, &all, &[], 1.0, count, floor.map_or(0, |f| f.below), &mut sums);
        sums
    }

    fn close(got: &[f64], want: &[f64], what: &str) {
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-9, "{what}: {got} instead of {want}");
        }
    }

    const WEIGHTS: [&[f64]; 4] = [
        &[0.5; 6],
        &[0.9, 0.02, 0.3, 0.98, 0.5, 0.1],
        &[0.018, 0.982, 0.982, 0.982, 0.982, 0.018],
        &[1e-4, 0.5, 0.999],
    ];

    #[test]
    fn it_is_what_all_orders_add_up_to() {
        for weights in WEIGHTS {
            for count in 1..=weights.len() {
                for floor in [None, Some(Floor { below: 1 }), Some(Floor { below: 2 }), Some(Floor { below: 3 })] {
                    let what = format!("{count} of {weights:?}, {floor:?}");
                    let got = inclusion(weights, count, floor);
                    close(&got, &by_hand(weights, count, floor), &what);
                    assert!((got.iter().sum::<f64>() - count as f64).abs() < 1e-9, "{what}");
                }
            }
        }
    }

    #[test]
    fn equal_weights_are_equally_likely() {
        for (layers, count) in [(30, 7), (32, 8), (126, 31)] {
            close(&inclusion(&vec![0.5; layers], count, None), &vec![count as f64 / layers as f64; layers], "uniform");
        }
    }

    #[test]
    fn above_a_floor_it_is_what_all_orders_add_up_to() {
        for weights in WEIGHTS {
            for count in 1..=weights.len() {
                let floors = DepthBudget::new(weights.len(), 0.5, 0.0, 10).floors(weights);
                let mut want = floors.clone();
                for (floor, p) in floors.iter().enumerate() {
                    let above = by_hand(&weights[floor + 1..], (count - 1).min(weights.len() - floor - 1), None);
                    above.iter().enumerate().for_each(|(i, q)| want[floor + 1 + i] += p * q);
                }
                close(&inclusion_above(&floors, weights, count), &want, &format!("{count} of {weights:?}"));
            }
        }
    }

    /// And it is what the draws of a run come to: shares of 20,000 draws spread by at most 0.0036, four of which are 0.015.
    #[test]
    fn it_is_how_often_blocks_are_drawn() {
        let weights: Vec<f64> = (0..24).map(|i| 0.05 + 0.9 * f64::from((i * 7) % 24) / 24.0).collect();
        let (count, trials) = (6, 20_000);
        let floor = Some(Floor { below: 6 });
        let budget = DepthBudget::new(24, 0.5, 0.0, 10);
        let mut shares = [vec![0.0; 24], vec![0.0; 24]];
        for trial in 0..trials {
            let drawn = draw(&weights, count, floor, &mut draws(3, "test", [trial, 0]));
            drawn.iter().for_each(|i| shares[0][*i] += 1.0 / trials as f64);
            let drawn = budget.draw(&weights, count, &mut draws(3, "test", [trial, 1]));
            drawn.iter().for_each(|i| shares[1][*i] += 1.0 / trials as f64);
        }
        let told = [inclusion(&weights, count, floor), budget.inclusion(&weights, count)];
        for (share, told) in shares.iter().flatten().zip(told.iter().flatten()) {
            assert!((share - told).abs() < 0.015, "{share} of the draws, {told} told");
        }
    }

    #[test]
    fn weights_without_measure_break_nothing() {
        for weights in [vec![0.0, 1.0, 1.0], vec![0.0; 3], vec![1e-300, 1.0, 1.0], vec![1e9, 1.0, 1.0]] {
            let told = inclusion(&weights, 2, None);
            assert!(told.iter().all(|p| p.is_finite() && *p >= 0.0), "{weights:?}: {told:?}");
        }
    }
}
