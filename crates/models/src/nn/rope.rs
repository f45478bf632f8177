//! Frequencies of rotary positions (Su et al. 2021, arXiv 2104.09864), and how they are stretched to longer texts.

use std::f64::consts::TAU;

use burn::tensor::Device;
use stratune_kernels::Rotary;

/// Rotary positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the wavelengths.
    pub theta: f64,
    /// How they are stretched, if they are.
    pub scaling: Option<RopeScaling>,
}

/// How wavelengths are stretched to texts that are longer than those the model was first trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// All alike.
    Linear {
        /// How much longer.
        factor: f64,
    },
    /// Llama 3's: the long ones alone.
    Llama3 {
        /// How much longer.
        factor: f64,
        /// Wavelengths above `original / this` are stretched by `factor`.
        low_freq_factor: f64,
        /// Wavelengths below `original / this` stay; between the two they are blended.
        high_freq_factor: f64,
        /// The context it was first trained on.
        original_max_position_embeddings: f64,
    },
    /// YaRN (Peng et al. 2023, arXiv 2309.00071).
    Yarn(Yarn),
}

/// YaRN's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// How much longer.
    pub factor: f64,
    /// Wavelengths that rotate at least so often within the original context stay.
    pub beta_fast: f64,
    /// Those that rotate at most so often are stretched.
    pub beta_slow: f64,
    /// Whether the bounds between the two are whole numbers.
    pub truncate: bool,
    /// The context it was first trained on.
    pub original_max_position_embeddings: f64,
    /// What cosines and sines are multiplied by.
    pub attention_factor: f64,
}

impl Rope {
    /// One frequency for each pair of a head of `head_dim`, in radians a position.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let plain = (0..head_dim / 2).map(|i| self.theta.powf(-2.0 * i as f64 / head_dim as f64));
        match self.scaling {
            None => plain.collect(),
            Some(RopeScaling::Linear { factor }) => plain.map(|frequency| frequency / factor).collect(),
            Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            }) => {
                let stretch = |frequency: f64| {
                    let wavelength = TAU / frequency;
                    if wavelength < original / high {
                        return frequency;
                    }
                    if wavelength > original / low {
                        return frequency / factor;
                    }
                    let keep = (original / wavelength - low) / (high - low);
                    (1.0 - keep) * frequency / factor + keep * frequency
                };
                plain.map(stretch).collect()
            }
            Some(RopeScaling::Yarn(yarn)) => {
                let stretched = yarn.stretched(self.theta, head_dim);
                plain.zip(stretched).map(|(f, r)| r * f / yarn.factor + (1.0 - r) * f).collect()
            }
        }
    }

    /// Tables of cosines and sines for `positions` positions.
    pub fn rotary(&self, head_dim: usize, positions: usize, device: &Device) -> Rotary {
        let magnitude = match self.scaling {
            Some(RopeScaling::Yarn(yarn)) => yarn.attention_factor,
            None | Some(RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. }) => 1.0,
        };
        Rotary::of(&self.frequencies(head_dim), magnitude, positions, device)
    }
}

impl Yarn {
    /// How far each frequency is stretched: 0 not at all, 1 by the whole factor.
    fn stretched(&self, theta: f64, head_dim: usize) -> impl Iterator<Item = f64> {
        // The pair that rotates `turns` times within the original context.
        let pair = |turns: f64| {
            head_dim as f64 * (self.original_max_position_embeddings / (turns * TAU)).ln() / (2.0 * theta.ln())
        };
        let (low, high) = (pair(self.beta_fast), pair(self.beta_slow));
        let (low, high) = if self.truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
        let high = if low == high { high + 0.001 } else { high };
        (0..head_dim / 2).map(move |i| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Rope = Rope { theta: 10_000.0, scaling: None };

    #[test]
    fn linear_divides_all() {
        let rope = Rope { scaling: Some(RopeScaling::Linear { factor: 4.0 }), ..PLAIN };
        let want: Vec<f64> = PLAIN.frequencies(8).iter().map(|f| f / 4.0).collect();
        assert_eq!(rope.frequencies(8), want);
        assert_eq!(want[0], 0.25);
    }

    /// What rotates often stays, what rotates seldom is stretched, and between the two lies a slope.
    #[test]
    fn yarn_stretches_the_slow_ones() {
        let yarn = Yarn {
            factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            original_max_position_embeddings: 2048.0,
            attention_factor: 1.0,
        };
        let rope = Rope { scaling: Some(RopeScaling::Yarn(yarn)), ..PLAIN };
        let ratios: Vec<f64> =
            PLAIN.frequencies(64).iter().zip(rope.frequencies(64)).map(|(plain, yarn)| plain / yarn).collect();
        // D(32) = 64 ln(2048 / 64π) / (2 ln 10⁴) = 8.06 and D(1) = 20.1: from pair 8 to pair 21.
        assert!(ratios[..=8].iter().all(|r| (r - 1.0).abs() < 1e-12), "{ratios:?}");
        assert!(ratios[21..].iter().all(|r| (r - 4.0).abs() < 1e-12), "{ratios:?}");
        assert!(ratios[8..=21].is_sorted() && ratios[9] > 1.0 && ratios[20] < 4.0, "{ratios:?}");
    }
}
