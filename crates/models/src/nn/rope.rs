//! Frequencies of rotary positions (Su et al. 2021, arXiv 2104.09864), and how they are stretched to longer texts.

use std::f64::consts::TAU;
use std::rc::Rc;

use burn::tensor::Device;
use stratune_kernels::Rotary;

/// Rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the wavelengths.
    pub theta: f64,
    /// How they are stretched, if they are.
    pub scaling: Option<RopeScaling>,
}

/// How wavelengths are stretched to texts that are longer than those the model was first trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// All alike.
    Linear {
        /// How much longer.
        factor: f64,
    },
    /// By another base in a text of more than `max_position_embeddings` positions, the more the longer it is: NTK-aware, and
    /// dynamic.
    Dynamic {
        /// How much longer texts are at most.
        factor: f64,
        /// The context it was trained on.
        max_position_embeddings: usize,
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
    /// LongRoPE (Ding et al. 2024, arXiv 2402.13753).
    LongRope(Rc<LongRope>),
}

/// LongRoPE's settings: every frequency has a divisor of its own, and another in texts that are longer than those the model
/// was first trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// In texts of up to `original_max_position_embeddings` positions.
    pub short_factor: Vec<f64>,
    /// In longer ones.
    pub long_factor: Vec<f64>,
    /// The context it was first trained on.
    pub original_max_position_embeddings: usize,
    /// What cosines and sines are multiplied by, in short texts, too.
    pub attention_factor: f64,
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
    /// How many positions a text has at most before other frequencies are for it; none if all texts have the same.
    pub fn switches_after(&self) -> Option<usize> {
        match &self.scaling {
            Some(RopeScaling::LongRope(long)) => Some(long.original_max_position_embeddings),
            Some(RopeScaling::Dynamic { max_position_embeddings, .. }) => Some(*max_position_embeddings),
            None | Some(RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } | RopeScaling::Yarn(_)) => None,
        }
    }

    /// Whether texts beyond that have frequencies that change with their length.
    pub fn is_dynamic(&self) -> bool {
        matches!(self.scaling, Some(RopeScaling::Dynamic { .. }))
    }

    /// Positions of the longest text that it is for, of a model whose configuration says `max_position_embeddings`.
    pub fn context(&self, max_position_embeddings: usize) -> usize {
        match self.scaling {
            Some(RopeScaling::Dynamic { factor, .. }) => (max_position_embeddings as f64 * factor.max(1.0)) as usize,
            _ => max_position_embeddings,
        }
    }

    /// The lists of a number for each frequency that it has.
    pub(crate) fn lists(&self) -> Vec<&[f64]> {
        match &self.scaling {
            Some(RopeScaling::LongRope(long)) => vec![&long.short_factor, &long.long_factor],
            _ => Vec::new(),
        }
    }

    /// One frequency for each pair of the `head_dim` numbers of a head that are rotated, in radians a position, in a text of
    /// `longest` positions.
    pub fn frequencies(&self, head_dim: usize, longest: usize) -> Vec<f64> {
        let of_base = |theta: f64| (0..head_dim / 2).map(move |i| theta.powf(-2.0 * i as f64 / head_dim as f64));
        let plain = of_base(self.theta);
        match self.scaling.clone() {
            None => plain.collect(),
            Some(RopeScaling::Dynamic { factor, max_position_embeddings: trained }) => {
                let times = longest.max(trained) as f64 / trained as f64;
                let stretch = (factor * times - (factor - 1.0)).powf(head_dim as f64 / (head_dim as f64 - 2.0));
                of_base(self.theta * stretch).collect()
            }
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
            Some(RopeScaling::LongRope(long)) => {
                let is_long = longest > long.original_max_position_embeddings;
                let factors = if is_long { &long.long_factor } else { &long.short_factor };
                plain.zip(factors).map(|(frequency, factor)| frequency / factor).collect()
            }
        }
    }

    /// Tables of cosines and sines for `positions` positions of a text of `longest`.
    pub fn rotary(&self, head_dim: usize, [positions, longest]: [usize; 2], device: &Device) -> Rotary {
        Rotary::of(&self.frequencies(head_dim, longest), self.magnitude(), positions, device)
    }

    /// What cosines and sines are multiplied by.
    pub(crate) fn magnitude(&self) -> f64 {
        match &self.scaling {
            Some(RopeScaling::Yarn(yarn)) => yarn.attention_factor,
            Some(RopeScaling::LongRope(long)) => long.attention_factor,
            None | Some(RopeScaling::Linear { .. } | RopeScaling::Dynamic { .. } | RopeScaling::Llama3 { .. }) => 1.0,
        }
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
        let want: Vec<f64> = PLAIN.frequencies(8, 1).iter().map(|f| f / 4.0).collect();
        assert_eq!(rope.frequencies(8, 1), want);
        assert_eq!(want[0], 0.25);
    }

    #[test]
    fn longrope_has_other_divisors_in_long_texts() {
        let long = LongRope {
            short_factor: vec![1.0, 2.0],
            long_factor: vec![3.0, 4.0],
            original_max_position_embeddings: 16,
            attention_factor: 1.0,
        };
        let rope = Rope { scaling: Some(RopeScaling::LongRope(long.into())), ..PLAIN };
        assert_eq!(rope.frequencies(4, 16), [1.0, 0.005]);
        assert_eq!(rope.frequencies(4, 17), [1.0 / 3.0, 0.0025]);
        assert_eq!(rope.switches_after(), Some(16));
    }

    /// The longest wavelength is stretched as much as the text is longer than the context, by a factor of 1, and the shortest
    /// not at all.
    #[test]
    fn dynamic_stretches_with_the_text() {
        let of = |factor| Rope { scaling: Some(RopeScaling::Dynamic { factor, max_position_embeddings: 16 }), ..PLAIN };
        for length in [1, 16] {
            assert_eq!(of(2.0).frequencies(8, length), PLAIN.frequencies(8, 1));
        }
        let ratios: Vec<f64> =
            PLAIN.frequencies(8, 1).iter().zip(of(1.0).frequencies(8, 48)).map(|(plain, f)| plain / f).collect();
        assert!(ratios[0] == 1.0 && (ratios[3] - 3.0).abs() < 1e-9, "{ratios:?}");
        assert_eq!((of(2.5).context(16), of(0.5).context(16), PLAIN.context(16)), (40, 16, 16));
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
            PLAIN.frequencies(64, 1).iter().zip(rope.frequencies(64, 1)).map(|(plain, yarn)| plain / yarn).collect();
        // D(32) = 64 ln(2048 / 64π) / (2 ln 10⁴) = 8.06 and D(1) = 20.1: from pair 8 to pair 21.
        assert!(ratios[..=8].iter().all(|r| (r - 1.0).abs() < 1e-12), "{ratios:?}");
        assert!(ratios[21..].iter().all(|r| (r - 4.0).abs() < 1e-12), "{ratios:?}");
        assert!(ratios[8..=21].is_sorted() && ratios[9] > 1.0 && ratios[20] < 4.0, "{ratios:?}");
    }
}
