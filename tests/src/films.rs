//! Opinions of films, good and bad, and a small encoder that has words for them: what tests of classifiers are told apart by.

use serde_json::{Map, Value, json};

/// A BERT of 96 tokens and 40 positions, which came without a tokenizer, and tells other labels apart.
const BERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-bert");

/// Words of either class, and of both.
const GOOD: [&str; 6] = ["bright", "warm", "kind", "lovely", "clever", "sweet"];
const BAD: [&str; 6] = ["dull", "cold", "cruel", "ugly", "stupid", "sour"];
const BOTH: [&str; 8] = ["the", "film", "was", "a", "story", "and", "very", "so"];

/// So many rows of `text` and `label`, as CSV: the classes `good` and `bad` in turn, which the words in a text say.
pub fn rows(rows: usize) -> String {
    let row = |r: usize| {
        let (words, label) = if r.is_multiple_of(2) { (GOOD, "good") } else { (BAD, "bad") };
        let [one, other] = [words[r / 2 % 6], words[(r / 12 + 1) % 6]];
        // The same in both classes.
        let [a, b] = [BOTH[r / 2 % 8], BOTH[r / 16 % 8]];
        format!("the {a} film was {one} and {b} {other},{label}\n")
    };
    format!("text,label\n{}", (0..rows).map(row).collect::<String>())
}

/// The files of a folder as sentence-transformers has it: the small BERT, and a tokenizer of whole words.
pub fn model_files() -> Vec<(&'static str, Vec<u8>)> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let all: Vec<&str> = special.into_iter().chain(GOOD).chain(BAD).chain(BOTH).collect();
    let read = |name: &str| std::fs::read(format!("{BERT}/{name}")).unwrap_or_else(|e| panic!("{BERT}/{name}: {e}"));
    vec![
        ("config.json", read("config.json")),
        ("model.safetensors", read("model.safetensors")),
        ("tokenizer.json", tokenizer(&special, &all).to_string().into()),
        ("tokenizer_config.json", json!({ "tokenizer_class": "BertTokenizer" }).to_string().into()),
        ("vocab.txt", all.join("\n").into()),
        ("modules.json", json!([{ "idx": 0, "name": "0", "path": "" }]).to_string().into()),
        ("1_Pooling/config.json", json!({ "pooling_mode_mean_tokens": true }).to_string().into()),
    ]
}

/// A `tokenizer.json` as BERT has it, of these words.
fn tokenizer(special: &[&str], all: &[&str]) -> Value {
    let vocab: Map<String, Value> = all.iter().zip(0..).map(|(word, id)| (word.to_string(), json!(id))).collect();
    let added = |(id, content): (usize, &&str)| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let token = |id: &str, type_id: u32| json!({ "SpecialToken": { "id": id, "type_id": type_id } });
    let text = |id: &str, type_id: u32| json!({ "Sequence": { "id": id, "type_id": type_id } });
    let named = |id: &str, number: u32| json!({ "id": id, "ids": [number], "tokens": [id] });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)],
            "pair": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0), text("B", 1), token("[SEP]", 1)],
            "special_tokens": { "[CLS]": named("[CLS]", 2), "[SEP]": named("[SEP]", 3) },
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": vocab },
    })
}
