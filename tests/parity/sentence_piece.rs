//! SentencePiece models without `tokenizer.json` give the tokens of the sentencepiece package.

use std::path::PathBuf;
use std::rc::Rc;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use stratune_data::{BesideSentencePiece, Tokenizer, from_sentence_piece};
use stratune_models::ModelConfig;
use stratune_runtime::block_on;
use stratune_session::read_tokenizer;
use stratune_store::{MemoryFolder, ModelFolder};
use stratune_tests::{fixtures, skipped};

#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
}

/// A model's folder with these files of a tokenizer in place of others.
fn tokenizer(files: Vec<(String, Vec<u8>)>) -> Tokenizer {
    let base = fixtures::folder("tiny-llama");
    let of_base = ["config.json", "model.safetensors"].map(|name| (name, block_on(base.read(name, None)).unwrap()));
    let of_base = of_base.into_iter().map(|(name, bytes)| (name.to_string(), bytes));
    let files = of_base.chain(files).map(|(name, bytes)| (name, bytes.into())).collect();
    let folder = block_on(ModelFolder::open(Rc::new(MemoryFolder::new("toy", files)))).unwrap();
    let mut json = folder.config().clone();
    json["vocab_size"] = 40_000.into();
    block_on(read_tokenizer(&folder, &ModelConfig::from_json(&json, "").unwrap())).unwrap()
}

fn model() -> (String, Vec<u8>) {
    ("tokenizer.model".into(), fixtures::bytes("sentence-piece", "tokenizer.model").to_vec())
}

#[test]
fn a_folder_with_a_sentencepiece_model_has_its_tokens() {
    let samples: Vec<Sample> = block_on(fixtures::json("sentence-piece", "samples.json"));
    let first = ("tokenizer_config.json".into(), br#"{"legacy": false}"#.to_vec());
    for (read, legacy) in [(tokenizer(vec![model()]), true), (tokenizer(vec![model(), first]), false)] {
        // The package puts one space at the beginning. transformers' fast tokenizers put one behind each added token, too, in
        // their legacy, and otherwise none before a space.
        let differs = |text: &str| if legacy { text.contains("<ferry>") } else { text.starts_with([' ', '▁']) };
        let samples = samples.iter().filter(|sample| !differs(&sample.text));
        for Sample { text, ids } in samples {
            assert_eq!(read.encode(text).unwrap(), *ids, "{text:?}, {legacy}");
            assert_eq!(read.decode(ids).unwrap(), text.replace('▁', " "), "{text:?}, {legacy}");
        }
        assert_eq!((read.bos(), read.eos()), (Some(1), Some(2)));
    }
}

/// Tokens that other files add, and what they say of them.
#[test]
fn tokens_beside_the_model_are_added() {
    let config = r#"{"add_bos_token": false, "chat_template": "{{ messages }}", "eos_token": {"content": "<|end|>"},
        "added_tokens_decoder": {"462": {"content": "<|end|>", "special": true, "rstrip": true}}}"#;
    let read = tokenizer(vec![
        model(),
        ("tokenizer_config.json".into(), config.into()),
        ("added_tokens.json".into(), br#"{"<|tool|>": 460, "<|end|>": 462}"#.to_vec()),
    ]);
    assert_eq!((read.bos(), read.eos(), read.vocabulary()), (None, Some(462), 463));
    assert_eq!(read.encode("<|tool|><|end|>").unwrap(), [460, 462]);
    // What follows it has no space, and the dummy one is a token.
    let plain = read.encode("the").unwrap();
    assert_eq!(read.encode("<|end|> \n the").unwrap(), [&[462][..], &plain].concat());
    let first = |text: &str| {
        let config = r#"{"legacy": false, "added_tokens_decoder": {"462": {"content": "<|end|>"}}}"#;
        tokenizer(vec![model(), ("tokenizer_config.json".into(), config.into())]).encode(text).unwrap()
    };
    assert_eq!(first("the"), plain);
    assert_ne!(first("<|end|>the")[1..], plain, "a space comes at the beginning alone");
}

#[test]
fn models_that_are_not_read_are_named() {
    let (_, bytes) = model();
    let read = |bytes: &[u8]| from_sentence_piece(bytes, BesideSentencePiece::default(), "toy").unwrap_err();
    // The kind of the trainer, and a way of normalising, put behind what the file says of them.
    for (more, why) in [
        (&[0x12, 2, 0x18, 1][..], "unigram"),
        (&[0x12, 2, 0x18, 7], "kind 7"),
        (&[0x1a, 3, 0x12, 1, 0], "precompiled_charsmap"),
        (&[0x1a, 2, 0x20, 1], "one space of several"),
        (&[0x0a, 3, 0x0a, 1, 0xff], "not UTF-8"),
    ] {
        let problem = read(&[&bytes, more].concat());
        assert!(problem.what.contains(why) && problem.at == "toy/tokenizer.model", "{why}: {problem:?}");
        assert!(problem.next.contains("tokenizer.json"));
    }
    for cut in (0..bytes.len()).step_by(97) {
        // At the end of a message it is a shorter vocabulary.
        let cut = from_sentence_piece(&bytes[..cut], BesideSentencePiece::default(), "toy");
        assert!(cut.is_ok() || !cut.unwrap_err().next.is_empty());
    }
}

#[derive(Deserialize)]
struct Corpus {
    model: String,
    text: String,
    lines: usize,
    tokens: usize,
    sha256: String,
}

/// Llama 2's, on a corpus.
#[test]
fn a_corpus_has_the_tokens_of_the_sentencepiece_package() {
    let Some(data) = std::env::var_os("STRATUNE_DATA").map(PathBuf::from) else {
        return skipped("STRATUNE_DATA is not set");
    };
    let corpus: Corpus = block_on(fixtures::json("sentence-piece", "llama2.json"));
    let (Ok(model), Ok(text)) =
        (std::fs::read(data.join(&corpus.model)), std::fs::read_to_string(data.join(&corpus.text)))
    else {
        return skipped(format!("{} or {} is not in STRATUNE_DATA", corpus.model, corpus.text));
    };
    let read = tokenizer(vec![("tokenizer.model".into(), model)]);
    let (mut tokens, mut hash, mut lines) = (0, Sha256::new(), 0);
    // A special token, which the package takes for text.
    for line in text.replace("<unk>", "unk").split('\n') {
        let ids = read.encode(line).unwrap();
        (tokens, lines) = (tokens + ids.len(), lines + 1);
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        hash.update(format!("{}\n", ids.join(" ")));
    }
    assert_eq!((lines, tokens), (corpus.lines, corpus.tokens));
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, corpus.sha256);
    println!("{lines} lines, {tokens} tokens");
}
