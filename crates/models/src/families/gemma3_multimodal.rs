//! The text part of Gemma 3 with images (4B and larger): as Gemma 3 of text, whose configuration is within that of the whole.
//! What belongs to images is not read.

use serde_json::{Map, Value};
use stratune_protocol::Module;

use super::common::ATTENTION_BIAS;
use super::{Family, Fields, gemma3};
use crate::ModelConfig;

/// Files have the text part by several names.
pub const FAMILY: Family = Family {
    model_type: "gemma3",
    class: "Gemma3ForConditionalGeneration",
    read,
    bias_keys: &[ATTENTION_BIAS],
    file_names: &[
        (TEXT, "language_model.model."),
        (TEXT, "model.language_model.model."),
        (TEXT, "language_model.model.model."),
        ("lm_head.", "language_model.lm_head."),
    ],
    gguf: None,
    file_name: None,
};

/// What stands before the names of its modules.
const TEXT: &str = "model.language_model.";

/// Sizes that a configuration leaves out: old ones have only what differs from these.
const SIZES: [(&str, u64); 6] = [
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
];

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let mut text = match fields.get("text_config") {
        Some(Value::Object(text)) => text.clone(),
        Some(other) => return Err(format!("text_config is {other}, which is no configuration")),
        None => fields.0.as_object().cloned().unwrap_or_default(),
    };
    add(&mut text, SIZES.map(|(key, size)| (key, size.into())));
    // The whole has one output layer, and says whether it is the embedding.
    if let Some(tied) = fields.get("tie_word_embeddings") {
        text.insert("tie_word_embeddings".into(), tied.clone());
    }
    let text = Value::Object(text);
    let mut config = gemma3::read(family, &Fields(&text))?;
    config.json = fields.0.clone();
    // It caps no logits, whatever its text part says.
    config.final_logit_softcapping = None;
    let renamed = |module: Module| match module.path.strip_prefix("model.") {
        Some(behind) => Module { path: format!("{TEXT}{behind}"), ..module },
        None => module,
    };
    config.modules = config.modules.into_iter().map(renamed).collect();
    Ok(config)
}

/// What is not there.
fn add<const N: usize>(to: &mut Map<String, Value>, defaults: [(&str, Value); N]) {
    for (key, value) in defaults {
        to.entry(key).or_insert(value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;
    use stratune_protocol::Role;

    use super::*;

    fn with_text(text: Value) -> Value {
        json!({"model_type": "gemma3", "vision_config": {"hidden_size": 7}, "text_config": text})
    }

    /// As the hub's Gemma 3 4B.
    #[test]
    fn what_is_left_out_has_the_defaults_of_the_class() {
        let text = json!({"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
                          "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                          "sliding_window": 1024});
        let config = ModelConfig::from_json(&with_text(text), "config.json").unwrap();
        assert_eq!((config.num_attention_heads, config.num_key_value_heads, config.head_dim), (8, 4, 256));
        assert_eq!((config.vocab_size, config.num_hidden_layers), (262_208, 34));
        assert!(config.module(None, Role::Head).is_none());
        assert!(config.attention[5].rope.as_ref().unwrap().scaling.is_some());
        assert_eq!((config.attention[0].window, config.attention[5].window), (Some(1024), None));
    }

    #[test]
    fn files_have_the_text_part_by_several_names() {
        let config = ModelConfig::from_json(&with_text(json!({"num_hidden_layers": 1})), "config.json").unwrap();
        let path = &config.module(Some(0), Role::Query).unwrap().path;
        assert_eq!(path, "model.language_model.layers.0.self_attn.q_proj");
        let names = config.names_in_files(path);
        for begins in ["model.language_model", "language_model.model", "model.language_model.model", "language_model"] {
            assert!(names.contains(&format!("{begins}.layers.0.self_attn.q_proj")), "{begins}: {names:?}");
        }
    }

    #[test]
    fn a_bias_is_the_text_parts() {
        let config = ModelConfig::from_json(&with_text(json!({"num_hidden_layers": 1})), "config.json").unwrap();
        let with = config.with_biases(&[Role::Query]).unwrap();
        assert_eq!(with.to_json()["text_config"]["attention_bias"], true);
        assert!(with.module(Some(0), Role::Query).unwrap().bias);
        let wrong = json!({"model_type": "gemma3", "text_config": 3});
        assert!(ModelConfig::from_json(&wrong, "").unwrap_err().what.contains("text_config"));
    }
}
