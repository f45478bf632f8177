//! How large a LoRA adapter is, before it exists.

use stratune_protocol::{MethodConfig, ModelReport, Target};

/// Inputs and outputs of a block's linear layer.
pub fn shape(model: &ModelReport, target: Target) -> (usize, usize) {
    match target {
        Target::QProj => (model.hidden_size, model.query_size),
        Target::KProj | Target::VProj => (model.hidden_size, model.key_value_size),
        Target::OProj => (model.query_size, model.hidden_size),
        Target::GateProj | Target::UpProj => (model.hidden_size, model.intermediate_size),
        Target::DownProj => (model.intermediate_size, model.hidden_size),
    }
}

/// Parameters of the adapter: an r × inputs and an outputs × r matrix at each target of each layer.
pub fn trainable(model: &ModelReport, method: &MethodConfig) -> u64 {
    let a_layer: usize = method
        .targets
        .iter()
        .map(|&t| {
            let (inputs, outputs) = shape(model, t);
            method.at(t).0.saturating_mul(inputs + outputs)
        })
        .fold(0, usize::saturating_add);
    (a_layer as u64).saturating_mul(model.layers as u64)
}

/// Bytes of the adapter's file: four for each parameter.
pub fn adapter_bytes(parameters: u64) -> u64 {
    parameters.saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use stratune_protocol::TargetOverride;

    use super::*;

    #[test]
    fn counts_by_hand() {
        let model = ModelReport {
            layers: 2,
            hidden_size: 8,
            intermediate_size: 20,
            key_value_size: 4,
            query_size: 8,
            ..Default::default()
        };
        let method = |rank, targets: &[Target]| MethodConfig { rank, targets: targets.to_vec(), ..Default::default() };
        for (method, n) in [
            (method(1, &[Target::QProj]), 2 * 16),
            (method(2, &[Target::KProj, Target::VProj]), 2 * 2 * (12 + 12)),
            (method(1, &[Target::OProj, Target::GateProj, Target::UpProj, Target::DownProj]), 2 * (16 + 28 * 3)),
            (method(1, &[]), 0),
        ] {
            assert_eq!(trainable(&model, &method), n, "{method:?}");
        }
        let mut mixed = method(1, &[Target::QProj, Target::KProj]);
        mixed.overrides.insert(Target::QProj, TargetOverride { rank: Some(3), alpha: None });
        assert_eq!(trainable(&model, &mixed), 2 * (3 * 16 + 12));
        assert_eq!(adapter_bytes(10), 40);
        assert!(trainable(&model, &method(usize::MAX, &Target::ALL)) > 0);
    }
}
