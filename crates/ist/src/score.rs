//! How much each block matters, and how tries move that.

use stratune_protocol::Candidate;

/// What a try is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reward {
    /// R = exp(−ℓ), A = R − mean(R): as released.
    Raw,
    /// R = −ℓ, A = (R − mean(R)) / std(R): as strong at a loss of 3 as at 0.3. Scores stay within ± `limit`, so that
    /// every block keeps a chance of training, which the [convergence](crate) needs.
    Normalised {
        /// The bound of the scores.
        limit: f64,
    },
}

/// One score a block: high means that training it matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores(pub Vec<f64>);

impl Scores {
    /// No block is known to matter more than another.
    pub fn new(layers: usize) -> Self {
        Self(vec![0.0; layers])
    }

    /// Weights of the draw of blocks that train: σ(I).
    pub fn training(&self) -> Vec<f64> {
        self.0.iter().map(|i| sigmoid(*i)).collect()
    }

    /// Weights of the draw of blocks that are damped: σ(−I).
    pub fn damping(&self) -> Vec<f64> {
        self.0.iter().map(|i| sigmoid(-i)).collect()
    }

    /// Moves the scores of the damped blocks: I ← I − μ · A · p(1−p), with p from before the move (algorithm 1; in the
    /// released code the sign is the other way round, because its scores are).
    pub fn update(&mut self, tries: &[Candidate], step_size: f64, reward: Reward) {
        let rewards: Vec<f64> = match reward {
            Reward::Raw => tries.iter().map(|t| (-t.loss).exp()).collect(),
            Reward::Normalised { .. } => tries.iter().map(|t| -t.loss).collect(),
        };
        let count = rewards.len().max(1) as f64;
        let mean = rewards.iter().sum::<f64>() / count;
        let spread = match reward {
            Reward::Raw => 1.0,
            Reward::Normalised { .. } => (rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / count).sqrt(),
        };
        // Equal or undefined losses say nothing about the blocks.
        if !(spread.is_finite() && spread > 1e-9) {
            return;
        }
        let slope: Vec<f64> = self.training().iter().map(|p| p * (1.0 - p)).collect();
        for (attempt, reward) in tries.iter().zip(&rewards) {
            let advantage = (reward - mean) / spread;
            for &layer in &attempt.damped {
                self.0[layer] -= step_size * advantage * slope[layer];
            }
        }
        if let Reward::Normalised { limit } = reward {
            self.0.iter_mut().for_each(|i| *i = i.clamp(-limit, limit));
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(damped: &[usize], loss: f64) -> Candidate {
        Candidate { damped: damped.to_vec(), loss }
    }

    /// The released update by hand: s += μ · A · p(1−p) with s = −I.
    #[test]
    fn one_raw_update_by_hand() {
        let mut scores = Scores::new(4);
        scores.update(&[attempt(&[0, 1], 1.0), attempt(&[1, 2], 2.0), attempt(&[0, 2], 3.0)], 10.0, Reward::Raw);
        let r = [(-1.0_f64).exp(), (-2.0_f64).exp(), (-3.0_f64).exp()];
        let mean = (r[0] + r[1] + r[2]) / 3.0;
        let a = r.map(|r| r - mean);
        let expected = [-2.5 * (a[0] + a[2]), -2.5 * (a[0] + a[1]), -2.5 * (a[1] + a[2]), 0.0];
        for (got, want) in scores.0.iter().zip(expected) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        // Damping 0 and 1 hurt least, so both matter less than 2, which was in both of the worse tries.
        assert!(scores.0[1] < scores.0[2]);
    }

    #[test]
    fn normalised_updates_are_bounded_and_equal_tries_say_nothing() {
        let reward = Reward::Normalised { limit: 1.5 };
        let mut scores = Scores::new(2);
        scores.update(&[attempt(&[0], 0.7), attempt(&[1], 0.7)], 1.0, reward);
        assert_eq!(scores.0, [0.0, 0.0]);
        scores.update(&[attempt(&[0], f64::NAN), attempt(&[1], 0.7)], 1.0, reward);
        assert_eq!(scores.0, [0.0, 0.0]);
        for _ in 0..100 {
            scores.update(&[attempt(&[0], 9.0), attempt(&[1], 0.7)], 1.0, reward);
        }
        assert_eq!(scores.0, [1.5, -1.5]);
        assert!(scores.training()[1] > 0.18, "every block keeps a chance");
    }
}
