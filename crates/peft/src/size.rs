//! How many numbers methods train, before they exist.

use stratune_protocol::{ModelReport, Module};

use crate::{MethodConfig, Methods};

impl Methods {
    /// Numbers that train in `model`.
    pub fn trainable(&self, model: &ModelReport) -> u64 {
        self.iter().map(|method| method.trainable(model)).fold(0, u64::saturating_add)
    }
}

impl MethodConfig {
    /// Numbers that train in `model`.
    pub fn trainable(&self, model: &ModelReport) -> u64 {
        (self.kind.method().trainable)(self, model)
    }
}

/// The sum of a count over the layers that a method enters, which is made of a layer and its `[out, in]`.
pub(crate) fn at_sites(
    method: &MethodConfig,
    model: &ModelReport,
    count: impl Fn(&Module, [usize; 2]) -> usize,
) -> u64 {
    let of = |site: &Module| count(site, site.sides()) as u64;
    method.sites(model).into_iter().map(of).fold(0, u64::saturating_add)
}

/// The numbers of the matrices that a method enters.
pub(crate) fn matrices(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, [out, inputs]| out * inputs)
}

#[cfg(test)]
mod tests {
    use stratune_protocol::Targets;
    use stratune_protocol::testing::model;

    use super::*;
    use crate::{MethodKind, TargetOverride};

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
        mixed.overrides.insert("q_proj".into(), TargetOverride { rank: Some(3), alpha: None });
        assert_eq!(mixed.trainable(&model), 2 * (3 * 16 + 12));
        assert!(of(MethodKind::Lora, usize::MAX, &["attention", "mlp"]).trainable(&model) > 0);
    }
}
