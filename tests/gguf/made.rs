//! Folders of models in memory: fixtures with some keys of their configuration changed, with a vocabulary.

use std::borrow::Cow;
use std::rc::Rc;

use burn::tensor::Device;
use serde_json::{Value, json};
use stratune_models::{MergingModel, Model};
use stratune_protocol::BaseDtype;
use stratune_runtime::{block_on, read_f32};
use stratune_session::{open_model, read_model, write_gguf};
use stratune_store::{Ftype, MemoryFolder, MemorySink, ModelFolder};
use stratune_tests::fixtures;

/// A folder of these files.
pub fn folder(files: Vec<(String, Vec<u8>)>) -> ModelFolder {
    let files = files.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes))).collect();
    block_on(open_model(Rc::new(MemoryFolder::new("toy", files)))).unwrap()
}

/// The printable characters, with one merge.
fn vocabulary() -> Value {
    let tokens = ["<|endoftext|>".to_string(), "Ġ".into()].into_iter();
    let tokens = tokens.chain((33..126_u8).map(|c| char::from(c).to_string())).chain(["he".to_string()]);
    let vocab: Value =
        tokens.enumerate().map(|(id, token)| (token, json!(id))).collect::<serde_json::Map<_, _>>().into();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": [["h", "e"]]},
    })
}

/// A fixture's folder with these keys of `config.json` changed, and a vocabulary.
pub fn changed(name: &str, changes: Value) -> ModelFolder {
    let from = fixtures::folder(name);
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for file in from.names() {
        let mut bytes = block_on(from.read(&file, None)).unwrap();
        if file == "config.json" {
            let mut config: Value = serde_json::from_slice(&bytes).unwrap();
            let of = if config["text_config"].is_object() { &mut config["text_config"] } else { &mut config };
            of.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            bytes = config.to_string().into_bytes();
        }
        files.push((file, bytes));
    }
    files.push(("tokenizer.json".into(), vocabulary().to_string().into_bytes()));
    files.push(("tokenizer_config.json".into(), json!({"eos_token": "<|endoftext|>"}).to_string().into_bytes()));
    folder(files)
}

/// A folder's model.
pub fn model(source: &ModelFolder, dtype: BaseDtype) -> Model {
    block_on(read_model(source, dtype.into(), &Device::flex(), &mut |_| {})).unwrap()
}

/// A GGUF file of a model, opened.
pub fn as_gguf(source: &ModelFolder, model: Model, ftype: Ftype) -> ModelFolder {
    let mut sink = MemorySink::default();
    let merging = MergingModel::new(model).unwrap();
    block_on(write_gguf(source, &merging, ftype, "toy", &mut sink, &mut |_| {})).unwrap();
    folder(sink.files)
}

/// Logits of a text of 24 tokens, and the largest of them.
pub fn logits(model: &Model) -> (Vec<f32>, f32) {
    let text: Vec<u32> = (0..24).map(|i| (i * 37 + 11) % 96).collect();
    let logits = block_on(read_f32(model.logits(fixtures::ids(&text, &model.device())))).unwrap();
    let largest = logits.iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
    (logits, largest)
}
