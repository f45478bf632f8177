//! Qwen 2 and 2.5: biases at queries, keys and values, which no key says.

use stratune_protocol::Role;

use super::common::{self, Defaults, Switches};
use super::{Family, Fields, Given};
use crate::ModelConfig;

/// No key gives other layers biases.
pub const FAMILY: Family = Family { model_type: "qwen2", class: "Qwen2ForCausalLM", read, bias_keys: &[] };

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let defaults = Defaults {
        num_key_value_heads: |_| 32,
        head_dim: |hidden, heads| hidden / heads,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        max_position_embeddings: 32_768,
    };
    let mut config = common::decoder(family, fields, &defaults)?;
    config.windows = windows(fields, config.num_hidden_layers)?;
    let bias = |role: Role| matches!(role, Role::Query | Role::Key | Role::Value);
    let tied = fields.flag_or("tie_word_embeddings", false)?;
    config.modules = common::modules(&config, &Switches { bias: &bias, qk_norm: false, tied });
    Ok(config)
}

/// Of each block. `sliding_window` alone means nothing: `layer_types` or `use_sliding_window` make a block slide, the
/// latter from block `max_window_layers` upwards.
pub(super) fn windows(fields: &Fields<'_>, layers: usize) -> Result<Vec<Option<usize>>, String> {
    let window = match fields.given_size("sliding_window")? {
        Given::Absent => Some(4096),
        Given::Null => None,
        Given::Value(window) => Some(window),
    };
    let slides = match common::sliding_layers(fields, layers)? {
        Some(types) => types,
        None if fields.flag_or("use_sliding_window", false)? => {
            let first = match fields.given("max_window_layers", "number of layers", serde_json::Value::as_u64)? {
                Given::Value(first) => first as usize,
                Given::Absent | Given::Null => 28,
            };
            (0..layers).map(|i| i >= first).collect()
        }
        None => vec![false; layers],
    };
    Ok(slides.into_iter().map(|slides| window.filter(|_| slides)).collect())
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
