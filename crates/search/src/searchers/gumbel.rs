//! Choices by the straight-through Gumbel-softmax (Jang et al. 2017, arXiv 1611.01144): one is drawn and taken whole on the
//! way forward, and on the way back it is the softmax of the logits and the noise.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A choice among a few.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drawn {
    /// Which was taken.
    pub taken: usize,
    /// softmax((α + noise) / τ).
    soft: Vec<f64>,
    temperature: f64,
}

impl Drawn {
    /// A draw by these logits.
    pub fn new(logits: &[f64], temperature: f64, rng: &mut ChaCha8Rng) -> Self {
        let mut noise = || -(-rng.random_range(f64::EPSILON..1.0).ln()).ln();
        let noisy: Vec<f64> = logits.iter().map(|logit| (logit + noise()) / temperature).collect();
        let soft = softmax(&noisy);
        Self { taken: argmax(&soft), soft, temperature }
    }

    /// The gradients of the logits, of those of what each choice is multiplied by.
    pub fn backward(&self, gradients: &[f64]) -> Vec<f64> {
        let mean: f64 = self.soft.iter().zip(gradients).map(|(p, g)| p * g).sum();
        self.soft.iter().zip(gradients).map(|(p, g)| p * (g - mean) / self.temperature).collect()
    }
}

/// e^x over the sum of them.
pub(crate) fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The first of the largest.
pub(crate) fn argmax(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use stratune_protocol::draws;

    use super::*;

    /// Which is taken has the probabilities of the softmax of the logits, whatever the temperature.
    #[test]
    fn choices_are_drawn_by_their_logits() {
        let logits = [0.5, -0.3, 1.1];
        let want = softmax(&logits);
        for temperature in [1.0, 5.0] {
            let mut counts = [0.0; 3];
            let mut rng = draws(3, "gumbel", [0, 0]);
            (0..20_000).for_each(|_| counts[Drawn::new(&logits, temperature, &mut rng).taken] += 1.0 / 20_000.0);
            // Four deviations of a share.
            assert!(counts.iter().zip(&want).all(|(got, want)| (got - want).abs() < 0.015), "{counts:?} {want:?}");
        }
    }

    /// Finite differences of Σ G · softmax.
    #[test]
    fn the_way_back_is_the_softmaxs() {
        let (logits, given, temperature) = ([0.2, -0.4, 0.9], [1.0, -2.0, 0.5], 2.0);
        let value = |logits: &[f64]| {
            let drawn = Drawn::new(logits, temperature, &mut draws(3, "gumbel", [1, 0]));
            drawn.soft.iter().zip(given).map(|(p, g)| p * g).sum::<f64>()
        };
        let got = Drawn::new(&logits, temperature, &mut draws(3, "gumbel", [1, 0])).backward(&given);
        for i in 0..3 {
            let moved = |by: f64| {
                let mut logits = logits;
                logits[i] += by;
                value(&logits)
            };
            let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((got[i] - want).abs() < 1e-8, "{i}: {} {want}", got[i]);
        }
    }
}
