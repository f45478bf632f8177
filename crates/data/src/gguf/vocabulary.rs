//! The vocabulary of a GGUF file: its tokens, what kind each is, and which of them are special.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a token is, by its number in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of text.
    Normal = 1,
    /// What is put where nothing else is known.
    Unknown = 2,
    /// Never of a text, such as the end of one.
    Control = 3,
    /// Found whole in a text, whatever is around it.
    UserDefined = 4,
    /// Of no use.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

/// Tokens, and what `tokenizer.ggml` says of them.
pub(super) struct Vocabulary<'a> {
    metadata: &'a Value,
    /// By their numbers.
    pub tokens: Vec<String>,
    /// Of each.
    pub kinds: Vec<Kind>,
    /// How some are found in texts, as `added_tokens_decoder` has it: `lstrip`, `rstrip`, `normalized`, `single_word`.
    pub added: BTreeMap<usize, Value>,
}

impl<'a> Vocabulary<'a> {
    /// Reads tokens and kinds.
    ///
    /// # Errors
    /// One is missing or twice there.
    pub fn read(metadata: &'a Value) -> Result<Self, String> {
        let tokens = texts(metadata, "tokens")?;
        let mut seen = BTreeSet::new();
        if let Some(token) = tokens.iter().find(|token| !seen.insert(token.as_str())) {
            return Err(format!("the token '{token}' is in the vocabulary twice"));
        }
        drop(seen);
        let kinds = match metadata["tokenizer.ggml.token_type"].as_array() {
            None => vec![Kind::Normal; tokens.len()],
            Some(kinds) if kinds.len() == tokens.len() => kinds.iter().map(kind).collect::<Result<_, _>>()?,
            Some(kinds) => return Err(format!("there are {} kinds of {} tokens", kinds.len(), tokens.len())),
        };
        Ok(Self { metadata, tokens, kinds, added: BTreeMap::new() })
    }

    fn get(&self, key: &str) -> &'a Value {
        &self.metadata[format!("tokenizer.ggml.{key}")]
    }

    /// A word that may be there.
    pub fn word(&self, key: &str) -> Option<&'a str> {
        self.get(key).as_str()
    }

    /// A switch, or its default.
    pub fn flag(&self, key: &str, absent: bool) -> bool {
        self.get(key).as_bool().unwrap_or(absent)
    }

    /// The scores, one of each token.
    pub fn scores(&self) -> Result<Vec<f64>, String> {
        let scores = self.get("scores").as_array().map(Vec::as_slice).unwrap_or_default();
        let scores: Vec<f64> = scores.iter().filter_map(Value::as_f64).collect();
        if scores.len() == self.tokens.len() {
            return Ok(scores);
        }
        Err(format!("there are {} scores of {} tokens", scores.len(), self.tokens.len()))
    }

    /// The merges: both parts of each.
    pub fn merges(&self) -> Result<Vec<(&'a str, &'a str)>, String> {
        let merges = self.get("merges").as_array().ok_or("tokenizer.ggml.merges is missing")?;
        let parts = |merge: &'a Value| {
            let merge = merge.as_str()?;
            // A first part may be a space.
            let from = merge.chars().next().map_or(0, char::len_utf8);
            let at = from + merge.get(from..)?.find(' ')?;
            Some((&merge[..at], &merge[at + 1..]))
        };
        let all: Option<Vec<_>> = merges.iter().map(parts).collect();
        all.ok_or_else(|| "one of tokenizer.ggml.merges is no pair of tokens".into())
    }

    /// The number of a special token: that of the file, or what it is in such vocabularies.
    ///
    /// # Errors
    /// There is no such token.
    pub fn special(&self, name: &str, absent: Option<u32>) -> Result<Option<u32>, String> {
        let key = format!("{name}_token_id");
        let given = match self.get(&key) {
            // Some files have −1 for none.
            Value::Number(number)
                if number.as_i64().is_some_and(|id| id < 0) || number.as_u64() == Some(u64::from(u32::MAX)) =>
            {
                return Ok(None);
            }
            value => value.as_u64(),
        };
        match given.or(absent.map(u64::from)) {
            Some(id) if id < self.tokens.len() as u64 => Ok(Some(id as u32)),
            Some(id) => Err(format!("tokenizer.ggml.{key} is {id}, and there are {} tokens", self.tokens.len())),
            None => Ok(None),
        }
    }

    /// The text of a token.
    pub fn text(&self, id: u32) -> &str {
        self.tokens.get(id as usize).map(String::as_str).unwrap_or_default()
    }
}

fn texts(metadata: &Value, key: &str) -> Result<Vec<String>, String> {
    let key = format!("tokenizer.ggml.{key}");
    let list = metadata[&key].as_array().ok_or_else(|| format!("{key} is missing"))?;
    let texts: Option<Vec<String>> = list.iter().map(|text| text.as_str().map(str::to_owned)).collect();
    texts.ok_or_else(|| format!("{key} are not texts"))
}

fn kind(value: &Value) -> Result<Kind, String> {
    match value.as_i64() {
        // Some vocabularies have holes that were given no kind.
        Some(0 | 1) => Ok(Kind::Normal),
        Some(2) => Ok(Kind::Unknown),
        Some(3) => Ok(Kind::Control),
        Some(4) => Ok(Kind::UserDefined),
        Some(5) => Ok(Kind::Unused),
        Some(6) => Ok(Kind::Byte),
        _ => Err(format!("a token is of the kind {value}, which is unknown")),
    }
}
