//! The tokenizer of a folder that has SentencePiece's `tokenizer.model` and no `tokenizer.json`, as the latter.
//!
//! What the file says is put as a GGUF file would have it, and read as such: scores become merges there.

mod protobuf;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use stratune_protocol::Problem;

use crate::gguf;
use protobuf::{Value, fields};

/// The files beside `tokenizer.model` that say more of its tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct BesideSentencePiece<'a> {
    /// `tokenizer_config.json`.
    pub config: Option<&'a [u8]>,
    /// `added_tokens.json`.
    pub added_tokens: Option<&'a [u8]>,
}

/// `tokenizer.json` and `tokenizer_config.json` of a SentencePiece model. `at` is the folder's name for errors.
///
/// # Errors
/// A file is damaged, or the model is of another kind than BPE, or changes texts before it cuts them; names it.
pub fn from_sentence_piece(
    model: &[u8],
    beside: BesideSentencePiece<'_>,
    at: &str,
) -> Result<(Vec<u8>, Vec<u8>), Problem> {
    let next = "use a folder that has tokenizer.json, or make one: AutoTokenizer.from_pretrained(…).save_pretrained(…)";
    let bad = |file: &str, what: String| Problem::input(what).at(format!("{at}/{file}")).next(next);
    let object = |file: &str, bytes: Option<&[u8]>| -> Result<Map<String, Json>, Problem> {
        let Some(bytes) = bytes else { return Ok(Map::new()) };
        serde_json::from_slice(bytes).map_err(|error| bad(file, format!("{file} is no JSON object: {error}")))
    };
    let config = object("tokenizer_config.json", beside.config)?;
    let added = object("added_tokens.json", beside.added_tokens)?;
    let read = || {
        let mut model = Model::read(model)?;
        let added = model.add(&config, &added)?;
        gguf::of_sentence_piece(&model.as_metadata(&config), added, prefix(&model, &config))
    };
    let files = read().map_err(|what| bad("tokenizer.model", format!("the tokenizer cannot be read: {what}")))?;
    let mut made: Map<String, Json> = serde_json::from_slice(&files.config).unwrap_or_default();
    made.extend(config.into_iter().filter(|(_, value)| !value.is_null()));
    Ok((files.json, Json::Object(made).to_string().into_bytes()))
}

/// Where a space comes before a text that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// Nowhere.
    Never,
    /// At its beginning.
    First,
    /// There, and behind each special token.
    Each,
}

fn prefix(model: &Model, config: &Map<String, Json>) -> Prefix {
    let given = config.get("add_prefix_space").and_then(Json::as_bool);
    let is_legacy = config.get("legacy").and_then(Json::as_bool).unwrap_or(true);
    match (given.unwrap_or(model.prefixed), is_legacy) {
        (false, _) => Prefix::Never,
        (true, false) => Prefix::First,
        (true, true) => Prefix::Each,
    }
}

/// What the file says.
struct Model {
    /// Text, score and kind of each, by the numbers of the kinds there.
    pieces: Vec<(String, f32, u64)>,
    /// Unknown, beginning, end, padding: −1 is none.
    specials: [i64; 4],
    prefixed: bool,
}

/// Kinds of pieces.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;

/// More tokens than any vocabulary has.
const MOST: usize = 1 << 20;

impl Model {
    /// Reads the message `ModelProto` of sentencepiece_model.proto.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self { pieces: Vec::new(), specials: [0, 1, 2, -1], prefixed: true };
        // Of the trainer the first is the default, too.
        let mut kind = 1;
        let mut collapses = true;
        for field in fields(bytes)? {
            match field {
                (1, Value::Bytes(piece)) => model.pieces.push(piece_of(piece)?),
                (2, Value::Bytes(trainer)) => {
                    for (number, value) in fields(trainer)? {
                        match (number, value) {
                            (3, Value::Number(of)) => kind = of,
                            (24, Value::Number(1)) => return Err("it writes spaces behind words".into()),
                            (40..=43, Value::Number(id)) => {
                                // Of 32 bits, with a sign.
                                model.specials[number as usize - 40] = i64::from(id as u32 as i32);
                            }
                            _ => {}
                        }
                    }
                }
                (3, Value::Bytes(normalizer)) => {
                    for field in fields(normalizer)? {
                        match field {
                            (2, Value::Bytes(map)) if !map.is_empty() => {
                                return Err(
                                    "it replaces characters by a precompiled_charsmap, which is not read".into()
                                );
                            }
                            (3, Value::Number(flag)) => model.prefixed = flag != 0,
                            (4, Value::Number(flag)) => collapses = flag != 0,
                            (5, Value::Number(0)) => return Err("it does not mark spaces".into()),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        match kind {
            _ if model.pieces.is_empty() => Err("it has no tokens".into()),
            2 if collapses => Err("it makes one space of several, which is not done here".into()),
            2 => Ok(model),
            1 => Err("it is of the kind unigram, which is not read; BPE is".into()),
            other => Err(format!("it is of the kind {other}, which is not read; BPE, 2, is")),
        }
    }

    /// Adds the tokens that other files have. Gives those whose files say how they are found, as these say it.
    fn add(&mut self, config: &Map<String, Json>, added: &Map<String, Json>) -> Result<BTreeMap<usize, Json>, String> {
        let mut found = BTreeMap::new();
        let by_id = config.get("added_tokens_decoder").and_then(Json::as_object);
        for (id, token) in by_id.into_iter().flatten() {
            let id = id.parse::<usize>().ok().zip(token["content"].as_str());
            let (id, content) = id.ok_or_else(|| format!("added_tokens_decoder has {token}, which is no token"))?;
            self.put(id, content, token["special"] == true)?;
            found.insert(id, token.clone());
        }
        for (content, id) in added {
            let id = id.as_u64().ok_or_else(|| format!("added_tokens.json has {id}, which is no number"))? as usize;
            if !found.contains_key(&id) {
                self.put(id, content, false)?;
            }
        }
        Ok(found)
    }

    fn put(&mut self, id: usize, content: &str, special: bool) -> Result<(), String> {
        if id >= MOST {
            return Err(format!("the token '{content}' has the number {id}, which no vocabulary has"));
        }
        for hole in self.pieces.len()..=id {
            self.pieces.push((format!("[PAD{hole}]"), 0.0, UNUSED));
        }
        self.pieces[id] = (content.into(), 0.0, if special { CONTROL } else { USER_DEFINED });
        Ok(())
    }

    /// As a GGUF file has it.
    fn as_metadata(&self, config: &Map<String, Json>) -> Json {
        let flag = |key: &str, absent: bool| config.get(key).and_then(Json::as_bool).unwrap_or(absent);
        let mut metadata = json!({
            "tokenizer.ggml.tokens": self.pieces.iter().map(|(text, ..)| text.as_str()).collect::<Vec<_>>(),
            "tokenizer.ggml.scores": self.pieces.iter().map(|(_, score, _)| *score).collect::<Vec<_>>(),
            "tokenizer.ggml.token_type": self.pieces.iter().map(|(.., kind)| *kind).collect::<Vec<_>>(),
            "tokenizer.ggml.add_bos_token": flag("add_bos_token", true),
            "tokenizer.ggml.add_eos_token": flag("add_eos_token", false),
        });
        for (name, id) in ["unknown", "bos", "eos", "padding"].into_iter().zip(self.specials) {
            metadata[format!("tokenizer.ggml.{name}_token_id")] = id.into();
        }
        metadata
    }
}

/// Text, score and kind.
fn piece_of(message: &[u8]) -> Result<(String, f32, u64), String> {
    let mut piece = (String::new(), 0.0, 1);
    for field in fields(message)? {
        match field {
            (1, Value::Bytes(text)) => {
                piece.0 = std::str::from_utf8(text).map_err(|_| "a token is not UTF-8")?.to_string();
            }
            (2, Value::Float(score)) if !score.is_finite() => return Err(format!("a token has the score {score}")),
            (2, Value::Float(score)) => piece.1 = score,
            (3, Value::Number(kind)) => piece.2 = kind,
            _ => {}
        }
    }
    Ok(piece)
}
