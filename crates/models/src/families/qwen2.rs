//! Qwen 2 and 2.5: biases at queries, keys and values, which no key says.

use serde_json::Value;
use stratune_protocol::Role;

use super::common::{self, Decoder, LLAMA};
use super::gguf::{self, GgufForm};
use super::{Family, Fields};
use crate::ModelConfig;

/// No key gives other layers biases.
pub const FAMILY: Family = Family {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    read,
    bias_keys: &[],
    file_names: &[],
    file_name: None,
    gguf: Some(&GGUF),
};

const GGUF: GgufForm = GgufForm { architecture: "qwen2", ..gguf::PLAIN };

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let qwen2 = Decoder {
        num_key_value_heads: |_| 32,
        max_position_embeddings: 32_768,
        biased: &[Role::Query, Role::Key, Role::Value],
        ..LLAMA
    };
    let mut config = common::read(family, fields, &qwen2)?;
    config.slide(&windows(fields, config.num_hidden_layers)?);
    Ok(config)
}

/// Of each block. `sliding_window` alone means nothing: `layer_types` or `use_sliding_window` make a block slide, the
/// latter from block `max_window_layers` upwards.
pub(super) fn windows(fields: &Fields<'_>, layers: usize) -> Result<Vec<Option<usize>>, String> {
    let slides = match common::sliding_layers(fields, layers)? {
        Some(types) => types,
        None if fields.flag_or("use_sliding_window", false)? => {
            let first = fields.given("max_window_layers", "number of layers", Value::as_u64)?.or(28, 28);
            (0..layers as u64).map(|i| i >= first).collect()
        }
        None => vec![false; layers],
    };
    common::windows(fields, &slides, Some(4096))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_window_counts_where_it_is_switched_on() {
        for (json, want) in [
            (json!({"sliding_window": 7}), [None; 3]),
            (
                json!({"sliding_window": 7, "use_sliding_window": true, "max_window_layers": 1}),
                [None, Some(7), Some(7)],
            ),
            (json!({"sliding_window": null, "use_sliding_window": true, "max_window_layers": 0}), [None; 3]),
            (json!({"use_sliding_window": true}), [None; 3]),
            (
                json!({"sliding_window": 7, "layer_types": ["sliding_attention", "full_attention", "full_attention"]}),
                [Some(7), None, None],
            ),
        ] {
            assert_eq!(windows(&Fields(&json), 3).unwrap(), want, "{json}");
        }
        assert!(windows(&Fields(&json!({"layer_types": ["linear_attention"]})), 1).unwrap_err().contains("linear"));
        assert!(windows(&Fields(&json!({"layer_types": []})), 1).unwrap_err().contains("layer_types"));
    }

    #[test]
    fn biases_are_where_no_key_says_it() {
        let json = json!({"model_type": "qwen2", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
                          "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": null});
        let config = ModelConfig::from_json(&json, "config.json").unwrap();
        let biased: Vec<_> = config.modules.iter().filter(|m| m.bias).map(|m| m.name()).collect();
        assert_eq!(biased, ["q_proj", "k_proj", "v_proj"]);
        assert_eq!(config.num_key_value_heads, 4);
    }
}
