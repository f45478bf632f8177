//! Mistral: Llama in which every block sees a window, if the model has one.

use super::common::{self, Decoder, LLAMA};
use super::{Family, Fields};
use crate::ModelConfig;

/// Without biases. llama.cpp's files say that they are Llama.
pub const FAMILY: Family = Family {
    model_type: "mistral",
    class: "MistralForCausalLM",
    read,
    bias_keys: &[],
    file_names: &[],
    file_name: None,
    gguf: None,
};

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let mistral = Decoder { num_key_value_heads: |_| 8, max_position_embeddings: 131_072, ..LLAMA };
    if fields.get("layer_types").is_some() {
        return Err("layer_types is there, which no model of this family has".into());
    }
    let mut config = common::read(family, fields, &mistral)?;
    let all = vec![true; config.num_hidden_layers];
    config.slide(&common::windows(fields, &all, Some(4096))?);
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_absent_window_is_not_none() {
        let mut json = json!({"model_type": "mistral", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
                              "num_hidden_layers": 2, "num_attention_heads": 8});
        let window = |json: &Value| ModelConfig::from_json(json, "config.json").unwrap().attention[1].window;
        assert_eq!(window(&json), Some(4096));
        json["sliding_window"] = Value::Null;
        assert_eq!(window(&json), None);
    }
}
