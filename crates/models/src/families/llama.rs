//! Llama 1 to 3, and the many models of its shape (SmolLM 2, TinyLlama, …).

use super::common::{self, ATTENTION_BIAS, LLAMA, MLP_BIAS};
use super::gguf::{self, GgufForm, ROPE_FACTORS};
use super::{Family, Fields};
use crate::ModelConfig;
use stratune_protocol::Role;

/// Biases where `attention_bias` and `mlp_bias` say so.
pub const FAMILY: Family = Family {
    model_type: "llama",
    class: "LlamaForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS, MLP_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

/// Rows alternate. Files made before the factors of Llama 3.1 were written into them would be wrong beyond 8192 tokens.
const GGUF: GgufForm = GgufForm {
    architecture: "llama",
    alternating: true,
    config: |keys, _| {
        let factors = keys.factors(ROPE_FACTORS);
        match (keys.size("context_length")?, keys.number("rope.freq_base")?, factors) {
            (Some(131_072), Some(5e5), None) => Err(format!("{ROPE_FACTORS} is missing, which Llama 3.1 and 3.2 have")),
            _ => Ok(()),
        }
    },
    biased: &Role::LINEAR,
    ..gguf::PLAIN
};

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    common::read(family, fields, &LLAMA)
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
            assert_eq!(
                (config.num_key_value_heads, config.head_dim, config.attention[0].rope.as_ref().unwrap().theta),
                (4, 8, 1e4)
            );
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
