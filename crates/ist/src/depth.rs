//! Cost-aware draws: a budget for how deep the backward pass goes.
//!
//! The backward pass ends at the lowest block that trains, its floor; so a uniform draw of a few blocks saves little,
//! because its lowest one is low. Here the floor itself is drawn, from probabilities that keep the expected depth within
//! the budget, and the other blocks of the step are drawn by score among those above it.
//!
//! Floor i has the probability `π + (1 − Lπ) wᵢ e^{θi} / Σ wⱼ e^{θj}`: a part π that every block has whatever its score,
//! and a part by score w, tilted upwards by θ ≥ 0 as far as the budget asks. So every block trains at a step with
//! probability π at least, which is what its [convergence](crate) rests on. With c forward passes of the
//! importance loop amortised over the steps, a step costs `L + 2 · depth + c` block passes beside the 3 L of training
//! everything.

use rand::{Rng, RngExt};

use crate::draw;
use crate::inclusion::inclusion_above;

/// Every block's least probability of training, times the number of blocks.
const MIN: f64 = 0.25;

/// A share of the budget that the importance loop may take at most.
const LOOP: f64 = 0.2;

/// How deep the backward pass may go on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthBudget {
    /// Blocks of the model.
    pub layers: usize,
    /// Expected depth in blocks, at most.
    pub depth: f64,
    /// Steps between importance updates: as many as asked for, or as it takes for the loop to keep within its share.
    pub interval: usize,
}

impl DepthBudget {
    /// For a budget of a share of the whole backward pass, of which the importance loop takes its part: `forwards` passes
    /// over the model, in units of a training batch's, at each update, `interval` steps apart at least.
    pub fn new(layers: usize, share: f32, forwards: f64, interval: usize) -> Self {
        let budget = f64::from(share) * layers as f64;
        // A block's backward pass costs two of its forward passes.
        let one_update = forwards * layers as f64 / 2.0;
        let interval = ((one_update / (LOOP * budget)).ceil() as usize).max(interval);
        let depth = budget - one_update / interval as f64;
        // No budget can ask for less than the top block, and what every block's least probability costs.
        let least = MIN * (layers as f64 + 1.0) / 2.0 + (1.0 - MIN);
        Self { layers, depth: depth.max(least), interval }
    }

    /// Every block's least probability of training at a step.
    pub fn least(&self) -> f64 {
        MIN / self.layers as f64
    }

    /// The probability of each block to be the floor.
    pub fn floors(&self, weights: &[f64]) -> Vec<f64> {
        let probabilities = |tilt: f64| -> Vec<f64> {
            // e^{θ (i − L + 1)}: at most one, so that nothing overflows.
            let top = self.layers as f64 - 1.0;
            let tilted: Vec<f64> =
                weights.iter().enumerate().map(|(i, w)| w * (tilt * (i as f64 - top)).exp()).collect();
            let sum: f64 = tilted.iter().sum();
            tilted.iter().map(|t| self.least() + (1.0 - MIN) * t / sum).collect()
        };
        if self.expected(&probabilities(0.0)) <= self.depth {
            return probabilities(0.0);
        }
        let (mut low, mut high) = (0.0, 64.0);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if self.expected(&probabilities(middle)) > self.depth { low = middle } else { high = middle }
        }
        probabilities(high)
    }

    /// The expected depth.
    pub fn expected(&self, floors: &[f64]) -> f64 {
        floors.iter().enumerate().map(|(i, p)| p * (self.layers - i) as f64).sum()
    }

    /// The probability of each block to be among those that [`draw`](Self::draw) gives.
    pub fn inclusion(&self, weights: &[f64], count: usize) -> Vec<f64> {
        inclusion_above(&self.floors(weights), weights, count)
    }

    /// Draws a floor and, above it, blocks by weight, `count` in all if there are as many; in rising order.
    pub fn draw(&self, weights: &[f64], count: usize, rng: &mut impl Rng) -> Vec<usize> {
        let floors = self.floors(weights);
        let mut at = rng.random::<f64>();
        let floor = floors
            .iter()
            .position(|p| {
                at -= p;
                at < 0.0
            })
            .unwrap_or(self.layers.saturating_sub(1));
        let above = draw(&weights[floor + 1..], count.saturating_sub(1), None, rng);
        std::iter::once(floor).chain(above.into_iter().map(|i| floor + 1 + i)).collect()
    }
}

#[cfg(test)]
mod tests {
    use stratune_protocol::draws;

    use super::*;

    /// The budget holds on average and every block trains as often as is stated, whatever the scores.
    #[test]
    fn the_budget_holds_and_no_block_is_given_up() {
        let layers = 12;
        let rising: Vec<f64> = (0..layers).map(|i| 0.02 + 0.08 * i as f64).collect();
        let falling: Vec<f64> = rising.iter().rev().copied().collect();
        for (share, weights) in [(0.5, &rising), (0.5, &falling), (0.3, &falling), (1.0, &rising)] {
            let budget = DepthBudget::new(layers, share, 0.0, 10);
            let floors = budget.floors(weights);
            assert!((floors.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(budget.expected(&floors) <= budget.depth + 1e-6, "{share}");
            let (trials, mut depth, mut counts) = (8000, 0.0, vec![0.0; layers]);
            for trial in 0..trials {
                let drawn = budget.draw(weights, 3, &mut draws(11, "test", [trial, 0]));
                assert!(!drawn.is_empty() && drawn.len() <= 3 && drawn.windows(2).all(|w| w[0] < w[1]));
                depth += (layers - drawn[0]) as f64 / trials as f64;
                drawn.iter().for_each(|i| counts[*i] += 1.0 / trials as f64);
            }
            // A depth spreads by less than 4 blocks, so the mean of 8000 by less than 0.05; three of these.
            assert!(depth <= budget.depth + 0.15, "{share}: {depth} of {}", budget.depth);
            // A share of 1/48 spreads by 0.0016; four of these.
            assert!(counts.iter().all(|c| *c > budget.least() - 0.0064), "{share}: {counts:?}");
        }
    }

    #[test]
    fn the_budget_is_used_where_scores_are_low() {
        let budget = DepthBudget::new(8, 0.5, 0.0, 10);
        let falling: Vec<f64> = (0..8).map(|i| 0.9 - 0.1 * i as f64).collect();
        assert!((budget.expected(&budget.floors(&falling)) - 4.0).abs() < 1e-3);
    }

    /// Three batches twice as large as a training batch, every ten steps: 0.3 of a whole backward pass, above a fifth of
    /// half of one. Every thirty steps it is just that fifth.
    #[test]
    fn the_importance_loop_keeps_within_its_share() {
        let budget = DepthBudget::new(8, 0.5, 6.0, 10);
        assert_eq!(budget.interval, 30);
        assert!((budget.depth - 0.4 * 8.0).abs() < 1e-9);
        assert_eq!(DepthBudget::new(8, 0.5, 1.0, 10).interval, 10);
    }
}
