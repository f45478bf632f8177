//! What tests of several files need: a small tokenizer.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use crate::Tokenizer;

pub(crate) const JSON: &[u8] = include_bytes!("../../../tests/fixtures/tokenizer/tokenizer.json");
pub(crate) const CONFIG: &[u8] = include_bytes!("../../../tests/fixtures/tokenizer/tokenizer_config.json");

/// The fixture, with some settings changed.
pub(crate) fn fixture(config: &[(&str, Value)]) -> Tokenizer {
    let mut settings: Value = serde_json::from_slice(CONFIG).unwrap();
    for (name, value) in config {
        settings[name] = value.clone();
    }
    Tokenizer::from_json(JSON, Some(&serde_json::to_vec(&settings).unwrap()), "tokenizer.json").unwrap()
}

/// The fixture with a post-processor that puts `<|endoftext|>` first.
pub(crate) fn fixture_with_bos() -> Tokenizer {
    let mut json: Value = serde_json::from_slice(JSON).unwrap();
    let (bos, text) = (
        serde_json::json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}),
        |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}}),
    );
    json["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing", "single": [bos, text("A")], "pair": [bos, text("A"), text("B")],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    });
    Tokenizer::from_json(&serde_json::to_vec(&json).unwrap(), Some(CONFIG), "tokenizer.json").unwrap()
}

/// The fixture with the tokens of ChatML added and a chat template.
pub(crate) fn fixture_with_turns(template: &str) -> Tokenizer {
    let mut json: Value = serde_json::from_slice(JSON).unwrap();
    for (id, content) in [(320, "<|im_start|>"), (321, "<|im_end|>")] {
        let token = serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true});
        json["added_tokens"].as_array_mut().unwrap().push(token);
    }
    let config = serde_json::json!({"chat_template": template, "eos_token": "<|endoftext|>"});
    Tokenizer::from_json(&serde_json::to_vec(&json).unwrap(), Some(config.to_string().as_bytes()), "").unwrap()
}
