//! How each family is proven: the lists that the tests walk, and the table of them.

use serde_json::Value;
use stratune_models::families::FAMILIES;

use crate::checks::{
    CLASSIFIERS, ENCODERS, FAMILY_FOLDERS, IMAGE_ADAPTERS, IMAGE_MODELS, MODELS, PEFT_FOLDERS, SEQ2SEQ,
    SEQ2SEQ_ADAPTERS,
};
use crate::fixtures;

/// The folders `tiny-NAME` whose GGUF files, made by llama.cpp, are beside them.
pub const GGUF: [&str; 15] = [
    "llama3",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3-multimodal",
    "smollm3",
    "granite",
    "olmo2",
    "arcee",
    "phi3",
    "gpt2",
    "gpt-neox",
];

/// A row for each family, a column for each way in which it is proven, in Markdown.
pub fn table() -> String {
    let logits: Vec<String> =
        MODELS.into_iter().chain(ENCODERS).chain(SEQ2SEQ).chain(IMAGE_MODELS).map(model_type).collect();
    let adapters = PEFT_FOLDERS.into_iter().chain(FAMILY_FOLDERS).chain(CLASSIFIERS).chain(SEQ2SEQ_ADAPTERS);
    let adapters = adapters.chain(IMAGE_ADAPTERS);
    let peft: Vec<String> = adapters.map(|adapter| model_type(&base(adapter))).collect();
    let gguf = GGUF.map(|name| model_type(&format!("tiny-{name}")));
    let mut table =
        String::from("| `model_type` | logits | PEFT | GGUF in | GGUF out | tab |\n|---|---|---|---|---|---|\n");
    for family in FAMILIES {
        let name = family.model_type;
        let among = |proven: &[String]| proven.iter().any(|proven| proven == name);
        // In a tab the same checks walk the same lists.
        let proven = [among(&logits), among(&peft), among(&gguf), family.gguf.is_some(), among(&logits)];
        let cells = proven.map(|yes| if yes { "yes" } else { "–" }).join(" | ");
        table.push_str(&format!("| `{name}` | {cells} |\n"));
    }
    table
}

/// The family of a fixture's folder.
fn model_type(folder: &str) -> String {
    field(folder, "config.json", "model_type")
}

/// The folder that a fixture's adapter was made on.
fn base(adapter: &str) -> String {
    field(adapter, "adapter_config.json", "base_model_name_or_path")
}

fn field(folder: &str, file: &str, key: &str) -> String {
    let json: Value = serde_json::from_slice(fixtures::bytes(folder, file)).expect("JSON");
    json[key].as_str().expect("a name").to_string()
}
