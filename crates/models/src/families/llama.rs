//! Llama 1 to 3, and the many models of its shape (SmolLM 2, TinyLlama, …).

use stratune_protocol::Role;

use super::common::{self, Defaults, Switches};
use super::{Family, Fields};
use crate::ModelConfig;

const ATTENTION: &[Role] = &[Role::Query, Role::Key, Role::Value, Role::Output];
const MLP: &[Role] = &[Role::Gate, Role::Up, Role::Down];

/// Biases where `attention_bias` and `mlp_bias` say so.
pub const FAMILY: Family = Family {
    model_type: "llama",
    class: "LlamaForCausalLM",
    read,
    bias_keys: &[("attention_bias", ATTENTION), ("mlp_bias", MLP)],
};

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let defaults = Defaults {
        num_key_value_heads: |heads| heads,
        head_dim: |hidden, heads| hidden / heads,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        max_position_embeddings: 2048,
    };
    let mut config = common::decoder(family, fields, &defaults)?;
    let (attention, mlp) = (fields.flag_or("attention_bias", false)?, fields.flag_or("mlp_bias", false)?);
    let bias = |role: Role| if ATTENTION.contains(&role) { attention } else { mlp };
    let tied = fields.flag_or("tie_word_embeddings", false)?;
    config.modules = common::modules(&config, &Switches { bias: &bias, qk_norm: false, tied });
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn base() -> Value {
        json!({"model_type": "llama", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
               "num_hidden_layers": 3, "num_attention_heads": 4})
    }

    #[test]
    fn absent_and_null_fields_have_the_family_defaults() {
        for key_value_heads in [None, Some(Value::Null)] {
            let mut json = base();
            if let Some(value) = key_value_heads {
                json["num_key_value_heads"] = value;
            }
            let config = ModelConfig::from_json(&json, "config.json").unwrap();
            assert_eq!((config.num_key_value_heads, config.head_dim, config.rope.theta), (4, 8, 1e4));
        }
    }

    #[test]
    fn biases_are_part_of_the_layout() {
        let biases = |key: &str| {
            let mut json = base();
            json[key] = true.into();
            let layout = ModelConfig::from_json(&json, "config.json").unwrap().layout();
            let first = |name: &str| name.starts_with("model.layers.0.") && name.ends_with(".bias");
            layout.into_iter().filter(|e| first(&e.name)).map(|e| (e.name, e.shape[0])).collect::<Vec<_>>()
        };
        assert_eq!(biases("attention_bias").len(), 4);
        assert_eq!(biases("mlp_bias").len(), 3);
        assert_eq!(biases("mlp_bias")[2], ("model.layers.0.mlp.down_proj.bias".to_string(), 32));
    }
}
