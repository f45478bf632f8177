//! How much a method trains, before it exists.

use crate::{MethodConfig, MethodKind, Methods, ModelReport, Module, Role};

impl Methods {
    /// Numbers that train in `model`.
    pub fn trainable(&self, model: &ModelReport) -> u64 {
        self.iter().map(|method| method.trainable(model)).fold(0, u64::saturating_add)
    }
}

impl MethodConfig {
    /// Numbers that train in `model`.
    pub fn trainable(&self, model: &ModelReport) -> u64 {
        let sites = self.sites(model);
        let at_sites = |count: &dyn Fn(&str, [usize; 2], Role) -> usize| {
            let count = |site: &&Module| count(&site.path, site.sides(), site.role) as u64;
            sites.iter().map(count).fold(0, u64::saturating_add)
        };
        let layers = self.layer_count(model.layers) as u64;
        let d = model.hidden_size as u64;
        let kv = 2 * model.key_value_size as u64;
        let number = |value: Option<usize>| value.unwrap_or(0) as u64;
        let low_rank = |path: &str, [out, inputs]: [usize; 2]| self.at(path).0.saturating_mul(out + inputs);
        let width = number(self.width);
        // A gate is one row and one bias.
        let gate = |inputs: u64| if self.gated == Some(true) { inputs + 1 } else { 0 };
        let bottleneck = (2 * d + 1).saturating_mul(width).saturating_add(d);
        match self.kind {
            MethodKind::Lora
            | MethodKind::Rslora
            | MethodKind::LoraPlus
            | MethodKind::Pissa
            | MethodKind::Qlora
            | MethodKind::Loftq
            | MethodKind::Dylora => {
                at_sites(&|path, shape, _| low_rank(path, shape).saturating_add(gate(shape[1] as u64) as usize))
            }
            MethodKind::Adalora => {
                at_sites(&|_, [out, inputs], _| self.initial_rank.unwrap_or(0).saturating_mul(out + inputs + 1))
            }
            MethodKind::LoraFa => at_sites(&|path, [out, _], _| self.at(path).0.saturating_mul(out)),
            MethodKind::Dora => at_sites(&|path, shape, _| low_rank(path, shape).saturating_add(shape[0])),
            MethodKind::Vera => at_sites(&|_, [out, _], _| self.rank.unwrap_or(0) + out),
            MethodKind::Lokr => at_sites(&|_, shape, _| KroneckerShape::of(shape, self.rank.unwrap_or(0)).numbers()),
            MethodKind::Did | MethodKind::Said => number(self.dimension),
            MethodKind::Hiwi => at_sites(&|_, [out, _], _| self.rank.unwrap_or(0).saturating_mul(2 * out)),
            MethodKind::Houlsby => layers * 2 * bottleneck,
            MethodKind::Pfeiffer | MethodKind::Parallel => layers * (bottleneck + gate(d)),
            MethodKind::Compacter => layers * 2 * 3 * (d + width) + (COMPACTER_TERMS as u64).pow(3),
            MethodKind::SparseAdapter => {
                let kept = kept(self.share.unwrap_or(0.0), [model.hidden_size, self.width.unwrap_or(0)]) as u64;
                layers * (2 * kept + width + d)
            }
            MethodKind::Prefix if width > 0 => {
                number(self.length) * d + (d + 1) * width + layers * ((width + 1) * kv + gate(d))
            }
            MethodKind::Prefix => layers * (number(self.length) * kv + gate(d)),
            MethodKind::Prompt => number(self.length) * d,
            MethodKind::Ia3 => at_sites(&|_, [out, inputs], role| if role == Role::Down { inputs } else { out }),
            MethodKind::Ssf => at_sites(&|_, [out, _], _| 2 * out),
            MethodKind::Bitfit => at_sites(&|_, [out, _], _| out),
            MethodKind::LayerNorm => {
                let enters = |norm: &&Module| match norm.block {
                    Some(block) => norm.role.is_block_norm() && self.enters_layer(block),
                    // The last norm belongs to no block: it trains where every block does.
                    None => norm.role == Role::FinalNorm && self.layers.is_empty(),
                };
                model.modules.iter().filter(enters).map(|norm| norm.count() as u64).sum()
            }
            MethodKind::Pafi | MethodKind::RandomMask | MethodKind::Fish | MethodKind::LtSft => {
                at_sites(&|_, shape, _| kept(self.share.unwrap_or(0.0), shape))
            }
            MethodKind::Shira => at_sites(&|path, shape, _| low_rank(path, shape)),
            MethodKind::DiffPruning => at_sites(&|_, [out, inputs], _| 2 * out * inputs),
            MethodKind::Full | MethodKind::ChildTuning | MethodKind::Galore => {
                at_sites(&|_, [out, inputs], _| out * inputs)
            }
            MethodKind::Lisa => model.parameters,
            MethodKind::Ladder => {
                SideShape::of(model, self.reduction.unwrap_or(1)).map_or(0, |side| side.numbers(model))
            }
        }
    }
}

/// How many numbers of a matrix a share of it is, rounded.
pub fn kept(share: f32, [out, inputs]: [usize; 2]) -> usize {
    (f64::from(share) * (out * inputs) as f64).round() as usize
}

/// Kronecker products in a matrix of Compacter, n.
pub const COMPACTER_TERMS: usize = 4;

/// The geometry of a ladder's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideShape {
    /// Width of its residual stream.
    pub hidden_size: usize,
    /// Width of its feed-forward.
    pub intermediate_size: usize,
    /// Its attention's heads: the most that leave each an even width.
    pub heads: usize,
}

impl SideShape {
    /// A model's, `reduction` times narrower; none if that leaves no even width.
    pub fn of(model: &ModelReport, reduction: usize) -> Option<Self> {
        let hidden_size = model.hidden_size.checked_div(reduction)? / 2 * 2;
        let intermediate_size = (model.intermediate_size / reduction).max(1);
        let heads = (1..=4).rev().find(|h| hidden_size.is_multiple_of(2 * h))?;
        (hidden_size > 0).then_some(Self { hidden_size, intermediate_size, heads })
    }

    /// Numbers in blocks, gates, and the ways in and out.
    fn numbers(self, model: &ModelReport) -> u64 {
        let (w, m, d, layers) =
            (self.hidden_size as u64, self.intermediate_size as u64, model.hidden_size as u64, model.layers as u64);
        layers * (4 * w * w + 3 * w * m + 2 * w) + (layers + 1) * w * d + layers + d * w
    }
}

/// How a matrix is written as a Kronecker product: `[o₁, i₁] ⊗ [o₂, i₂]`, the second factor as a product of rank r if
/// that is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KroneckerShape {
    /// Of the first factor, the smaller one.
    pub first: [usize; 2],
    /// Of the second.
    pub second: [usize; 2],
    /// Rank of the second, if it is written as a product.
    pub rank: Option<usize>,
}

impl KroneckerShape {
    /// For an `[out, in]` matrix. Each side is split as evenly as its divisors allow; the second factor is a product if
    /// the rank is below half its larger side, as in LyCORIS and PEFT.
    pub fn of([out, inputs]: [usize; 2], rank: usize) -> Self {
        let split = |n: usize| {
            let small = (1..).take_while(|s| s * s <= n).filter(|s| n.is_multiple_of(*s)).last().unwrap_or(1);
            (small, n / small)
        };
        let ((o1, o2), (i1, i2)) = (split(out), split(inputs));
        let rank = (2 * rank < o2.max(i2)).then_some(rank);
        Self { first: [o1, i1], second: [o2, i2], rank }
    }

    /// Numbers in the factors.
    pub fn numbers(self) -> usize {
        let Self { first: [o1, i1], second: [o2, i2], rank } = self;
        o1 * i1 + rank.map_or(o2 * i2, |r| r * (o2 + i2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Targets;
    use crate::architecture::testing::model;

    #[test]
    fn counts_by_hand() {
        let model = model(2, [8, 20, 8, 4]);
        let of = |kind, rank: usize, targets: &[&str]| MethodConfig {
            rank: Some(rank),
            targets: Some(Targets::listed(targets)),
            ..MethodConfig::new(kind)
        };
        let (q, k, v) = ("q_proj", "k_proj", "v_proj");
        for (method, n) in [
            (of(MethodKind::Lora, 1, &[q]), 2 * 16),
            (of(MethodKind::Lora, 2, &[k, v]), 2 * 2 * (12 + 12)),
            (of(MethodKind::Lora, 1, &["o_proj", "up_proj", "down_proj"]), 2 * (16 + 28 * 2)),
            (of(MethodKind::LoraFa, 3, &[k]), 2 * 3 * 4),
            (of(MethodKind::Dora, 1, &[k]), 2 * (12 + 4)),
            (of(MethodKind::Vera, 5, &[k]), 2 * (5 + 4)),
            (MethodConfig { layers: vec![1], ..of(MethodKind::Lora, 1, &[q]) }, 16),
            (MethodConfig::new(MethodKind::Ia3), 2 * (4 + 4 + 20)),
            (MethodConfig { width: Some(3), ..MethodConfig::new(MethodKind::Houlsby) }, 2 * 2 * (8 * 3 * 2 + 3 + 8)),
            (MethodConfig { length: Some(3), ..MethodConfig::new(MethodKind::Prefix) }, 2 * 3 * 8),
            (MethodConfig { length: Some(3), ..MethodConfig::new(MethodKind::Prompt) }, 24),
            (MethodConfig::new(MethodKind::LayerNorm), 2 * 16 + 8),
            (MethodConfig { rank: Some(3), ..MethodConfig::new(MethodKind::Hiwi) }, 2 * 2 * 3 * (20 + 8)),
        ] {
            assert_eq!(method.trainable(&model), n, "{method:?}");
        }
        let mut mixed = of(MethodKind::Lora, 1, &[q, k]);
        mixed.overrides.insert("q_proj".into(), crate::TargetOverride { rank: Some(3), alpha: None });
        assert_eq!(mixed.trainable(&model), 2 * (3 * 16 + 12));
        assert!(of(MethodKind::Lora, usize::MAX, &["attention", "mlp"]).trainable(&model) > 0);
    }

    #[test]
    fn kronecker_factors_multiply_to_the_matrix() {
        for (shape, rank, want) in [
            ([160, 416], 4, KroneckerShape { first: [10, 16], second: [16, 26], rank: Some(4) }),
            ([32, 160], 8, KroneckerShape { first: [4, 10], second: [8, 16], rank: None }),
            ([7, 1], 1, KroneckerShape { first: [1, 1], second: [7, 1], rank: Some(1) }),
        ] {
            let got = KroneckerShape::of(shape, rank);
            assert_eq!(got, want);
            assert_eq!([got.first[0] * got.second[0], got.first[1] * got.second[1]], shape);
        }
    }
}
