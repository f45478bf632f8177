//! Small vocabularies of each kind.

use serde_json::{Value, json};

use super::GgufTokenizer;
use crate::tokenizer::Tokenizer;

/// Metadata of these keys of `tokenizer.ggml`.
fn metadata(keys: Value) -> Value {
    let keys = keys.as_object().unwrap();
    let full = |(key, value): (&String, &Value)| match key.starts_with("tokenizer") {
        true => (key.clone(), value.clone()),
        false => (format!("tokenizer.ggml.{key}"), value.clone()),
    };
    keys.iter().map(full).collect()
}

fn with(keys: &Value, more: &[(&str, Value)]) -> Value {
    let mut keys = keys.clone();
    for (key, value) in more {
        keys[key] = value.clone();
    }
    metadata(keys)
}

fn tokenizer(metadata: &Value) -> (Tokenizer, Vec<u32>) {
    let files = GgufTokenizer::read(metadata, "a.gguf").unwrap();
    (Tokenizer::from_json(&files.json, Some(&files.config), "a.gguf").unwrap(), files.ends)
}

/// Bytes of a few letters, two merges, and control tokens.
fn byte_level() -> Value {
    json!({"model": "gpt2", "pre": "gpt-2", "tokens": ["a", "b", "1", "Ġ", "ab", "aba", "<s>", "<|im_end|>", "<|eot_id|>", "[X]"],
           "token_type": [1, 1, 1, 1, 1, 1, 3, 3, 3, 4], "merges": ["a b"], "eos_token_id": 7, "bos_token_id": 6})
}

/// SentencePiece: scores say that `ba` is put together before `ab`.
fn sentence_piece() -> Value {
    json!({"model": "llama",
           "tokens": ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "ab", "ba", "▁a", "  ", "<0xC3>", "<0xBC>"],
           "token_type": [2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 4, 6, 6],
           "scores": [0, 0, 0, 0, -5, -6, -7, -2, -1, -3, 0, 0, 0]})
}

#[test]
fn bytes_are_put_together_by_merges() {
    let (plain, ends) = tokenizer(&metadata(byte_level()));
    assert_eq!(plain.encode("aba a<s>[X]").unwrap(), [4, 0, 3, 0, 6, 9]);
    assert_eq!(plain.decode(&[4, 0, 3, 0, 9]).unwrap(), "aba a[X]");
    // The end that the file names, and the others that its control tokens are.
    assert_eq!((plain.bos(), plain.eos(), ends.as_slice()), (None, Some(7), &[7, 8][..]));
    // Llama 3's looks for the whole piece first, and begins with the first token.
    let (whole, _) = tokenizer(&with(&byte_level(), &[("pre", json!("llama-bpe"))]));
    assert_eq!((whole.encode("aba").unwrap(), whole.bos()), (vec![5], Some(6)));
    let (without, _) = tokenizer(&with(&byte_level(), &[("pre", json!("llama-bpe")), ("add_bos_token", json!(false))]));
    assert_eq!(without.bos(), None);
    // A digit by itself.
    assert_eq!(tokenizer(&with(&byte_level(), &[("pre", json!("smollm"))])).0.encode("11").unwrap(), [2, 2]);
}

#[test]
fn scores_say_what_is_put_together_first() {
    let (plain, ends) = tokenizer(&metadata(sentence_piece()));
    // A space in front, which is put to the first letter after all else.
    assert_eq!(plain.encode("aba").unwrap(), [9, 8]);
    // What is no token is its bytes.
    assert_eq!(plain.encode("ü\n").unwrap(), [4, 11, 12, 3]);
    assert_eq!(plain.decode(&[9, 8, 11, 12]).unwrap(), "abaü");
    assert_eq!((plain.bos(), plain.eos(), ends.as_slice()), (Some(1), Some(2), &[2][..]));
    // No space in front, and two of them are a token.
    let (bare, _) = tokenizer(&with(&sentence_piece(), &[("add_space_prefix", json!(false))]));
    assert_eq!(bare.encode("a  a").unwrap(), [5, 10, 5]);
    assert_eq!(bare.decode(&[5, 10, 5]).unwrap(), "a  a");
    // One score for all: the order of the numbers, in which `ab` is before `ba`.
    let (numbered, _) = tokenizer(&with(&sentence_piece(), &[("scores", json!(vec![-1000; 13]))]));
    assert_eq!(numbered.encode("aba").unwrap(), [4, 7, 5]);
}

#[test]
fn words_are_taken_apart_from_their_beginnings() {
    let keys = json!({"model": "bert", "tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁ab", "a", "b", "▁c"],
                      "token_type": [3, 3, 3, 3, 1, 1, 1, 1], "cls_token_id": 2, "seperator_token_id": 3,
                      "unknown_token_id": 1, "padding_token_id": 0});
    let (plain, _) = tokenizer(&metadata(keys));
    assert_eq!(plain.encode("Aba c x").unwrap(), [4, 5, 7, 1]);
}

#[test]
fn templates_come_along() {
    let config = |more: &[(&str, Value)]| -> Value {
        let files = GgufTokenizer::read(&with(&byte_level(), more), "a.gguf").unwrap();
        serde_json::from_slice(&files.config).unwrap()
    };
    assert!(config(&[]).get("chat_template").is_none());
    let one = ("tokenizer.chat_template", json!("one"));
    assert_eq!(config(std::slice::from_ref(&one))["chat_template"], "one");
    let all = config(&[one, ("tokenizer.chat_template.rag", json!("two"))]);
    assert_eq!(
        all["chat_template"],
        json!([{"name": "default", "template": "one"}, {"name": "rag", "template": "two"}])
    );
    assert_eq!((&all["eos_token"], &all["bos_token"]), (&json!("<|im_end|>"), &json!("<s>")));
}

#[test]
fn what_is_wrong_is_named() {
    for (keys, key, value, why) in [
        (byte_level(), "model", json!("rwkv"), "'rwkv', which is not read"),
        (byte_level(), "model", Value::Null, "tokenizer.ggml.model is missing"),
        (byte_level(), "pre", json!("poro-chat"), "'poro-chat', a pre-tokenizer that is not known"),
        (byte_level(), "pre", Value::Null, "tokenizer.ggml.pre is missing"),
        (byte_level(), "tokens", Value::Null, "tokenizer.ggml.tokens is missing"),
        (byte_level(), "tokens", json!(["a", 1]), "are not texts"),
        (byte_level(), "tokens", json!(["a", "a"]), "'a' is in the vocabulary twice"),
        (byte_level(), "token_type", json!([1]), "1 kinds of 10 tokens"),
        (byte_level(), "token_type", json!([1, 1, 1, 1, 1, 1, 1, 1, 1, 9]), "of the kind 9"),
        (byte_level(), "merges", Value::Null, "merges is missing"),
        (byte_level(), "merges", json!(["ab"]), "no pair"),
        (byte_level(), "eos_token_id", json!(10), "eos_token_id is 10, and there are 10 tokens"),
        (sentence_piece(), "scores", json!([1.0]), "1 scores of 13 tokens"),
    ] {
        let problem = GgufTokenizer::read(&with(&keys, &[(key, value)]), "a.gguf").unwrap_err();
        assert!(problem.what.contains(why) && problem.at == "a.gguf", "{why}: {problem:?}");
    }
    // A merge that comes to no token is found where tokenizer.json is read.
    let files = GgufTokenizer::read(&with(&byte_level(), &[("merges", json!(["b a"]))]), "").unwrap();
    assert!(Tokenizer::from_json(&files.json, Some(&files.config), "a.gguf").is_err());
}
