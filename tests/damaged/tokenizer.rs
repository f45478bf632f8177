//! `tokenizer.json` of every kind, and `tokenizer_config.json` with its chat template.

use serde_json::{Value, json};
use stratune_data::{Reads, Role, Row, Template, Tokenizer, Turn, Wanted, encode_text};
use stratune_protocol::{Objective, Problem};
use stratune_runtime::block_on;
use stratune_tests::fixtures::folder;

use crate::damage::survives;

const TEXTS: [&str; 5] =
    ["The ferry leaves at seven.", "", " \n\t<s></s> <pad>", "naïve 東京 🦀!\u{0}", "unaffable ab  ab"];

fn file(name: &str) -> Vec<u8> {
    block_on(folder("tokenizer").read(name, None)).unwrap()
}

/// Reads the files, and does with them all that is done with texts.
fn read(json: &[u8], config: Option<&[u8]>) -> Result<(), Problem> {
    let tokenizer = Tokenizer::from_json(json, config, "folder/tokenizer.json")?;
    let tokenizer = tokenizer.with_ends(&[2, 70_000]).for_model(100_000)?;
    let template = Template::of(&tokenizer)?;
    let turns = |role, text: &str| Turn::new(role, text);
    for text in TEXTS {
        let ids = tokenizer.encode(text)?;
        tokenizer.decode(&ids)?;
        let mut stream = tokenizer.stream();
        for &id in ids.iter().chain(&[0, 5, 300]) {
            tokenizer.token_text(id);
            stream.push(id)?;
        }
        stream.finish()?;
        template.prompt(&tokenizer, text)?;
        for (reads, limit) in [(Reads::First, 64), (Reads::First, 5), (Reads::Last, 5)] {
            let wanted = Wanted { objective: Objective::Auto, reads, type_ids: true, known: &[] };
            for pair in [None, Some(text), Some("ab the ferry")] {
                // Nothing may be there, or no room.
                let _ = encode_text(&tokenizer, text, pair, &wanted, limit);
            }
        }
        template.encode(&tokenizer, &Row::Text(text.into()))?;
        let talk =
            [turns(Role::System, "s"), turns(Role::User, text), turns(Role::Assistant, text), turns(Role::User, "c")];
        let talk = talk.into_iter().chain([turns(Role::Assistant, "d")]).collect::<Vec<_>>();
        template.encode(&tokenizer, &Row::Turns(talk.into()))?;
    }
    // What decoders are not used to: no token, the same one again, all that there are.
    for ids in [vec![], vec![0; 3], (0..400).collect(), vec![u32::MAX]] {
        tokenizer.decode(&ids)?;
    }
    Ok(())
}

fn added(id: u32, content: &str, spaces: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": spaces, "rstrip": spaces, "normalized": !spaces,
        "special": true})
}

/// Like Llama 2's: SentencePiece's spaces, bytes for what is unknown, and a decoder in parts.
fn sentencepiece() -> Value {
    let words = ["<unk>", "<s>", "</s>", "▁", "T", "h", "e", "▁T", "he", "▁The", "a", "b", "ab"];
    let bytes = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>"));
    let vocab: serde_json::Map<String, Value> =
        words.iter().map(ToString::to_string).chain(bytes).enumerate().map(|(id, word)| (word, id.into())).collect();
    json!({
        "version": "1.0", "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "<unk>"},
        "added_tokens": [added(0, "<unk>", false), added(1, "<s>", false), added(2, "</s>", true), added(269, "<pad>", true)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "NFKC"}, {"type": "Strip",
            "strip_left": false, "strip_right": true}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab,
            "merges": [["▁", "T"], ["h", "e"], ["▁T", "he"], ["a", "b"]]},
    })
}

/// Like T5's: pieces with scores, and a table of what is normalised to what.
fn unigram() -> Value {
    let words = ["<pad>", "</s>", "<unk>", "▁", "▁The", "a", "b", "ab", "e", "f", "r", "y", "▁l"];
    let vocab: Vec<Value> = words.iter().enumerate().map(|(k, word)| json!([word, -(k as f64)])).collect();
    // A trie without a way in, and no text.
    let charsmap = format!("AAQAA{}=", "A".repeat(1366));
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<pad>", false), added(1, "</s>", false), added(2, "<unk>", false)],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
            {"type": "Digits", "individual_digits": true}, {"type": "Punctuation", "behavior": "Isolated"}]},
        "post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": true,
            "trim_offsets": false, "use_regex": true}, {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<pad>", 0],
            "trim_offsets": true, "add_prefix_space": false}]},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": vocab, "byte_fallback": false},
    })
}

/// Like BERT's.
fn wordpiece() -> Value {
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "the", "ferry", "."];
    let vocab: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_string(), id.into())).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [added(1, "[UNK]", false)],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

/// Words, a regular expression, and the older decoders.
fn words() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [added(3, "\n\n", false)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "StripAccents"}, {"type": "Nmt"},
            {"type": "NFD"}, {"type": "Replace", "pattern": {"Regex": "(?<!a)b+"}, "content": "bb"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\s?\\w+|."},
            "behavior": "MergedWithPrevious", "invert": false}, {"type": "UnicodeScripts"},
            {"type": "FixedLength", "length": 5}]},
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [{"type": "BPEDecoder", "suffix": "</w>"}, {"type": "CTC", "pad_token": "?",
            "word_delimiter_token": "|", "cleanup": true}]},
        "model": {"type": "WordLevel", "vocab": {"?": 0, "the": 1, "mill": 2}, "unk_token": "?"},
    })
}

#[test]
fn tokenizer_json() {
    let config = file("tokenizer_config.json");
    survives("byte-level", &file("tokenizer.json"), 600, |bytes| read(bytes, Some(&config)));
    for (name, value) in
        [("sentencepiece", sentencepiece()), ("unigram", unigram()), ("wordpiece", wordpiece()), ("words", words())]
    {
        survives(name, value.to_string().as_bytes(), 900, |bytes| read(bytes, None));
    }
}

/// The decoder's section was where most of the panics came from: it is a small part of a file, so it is damaged alone.
#[test]
fn parts_of_tokenizer_json() {
    for (name, value) in [("sentencepiece", sentencepiece()), ("unigram", unigram()), ("words", words())] {
        for section in ["decoder", "normalizer", "pre_tokenizer", "post_processor", "added_tokens"] {
            let whole = value.to_string();
            let part = value[section].to_string();
            survives(&format!("{name}, {section}"), part.as_bytes(), 300, |bytes| {
                let mut file = whole.clone().into_bytes();
                let at = whole.find(&part).unwrap();
                file.splice(at..at + part.len(), bytes.iter().copied());
                read(&file, None)
            });
        }
    }
}

const TEMPLATE: &str = "{%- if messages[0]['role'] == 'system' %}{{ messages[0].content | trim }}{% endif %}\
    {% for m in messages %}<|im_start|>{{ m['role'] + '\\n' + m['content'][0:40] | tojson }}{{ eos_token }}\
    {% if loop.last and not loop.first %}{{ '\\n' * 3 }}{% endif %}{% endfor %}\
    {% set ns = namespace(n=0) %}{% for k in range(4) %}{% set ns.n = ns.n + k %}{% endfor %}\
    {% if add_generation_prompt %}assistant {{ ns.n }}{{ strftime_now('%Y') }}{% endif %}";

#[test]
fn tokenizer_config_json() {
    let json = file("tokenizer.json");
    let mut config: Value = serde_json::from_slice(&file("tokenizer_config.json")).unwrap();
    config["chat_template"] = TEMPLATE.into();
    survives("tokenizer_config.json", config.to_string().as_bytes(), 600, |bytes| read(&json, Some(bytes)));
    survives("a chat template", TEMPLATE.as_bytes(), 600, |template| {
        let mut config = config.clone();
        config["chat_template"] = String::from_utf8_lossy(template).into();
        read(&json, Some(config.to_string().as_bytes()))
    });
}
