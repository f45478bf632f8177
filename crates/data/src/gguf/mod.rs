//! The tokenizer of a GGUF file, as the files that a model's folder would have: `tokenizer.json` and
//! `tokenizer_config.json`.

mod merges;
mod pre;
mod score;
mod sections;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod vocabulary;
mod word_piece;
mod write;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod written_tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};
use stratune_protocol::Problem;
use vocabulary::{Kind, Vocabulary};

use crate::sentence_piece::Prefix;

pub use write::WrittenTokenizer;

/// Tokens that end a turn or a text wherever they are control tokens: files name one of them at most.
const ENDS: [&str; 11] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot|>",
    "<EOT>",
    "_<EOT>",
    "<｜end▁of▁sentence｜>",
];

/// A tokenizer as files.
#[derive(Debug)]
pub struct GgufTokenizer {
    /// `tokenizer.json`.
    pub json: Vec<u8>,
    /// `tokenizer_config.json`, with the chat template.
    pub config: Vec<u8>,
    /// The tokens that end a text, the file's own end first.
    pub ends: Vec<u32>,
}

/// The sections of `tokenizer.json` that differ.
struct Sections {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    /// The model without its vocabulary and merges.
    model: Value,
    /// Whether tokens come first, and last.
    first: Option<u32>,
    last: Option<u32>,
}

impl GgufTokenizer {
    /// Reads the keys of `tokenizer` in a file's metadata. `at` is the file's name for errors.
    ///
    /// # Errors
    /// A key is missing or impossible, or the tokenizer is of a kind that is not read; names it and what is.
    pub fn read(metadata: &Value, at: &str) -> Result<Self, Problem> {
        let next = "use another file of the model, or its folder";
        read(metadata).map_err(|what| Problem::input(what).at(at).next(next))
    }
}

fn read(metadata: &Value) -> Result<GgufTokenizer, String> {
    let model = metadata["tokenizer.ggml.model"].as_str().ok_or("tokenizer.ggml.model is missing")?;
    let mut vocabulary = Vocabulary::read(metadata)?;
    if let Some(json) = metadata["tokenizer.huggingface.json"].as_str() {
        let mut specials = [None; 4];
        for (special, name) in specials.iter_mut().zip(["bos", "eos", "unknown", "padding"]) {
            *special = vocabulary.special(name, None)?;
        }
        let first = specials[0].filter(|_| vocabulary.flag("add_bos_token", false));
        return finish(&vocabulary, json.as_bytes().to_vec(), first, specials, metadata);
    }
    match model {
        "gpt2" => byte_level(&vocabulary, metadata),
        "llama" => {
            let prefixed = vocabulary.flag("add_space_prefix", true);
            sentence_piece(vocabulary, metadata, if prefixed { Prefix::Each } else { Prefix::Never })
        }
        "bert" => word_piece::read(&mut vocabulary, metadata),
        other => Err(format!("the tokenizer is of the kind '{other}', which is not read; gpt2, llama and bert are")),
    }
}

/// The tokenizer of a SentencePiece model that is put as `metadata`; `added` tokens have their files' words of how they are
/// found.
pub(crate) fn of_sentence_piece(
    metadata: &Value,
    added: BTreeMap<usize, Value>,
    prefix: Prefix,
) -> Result<GgufTokenizer, String> {
    let mut vocabulary = Vocabulary::read(metadata)?;
    vocabulary.added = added;
    sentence_piece(vocabulary, metadata, prefix)
}

/// BPE of bytes.
fn byte_level(vocabulary: &Vocabulary<'_>, metadata: &Value) -> Result<GgufTokenizer, String> {
    let name = vocabulary
        .word("pre")
        .ok_or("tokenizer.ggml.pre is missing, without which texts would be cut otherwise than in training")?;
    let pre = pre::named(name)
        .map_err(|known| format!("tokenizer.ggml.pre is '{name}', a pre-tokenizer that is not known; {known} are"))?;
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let mut steps: Vec<Value> = pre.patterns.iter().map(split).collect();
    steps.push(byte_level.clone());
    let [bos, eos] = ["bos", "eos"].map(|name| vocabulary.special(name, None));
    let (bos, eos) = (bos?, eos?);
    let sections = Sections {
        normalizer: Value::Null,
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
        decoder: byte_level,
        model: json!({"type": "BPE", "ignore_merges": pre.ignore_merges, "byte_fallback": false, "fuse_unk": false}),
        first: bos.filter(|_| vocabulary.flag("add_bos_token", pre.adds_bos)),
        last: eos.filter(|_| vocabulary.flag("add_eos_token", false)),
    };
    let specials = [bos, eos, vocabulary.special("unknown", None)?, vocabulary.special("padding", None)?];
    let json = sections.write(vocabulary, Some(&vocabulary.merges()?));
    finish(vocabulary, json, sections.first, specials, metadata)
}

/// A vocabulary that SentencePiece trained as BPE: scores for merges, and bytes for what is no token.
fn sentence_piece(mut vocabulary: Vocabulary<'_>, metadata: &Value, prefix: Prefix) -> Result<GgufTokenizer, String> {
    spell_spaces(&mut vocabulary);
    let vocabulary = &vocabulary;
    let scores = vocabulary.scores()?;
    let normal = |id: &usize| vocabulary.kinds[*id] == Kind::Normal;
    let mut of_normal = (0..scores.len()).filter(normal).map(|id| scores[id]);
    // Files that were made without SentencePiece's own have one score for all: its order is that of the numbers.
    let first = of_normal.next();
    let ordered = of_normal.any(|score| Some(score) != first);
    let priority = |id: usize| match vocabulary.kinds[id] {
        Kind::Normal | Kind::Unused if ordered => Some(scores[id]),
        Kind::Normal | Kind::Unused => Some(-(id as f64)),
        // Of spaces, which come before all else.
        Kind::UserDefined if is_of_spaces(&vocabulary.tokens[id]) => Some(f64::from(u32::MAX) - id as f64),
        Kind::UserDefined | Kind::Unknown | Kind::Control | Kind::Byte => None,
    };
    let merges = merges::of_scores(&vocabulary.tokens, priority)
        .ok_or("tokenizer.ggml.tokens can be put together from each other in more ways than any learned vocabulary")?;
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix != Prefix::Never {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let [bos, eos, unknown] =
        [("bos", 1), ("eos", 2), ("unknown", 0)].map(|(name, id)| vocabulary.special(name, Some(id)));
    let (bos, eos, unknown) = (bos?, eos?, unknown?);
    let sections = Sections {
        normalizer: match prefix {
            Prefix::Each => json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}),
            Prefix::Never => replace,
            Prefix::First => Value::Null,
        },
        pre_tokenizer: match prefix {
            Prefix::First => {
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})
            }
            Prefix::Each | Prefix::Never => Value::Null,
        },
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: json!({"type": "BPE", "unk_token": unknown.map(|id| vocabulary.text(id)), "fuse_unk": true,
                      "byte_fallback": vocabulary.kinds.contains(&Kind::Byte), "ignore_merges": false}),
        first: bos.filter(|_| vocabulary.flag("add_bos_token", true)),
        last: eos.filter(|_| vocabulary.flag("add_eos_token", false)),
    };
    let json = sections.write(vocabulary, Some(&merges));
    let specials = [bos, eos, unknown, vocabulary.special("padding", None)?];
    finish(vocabulary, json, sections.first, specials, metadata)
}

/// User-defined tokens of spaces are written as texts have them: in the vocabulary spaces are marks.
fn spell_spaces(vocabulary: &mut Vocabulary<'_>) {
    for (token, kind) in vocabulary.tokens.iter_mut().zip(&vocabulary.kinds) {
        if *kind == Kind::UserDefined && !token.is_empty() && token.chars().all(|c| c == ' ') {
            *token = token.replace(' ', "▁");
        }
    }
}

fn is_of_spaces(token: &str) -> bool {
    !token.is_empty() && token.chars().all(|c| c == '▁')
}

impl Sections {
    /// `tokenizer.json`, with merges if the model has such.
    fn write(&self, vocabulary: &Vocabulary<'_>, merges: Option<&[(&str, &str)]>) -> Vec<u8> {
        let added: Vec<Value> = (vocabulary.tokens.iter().zip(&vocabulary.kinds).enumerate())
            .filter(|(_, (token, kind))| match kind {
                Kind::Control | Kind::Unknown => true,
                Kind::UserDefined => !is_of_spaces(token),
                Kind::Normal | Kind::Unused | Kind::Byte => false,
            })
            .filter(|(_, (token, _))| !token.is_empty())
            .map(|(id, (token, kind))| {
                let said = |key: &str| vocabulary.added.get(&id).is_some_and(|token| token[key] == true);
                json!({"id": id, "content": token, "single_word": said("single_word"), "lstrip": said("lstrip"),
                       "rstrip": said("rstrip"), "normalized": said("normalized"),
                       "special": *kind != Kind::UserDefined})
            })
            .collect();
        let file = File {
            version: "1.0",
            truncation: Value::Null,
            padding: Value::Null,
            added_tokens: added,
            normalizer: &self.normalizer,
            pre_tokenizer: &self.pre_tokenizer,
            post_processor: self.post_processor(vocabulary),
            decoder: &self.decoder,
            model: Model { rest: &self.model, vocab: Vocab(&vocabulary.tokens), merges },
        };
        // Texts and numbers: JSON can say all of it.
        serde_json::to_vec(&file).unwrap_or_default()
    }

    /// Puts tokens first and last.
    fn post_processor(&self, vocabulary: &Vocabulary<'_>) -> Value {
        if (self.first, self.last) == (None, None) {
            return Value::Null;
        }
        let special = |id: Option<u32>| id.map(|id| json!({"SpecialToken": {"id": vocabulary.text(id), "type_id": 0}}));
        let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        let around = |texts: Vec<Value>| -> Vec<Value> {
            special(self.first).into_iter().chain(texts).chain(special(self.last)).collect()
        };
        let mut tokens = serde_json::Map::new();
        for id in [self.first, self.last].into_iter().flatten() {
            let text = vocabulary.text(id);
            tokens.insert(text.into(), json!({"id": text, "ids": [id], "tokens": [text]}));
        }
        json!({"type": "TemplateProcessing", "single": around(vec![text("A")]),
               "pair": around(vec![text("A"), text("B")]), "special_tokens": tokens})
    }
}

/// `tokenizer.json`, written without a copy of the vocabulary.
#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: Value,
    padding: Value,
    added_tokens: Vec<Value>,
    normalizer: &'a Value,
    pre_tokenizer: &'a Value,
    post_processor: Value,
    decoder: &'a Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Model<'a> {
    #[serde(flatten)]
    rest: &'a Value,
    vocab: Vocab<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merges: Option<&'a [(&'a str, &'a str)]>,
}

/// Each token with its number.
struct Vocab<'a>(&'a [String]);

impl Serialize for Vocab<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, token) in self.0.iter().enumerate() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}

/// With `tokenizer_config.json` and the ends. The special tokens are the first, the end, the unknown one and the padding.
fn finish(
    vocabulary: &Vocabulary<'_>,
    json: Vec<u8>,
    first: Option<u32>,
    specials: [Option<u32>; 4],
    metadata: &Value,
) -> Result<GgufTokenizer, String> {
    let mut config = serde_json::Map::new();
    for (name, id) in ["bos_token", "eos_token", "unk_token", "pad_token"].into_iter().zip(specials) {
        if let Some(id) = id {
            config.insert(name.into(), vocabulary.text(id).into());
        }
    }
    config.insert("add_bos_token".into(), first.is_some().into());
    if let Some(template) = chat_template(metadata) {
        config.insert("chat_template".into(), template);
    }
    let mut ends: Vec<u32> = specials[1].into_iter().collect();
    for name in ["eot", "eom"] {
        ends.extend(vocabulary.special(name, None)?);
    }
    let control = |(id, (token, kind)): (usize, (&String, &Kind))| {
        (*kind == Kind::Control && ENDS.contains(&token.as_str())).then_some(id as u32)
    };
    ends.extend(vocabulary.tokens.iter().zip(&vocabulary.kinds).enumerate().filter_map(control));
    let mut seen = std::collections::BTreeSet::new();
    ends.retain(|id| seen.insert(*id));
    Ok(GgufTokenizer { json, config: Value::Object(config).to_string().into_bytes(), ends })
}

/// The template, or a list of templates by name.
fn chat_template(metadata: &Value) -> Option<Value> {
    const KEY: &str = "tokenizer.chat_template";
    let plain = metadata[KEY].as_str();
    let named: Vec<Value> = (metadata.as_object().into_iter().flatten())
        .filter_map(|(key, value)| Some((key.strip_prefix(KEY)?.strip_prefix('.')?, value.as_str()?)))
        .map(|(name, template)| json!({"name": name, "template": template}))
        .collect();
    match (plain, named.is_empty()) {
        (plain, true) => plain.map(Value::from),
        (plain, false) => {
            let default = plain.map(|template| json!({"name": "default", "template": template}));
            Some(default.into_iter().chain(named).collect())
        }
    }
}
