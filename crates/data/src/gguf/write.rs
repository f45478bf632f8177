//! The way back: `tokenizer.json` and `tokenizer_config.json` as the keys of a GGUF file. What was written is read again and must
//! cut texts as the files do; what there is no key for is refused by its name.

use serde_json::{Map, Value, json};
use stratune_protocol::Problem;

use super::GgufTokenizer;
use super::score;
use super::sections::{self, Form};
use super::vocabulary::Kind;
use crate::{Template, Tokenizer};

/// Texts that tokenizers cut in different ways, to compare two by. They are composed: that a tokenizer composes a text first (NFC,
/// as Qwen's does) and llama.cpp takes it as it is, is told and no reason to refuse.
const PROBES: [&str; 6] = [
    "The quick brown fox's 12345 jumps,\n\n  over\tthe lazy dog's back; don't WE'LL see?",
    "naïve café — “quotes” … 東京 한국어 Привет العربية 🦀👩‍👩‍👧",
    "fn main() { let x = [0u8; 16]; }\r\n\t// 3.14159 + 1e-5 != $100,000.00",
    " leading and trailing  spaces   ",
    "\u{e1}bc DeF_gh-ij https://example.org/?q=1&r=%20",
    "x",
];

/// Keys of a file's vocabulary, and what it cannot say and llama.cpp does otherwise.
#[derive(Debug, Default)]
pub struct WrittenTokenizer {
    /// `tokenizer.ggml…` and the chat template.
    pub metadata: Vec<(String, Value)>,
    /// For people.
    pub notices: Vec<String>,
}

impl WrittenTokenizer {
    /// The keys of a tokenizer for a model with `rows` embeddings. `ends` are the tokens that end a text; `at` is where the
    /// files are, for messages.
    ///
    /// # Errors
    /// A file cannot be read, or llama.cpp has no tokenizer that does the same; names what is different.
    pub fn of(json: &[u8], config: Option<&[u8]>, ends: &[u32], rows: usize, at: &str) -> Result<Self, Problem> {
        let tokenizer = Tokenizer::from_json(json, config, at)?.with_ends(ends);
        let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes);
        // Both were read just now.
        let file = parse(json).unwrap_or_default();
        let config = config.and_then(|bytes| parse(bytes).ok()).unwrap_or_default();
        let next = "write the merged model as safetensors: --format safetensors";
        let refused = |what: String| Problem::input(what).at(at).next(next);
        let written = write(&file, &config, &tokenizer, rows).map_err(refused)?;
        check(&written, &tokenizer, at).map_err(refused)?;
        Ok(written)
    }
}

/// Keys on their way into a file.
#[derive(Default)]
struct Keys(Vec<(String, Value)>);

impl Keys {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.push((format!("tokenizer.ggml.{key}"), value.into()));
    }
}

fn write(file: &Value, config: &Value, tokenizer: &Tokenizer, rows: usize) -> Result<WrittenTokenizer, String> {
    let Form { model, pre, add_space_prefix, mut notices } = sections::form(file)?;
    let (tokens, kinds) = vocabulary(file, rows, &mut notices)?;
    let mut keys = Keys::default();
    keys.set("model", model);
    if let Some(pre) = pre {
        keys.set("pre", pre);
    }
    let merges = sections::merges(&file["model"])?;
    if model == "llama" {
        keys.set("scores", score::of_merges(&tokens, &kinds, &merges)?);
    }
    keys.set("tokens", tokens.clone());
    keys.set("token_type", kinds.iter().map(|kind| *kind as u32).collect::<Vec<_>>());
    if model == "gpt2" {
        keys.set("merges", merges.iter().map(|(left, right)| format!("{left} {right}")).collect::<Vec<_>>());
    }
    if let Some(prefix) = add_space_prefix {
        keys.set("add_space_prefix", prefix);
    }
    special(&mut keys, config, tokenizer, rows)?;
    let mut metadata = keys.0;
    metadata.extend(chat_template(&config["chat_template"]));
    Ok(WrittenTokenizer { metadata, notices })
}

/// The texts of all tokens and what kind each is: as many as the embedding has rows.
fn vocabulary(file: &Value, rows: usize, notices: &mut Vec<String>) -> Result<(Vec<String>, Vec<Kind>), String> {
    let model = &file["model"];
    let falls_back = model["byte_fallback"] == true;
    let mut found: Vec<Option<(String, Kind)>> = vec![None; rows];
    let words =
        model["vocab"].as_object().ok_or("the vocabulary of tokenizer.json is no list of tokens with numbers")?;
    for (word, id) in words {
        let place = id.as_u64().and_then(|id| found.get_mut(id as usize));
        let byte = falls_back && word.len() == 6 && word.starts_with("<0x") && word.ends_with('>');
        let kind = match model["unk_token"].as_str() {
            Some(unknown) if unknown == word => Kind::Unknown,
            _ if byte => Kind::Byte,
            _ => Kind::Normal,
        };
        if let Some(place) = place {
            *place = Some((word.clone(), kind));
        }
    }
    let mut strips = Vec::new();
    for token in file["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(text)) = (token["id"].as_u64(), token["content"].as_str()) else { continue };
        // Beyond the embedding: the model has no such token.
        let Some(place) = found.get_mut(id as usize) else { continue };
        let unknown = place.as_ref().is_some_and(|(_, kind)| *kind == Kind::Unknown);
        let kind = match token["special"] == true {
            _ if unknown => Kind::Unknown,
            true => Kind::Control,
            false => Kind::UserDefined,
        };
        *place = Some((text.to_string(), kind));
        if ["lstrip", "rstrip", "single_word"].iter().any(|flag| token[*flag] == true) {
            strips.push(text);
        }
    }
    if !strips.is_empty() {
        let some = strips.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        notices.push(format!(
            "GGUF cannot say that {} added tokens, such as {some}, take in the spaces beside them",
            strips.len()
        ));
    }
    let hole =
        |(id, found): (usize, Option<(String, Kind)>)| found.unwrap_or_else(|| (format!("[PAD{id}]"), Kind::Unused));
    Ok(found.into_iter().enumerate().map(hole).unzip())
}

/// The tokens that begin and end texts.
fn special(keys: &mut Keys, config: &Value, tokenizer: &Tokenizer, rows: usize) -> Result<(), String> {
    let id = |name: &str| {
        let value = &config[name];
        let text = value.as_str().or_else(|| value["content"].as_str())?;
        tokenizer.id(text).filter(|id| (*id as usize) < rows)
    };
    let [plain, whole] = [false, true].map(|special| tokenizer.encode_with("a", special));
    let (plain, whole) = (plain.map_err(|p| p.what)?, whole.map_err(|p| p.what)?);
    let at = whole.windows(plain.len().max(1)).position(|window| window == plain);
    let at = at.ok_or("the post_processor of tokenizer.json changes texts, which GGUF cannot say")?;
    let (before, behind) = (&whole[..at], &whole[at + plain.len()..]);
    let begin = match before {
        [] => id("bos_token").or(tokenizer.bos()),
        [one] => Some(*one),
        _ => return Err("the post_processor of tokenizer.json puts several tokens before a text".into()),
    };
    let end = tokenizer.eos();
    if behind.len() > 1 || behind.first().is_some_and(|token| Some(*token) != end) {
        return Err("the post_processor of tokenizer.json ends texts with another token than its end".into());
    }
    for (key, id) in [
        ("bos_token_id", begin),
        ("eos_token_id", end),
        ("eot_token_id", turn_end(tokenizer, rows)),
        ("unknown_token_id", id("unk_token")),
        ("padding_token_id", id("pad_token")),
    ] {
        if let Some(id) = id {
            keys.set(key, id);
        }
    }
    keys.set("add_bos_token", !before.is_empty() || begin.is_some() && tokenizer.bos() == begin);
    keys.set("add_eos_token", !behind.is_empty());
    Ok(())
}

/// The token that ends a turn, where that is another than the end of a text: what the chat template writes, or else another
/// end that the model's files name.
fn turn_end(tokenizer: &Tokenizer, rows: usize) -> Option<u32> {
    let written = Template::of(tokenizer).ok().and_then(|template| template.end());
    let others = tokenizer.all_ends().into_iter().filter(|id| (*id as usize) < rows);
    written.into_iter().chain(others).find(|id| Some(*id) != tokenizer.eos())
}

/// The template, or a list of templates by name.
fn chat_template(value: &Value) -> Vec<(String, Value)> {
    const KEY: &str = "tokenizer.chat_template";
    if let Some(template) = value.as_str() {
        return vec![(KEY.into(), template.into())];
    }
    let mut keys = Vec::new();
    let mut names = Vec::new();
    for entry in value.as_array().into_iter().flatten() {
        match (entry["name"].as_str(), entry["template"].as_str()) {
            (Some("default"), Some(template)) => keys.push((KEY.to_string(), Value::from(template))),
            (Some(name), Some(template)) => {
                names.push(name);
                keys.push((format!("{KEY}.{name}"), template.into()));
            }
            _ => {}
        }
    }
    if !names.is_empty() {
        keys.push((format!("{KEY}s"), json!(names)));
    }
    keys
}

/// Reads what was written, and compares.
fn check(written: &WrittenTokenizer, tokenizer: &Tokenizer, at: &str) -> Result<(), String> {
    let metadata: Map<String, Value> = written.metadata.iter().cloned().collect();
    let again = GgufTokenizer::read(&Value::Object(metadata), at).map_err(|problem| problem.what)?;
    let again = Tokenizer::from_json(&again.json, Some(&again.config), at).map_err(|problem| problem.what)?;
    for text in PROBES {
        let [want, have] = [tokenizer, &again].map(|tokenizer| tokenizer.encode_with(text, true));
        // A text that the files have no token for is no difference.
        if let (Ok(want), Ok(have)) = (want, have)
            && want != have
        {
            return Err(format!("llama.cpp would cut '{}' otherwise than tokenizer.json does", text.escape_debug()));
        }
    }
    Ok(())
}
