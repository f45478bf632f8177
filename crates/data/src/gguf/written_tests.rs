//! Vocabularies that are written and read again.

use serde_json::{Value, json};

use super::{GgufTokenizer, WrittenTokenizer};
use crate::Tokenizer;

/// Bytes of a few letters with two merges and control tokens; with other sections.
fn byte_level(sections: &[(&str, Value)], model: &[(&str, Value)]) -> Value {
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": special})
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let mut file = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "added_tokens": [added(6, "<s>", true), added(7, "</s>", true), added(8, "<end_of_turn>", true), added(9, "[X]", false),
                         added(12, "<beyond>", true)],
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "1": 2, "Ġ": 3, "ab": 4, "aba": 5}, "merges": [["a", "b"], ["ab", "a"]]},
    });
    for (key, value) in sections {
        file[*key] = value.clone();
    }
    for (key, value) in model {
        file["model"][*key] = value.clone();
    }
    file
}

fn config() -> Value {
    json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": [
        {"name": "default", "template": "{% for m in messages %}{{ m.content }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}model\n{% endif %}"},
        {"name": "tool_use", "template": "t"},
    ]})
}

fn written(file: &Value, config: &Value) -> Result<WrittenTokenizer, String> {
    let (file, config) = (file.to_string(), config.to_string());
    WrittenTokenizer::of(file.as_bytes(), Some(config.as_bytes()), &[], 11, "toy/tokenizer.json").map_err(|problem| {
        assert!(problem.next.contains("safetensors") && problem.at == "toy/tokenizer.json", "{problem:?}");
        problem.what
    })
}

fn keys(written: &WrittenTokenizer) -> Value {
    written
        .metadata
        .iter()
        .cloned()
        .map(|(key, value)| (key.trim_start_matches("tokenizer.").to_string(), value))
        .collect()
}

fn again(written: &WrittenTokenizer) -> Tokenizer {
    let metadata: Value = written.metadata.iter().cloned().collect();
    let files = GgufTokenizer::read(&metadata, "a.gguf").unwrap();
    Tokenizer::from_json(&files.json, Some(&files.config), "a.gguf").unwrap()
}

#[test]
fn bytes_keep_their_merges_their_ends_and_their_templates() {
    let written = written(&byte_level(&[], &[]), &config()).unwrap();
    let keys = keys(&written);
    assert_eq!((&keys["ggml.model"], &keys["ggml.pre"]), (&json!("gpt2"), &json!("gpt-2")));
    assert_eq!(keys["ggml.merges"], json!(["a b", "ab a"]));
    // A hole is of no use, and what is beyond the embedding is not there.
    assert_eq!(keys["ggml.token_type"], json!([1, 1, 1, 1, 1, 1, 3, 3, 3, 4, 5]));
    assert_eq!(keys["ggml.tokens"][10], "[PAD10]");
    assert_eq!((&keys["ggml.bos_token_id"], &keys["ggml.add_bos_token"]), (&json!(6), &json!(false)));
    // The end of a text, and that of a turn, which the template has.
    assert_eq!((&keys["ggml.eos_token_id"], &keys["ggml.eot_token_id"]), (&json!(7), &json!(8)));
    assert_eq!((&keys["chat_template.tool_use"], &keys["chat_templates"]), (&json!("t"), &json!(["tool_use"])));
    assert!(keys["chat_template"].as_str().unwrap().contains("end_of_turn") && written.notices.is_empty());
    let again = again(&written);
    assert_eq!(again.encode("aba ab<s>[X]1").unwrap(), [5, 3, 4, 6, 9, 2]);
    assert_eq!((again.bos(), again.eos()), (None, Some(7)));
}

#[test]
fn what_is_put_around_a_text_is_said() {
    let around = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [7], "tokens": ["</s>"]}}});
    let written = written(&byte_level(&[("post_processor", around)], &[]), &config()).unwrap();
    let keys = keys(&written);
    assert_eq!((&keys["ggml.add_bos_token"], &keys["ggml.add_eos_token"]), (&json!(true), &json!(true)));
    assert_eq!(again(&written).encode_with("a", true).unwrap(), [6, 0, 7]);
}

#[test]
fn pre_tokenizers_are_known_by_what_they_do() {
    let last = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "pretokenizers": steps});
    let split = |regex: &str, behavior: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": behavior == "Removed"});
    let qwen2 = super::pre::named("qwen2").unwrap().patterns[0];
    let llama3 = super::pre::named("llama-bpe").unwrap().patterns[0];
    let with_regex = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let digits = json!({"type": "Digits", "individual_digits": true});
    for (pre, ignore_merges, name) in [
        (sequence(vec![split(qwen2, "Isolated"), last.clone()]), false, "qwen2"),
        (sequence(vec![split(qwen2, "Removed"), last.clone()]), false, "qwen2"),
        (sequence(vec![split(llama3, "Isolated"), last.clone()]), true, "llama-bpe"),
        (sequence(vec![split(llama3, "Isolated"), last.clone()]), false, "chatglm-bpe"),
        (sequence(vec![digits, with_regex]), false, "smollm"),
    ] {
        let file = byte_level(&[("pre_tokenizer", pre)], &[("ignore_merges", json!(ignore_merges))]);
        assert_eq!(keys(&written(&file, &config()).unwrap())["ggml.pre"], name);
    }
}

/// A vocabulary of SentencePiece's as `tokenizer.json` has it, merges for scores.
fn sentence_piece(prefixed: bool, merges: Value) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = match prefixed {
        true => json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}),
        false => replace,
    };
    let vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 3, "▁": 4, "a": 5, "b": 6, "ab": 7, "ba": 8, "▁a": 9, "▁▁": 10});
    byte_level(
        &[
            ("normalizer", normalizer),
            ("pre_tokenizer", Value::Null),
            ("decoder", json!({"type": "ByteFallback"})),
            ("added_tokens", json!([])),
        ],
        &[
            ("vocab", vocab),
            ("merges", merges),
            ("byte_fallback", json!(true)),
            ("fuse_unk", json!(true)),
            ("unk_token", json!("<unk>")),
        ],
    )
}

#[test]
fn merges_become_scores_and_those_the_same_merges() {
    let merges = json!([["▁", "▁"], ["b", "a"], ["a", "b"], ["▁", "a"]]);
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    for prefixed in [true, false] {
        let written = written(&sentence_piece(prefixed, merges.clone()), &config).unwrap();
        let keys = keys(&written);
        assert_eq!((&keys["ggml.model"], &keys["ggml.add_space_prefix"]), (&json!("llama"), &json!(prefixed)));
        assert_eq!(keys["ggml.token_type"], json!([2, 1, 1, 6, 1, 1, 1, 1, 1, 1, 1]));
        assert_eq!(keys["ggml.unknown_token_id"], 0);
        let encoded = again(&written).encode("aba  b").unwrap();
        assert_eq!(encoded, if prefixed { vec![9, 8, 10, 6] } else { vec![5, 8, 10, 6] });
    }
    // Nothing that scores say is there twice.
    let twice = json!([["b", "a"], ["a", "b"], ["b", "a"], ["▁", "a"], ["▁", "▁"]]);
    assert!(written(&sentence_piece(true, twice), &config).unwrap_err().contains("in no order that scores have"));
}

#[test]
fn what_gguf_cannot_say_is_refused_by_name_or_told() {
    let split = json!({"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    for (section, value, named) in [
        ("normalizer", json!({"type": "Lowercase"}), "normalizer is Lowercase"),
        ("pre_tokenizer", json!({"type": "Whitespace"}), "pre_tokenizer has Whitespace"),
        ("pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [split, bytes]}), "x+"),
        (
            "pre_tokenizer",
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            "ByteLevel",
        ),
    ] {
        let told = written(&byte_level(&[(section, value)], &[]), &config()).unwrap_err();
        assert!(told.contains(named), "{named}: {told}");
    }
    let affix = byte_level(&[], &[("end_of_word_suffix", json!("</w>")), ("merges", json!([]))]);
    assert!(written(&affix, &config()).unwrap_err().contains("</w>"));
    let nfc = written(&byte_level(&[("normalizer", json!({"type": "NFC"}))], &[]), &config()).unwrap();
    assert!(nfc.notices[0].contains("NFC"));
    let mut strips = byte_level(&[], &[]);
    strips["added_tokens"][2]["rstrip"] = true.into();
    assert!(written(&strips, &config()).unwrap().notices[0].contains("<end_of_turn>"));
}
