//! SmolLM 3: some blocks rotate no queries and keys.

use super::common::{self, ATTENTION_BIAS, Decoder, LLAMA, MLP_BIAS};
use super::gguf::{self, GgufForm};
use super::{Family, Fields};
use crate::ModelConfig;

/// Biases where `attention_bias` and `mlp_bias` say so.
pub const FAMILY: Family = Family {
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS, MLP_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

/// llama.cpp leaves every fourth block without positions, as the family does unless it is told otherwise.
const GGUF: GgufForm = GgufForm { architecture: "smollm3", alternating: true, ..gguf::PLAIN };

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let smollm3 = Decoder {
        num_key_value_heads: |_| 4,
        rope_theta: 2e6,
        max_position_embeddings: 32_768,
        tie_word_embeddings: true,
        ..LLAMA
    };
    let mut config = common::read(family, fields, &smollm3)?;
    let layers = config.num_hidden_layers;
    let rotates = rotating_layers(fields, layers)?;
    let slides = match common::sliding_layers(fields, layers)? {
        Some(types) => types,
        None if fields.flag_or("use_sliding_window", false)? => rotates.iter().map(|rotates| !rotates).collect(),
        None => vec![false; layers],
    };
    config.slide(&common::windows(fields, &slides, None)?);
    for (kind, _) in config.attention.iter_mut().zip(rotates).filter(|(_, rotates)| !rotates) {
        kind.rope = None;
    }
    Ok(config)
}

/// The blocks that rotate queries and keys, by `no_rope_layers`, in which they are ones; without it all but every so many.
fn rotating_layers(fields: &Fields<'_>, layers: usize) -> Result<Vec<bool>, String> {
    let Some(listed) = fields.get("no_rope_layers") else {
        let interval = fields.given_size("no_rope_layer_interval")?.or(4, 4);
        return Ok((1..=layers).map(|count| count % interval != 0).collect());
    };
    let listed: Vec<bool> =
        listed.as_array().into_iter().flatten().map(|rotates| rotates.as_u64() != Some(0)).collect();
    match listed.len() {
        many if many >= layers => Ok(listed[..layers].to_vec()),
        few => Err(format!("no_rope_layers names {few} layers where num_hidden_layers is {layers}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn blocks_without_positions_are_listed_or_every_fourth() {
        let mut json = json!({"model_type": "smollm3", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
                              "num_hidden_layers": 5, "num_attention_heads": 4, "sliding_window": 7});
        let kinds = |json: &Value, of: fn(&crate::nn::AttentionKind) -> bool| {
            let config = ModelConfig::from_json(json, "config.json").unwrap();
            config.attention.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&json, |kind| kind.rope.is_some()), [true, true, true, false, true]);
        assert_eq!(kinds(&json, |kind| kind.window.is_some()), [false; 5]);
        json["use_sliding_window"] = true.into();
        json["no_rope_layers"] = json!([1, 0, 1, 1, 0, 1, 1]);
        assert_eq!(kinds(&json, |kind| kind.rope.is_some()), [true, false, true, true, false]);
        assert_eq!(kinds(&json, |kind| kind.window == Some(7)), [false, true, false, false, true]);
        json["no_rope_layers"] = json!([1]);
        assert!(ModelConfig::from_json(&json, "config.json").unwrap_err().what.contains("no_rope_layers"));
    }
}
