//! Text to tokens and back, from the files that lie beside a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stratune_protocol::Problem;

use crate::{TextStream, chat, tokenizer_file};

/// Names of end tokens that known models use, for checkpoints that do not say which is theirs.
const KNOWN_EOS: [&str; 5] = ["</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>"];

/// What SentencePiece vocabularies write for a space.
const SPACE_MARK: char = '▁';

/// A checkpoint's tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    pub(crate) inner: tokenizers::Tokenizer,
    /// One more than the largest number of its own tokens; added ones may be beyond.
    rows: usize,
    /// How many tokens the model knows.
    known: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    /// The token with which a decoder begins that reads an encoder, if the model has such.
    decoder_start: Option<u32>,
    /// Whether `eos` is what its settings say, and not a guess by known names.
    eos_is_stated: bool,
    /// Every token that ends a text.
    ends: BTreeSet<u32>,
    chat_template: Option<String>,
    /// The chat template for conversations with tools, where that is another.
    tool_template: Option<String>,
    /// How special tokens are written, by the names that chat templates know them by.
    special: BTreeMap<String, String>,
    /// Whether a text gets a space put in front, as SentencePiece does.
    adds_space: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` for the special tokens and the chat template. `at` names
    /// the place in messages.
    ///
    /// # Errors
    /// One of them cannot be read, or names a token that the vocabulary lacks.
    pub fn from_json(tokenizer_json: &[u8], tokenizer_config: Option<&[u8]>, at: &str) -> Result<Self, Problem> {
        let again = "download the model's tokenizer files again";
        let bad = |what: String| Problem::input(what).at(at).next(again);
        let (mut inner, rows) =
            tokenizer_file::read(tokenizer_json).map_err(|why| bad(format!("the tokenizer cannot be read: {why}")))?;
        // Rows are cut and padded by this crate, where it is counted.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| bad(format!("the tokenizer cannot be set up: {error}")))?;
        let config: Value = match tokenizer_config {
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| bad(format!("tokenizer_config.json is not valid JSON: {error}")))?,
            None => Value::Null,
        };
        let special = |name: &str| -> Result<Option<u32>, Problem> {
            let Some(text) = token_name(&config[name]) else { return Ok(None) };
            let missing = || bad(format!("the {name} '{text}' of tokenizer_config.json is not in the vocabulary"));
            inner.token_to_id(text).map(Some).ok_or_else(missing)
        };
        let stated = special("eos_token")?;
        let eos = stated.or_else(|| KNOWN_EOS.iter().find_map(|name| inner.token_to_id(name)));
        let plain = ids(&inner, "a", false).map_err(|problem| problem.at(at).next(again))?;
        let processed = ids(&inner, "a", true).map_err(|problem| problem.at(at).next(again))?;
        let bos = match processed.split_first() {
            Some((first, rest)) if plain.first() != Some(first) && rest.starts_with(&plain) => Some(*first),
            _ if config["add_bos_token"] == Value::Bool(true) => special("bos_token")?,
            _ => None,
        };
        let adds_space =
            plain.first().and_then(|&id| inner.id_to_token(id)).is_some_and(|token| token.starts_with(SPACE_MARK));
        let text = |id: Option<u32>| id.and_then(|id| inner.id_to_token(id)).unwrap_or_default();
        let mut special: BTreeMap<String, String> =
            [("bos_token".to_string(), text(bos)), ("eos_token".into(), text(eos))].into();
        for (name, value) in config.as_object().into_iter().flatten().filter(|(name, _)| name.ends_with("_token")) {
            special.extend(token_name(value).map(|text| (name.clone(), text.to_owned())));
        }
        let (chat_template, tool_template) = chat::sources(&config["chat_template"]);
        let (known, ends, eos_is_stated) = (usize::MAX, eos.into_iter().collect(), stated.is_some());
        Ok(Self {
            inner,
            rows,
            known,
            bos,
            eos,
            decoder_start: None,
            eos_is_stated,
            ends,
            chat_template,
            tool_template,
            special,
            adds_space,
        })
    }

    /// Adds tokens that end a text, as `generation_config.json` and `config.json` have them. The first of them is the end
    /// of a text if the tokenizer's own settings name none.
    #[must_use]
    pub fn with_ends(mut self, ends: &[u32]) -> Self {
        if let Some((&first, text)) = ends.first().and_then(|first| Some((first, self.inner.id_to_token(*first)?)))
            && !self.eos_is_stated
        {
            self.eos = Some(first);
            self.special.insert("eos_token".into(), text);
        }
        self.ends.extend(ends);
        self
    }

    /// Says how many tokens the model knows. Added tokens beyond are no harm until a text has one.
    ///
    /// # Errors
    /// The model knows fewer than the tokenizer's own.
    pub fn for_model(mut self, known: usize) -> Result<Self, Problem> {
        if self.rows > known {
            return Err(Problem::input(format!("the tokenizer knows {} tokens and the model {known}", self.rows))
                .next("use the tokenizer that came with the model"));
        }
        self.known = known;
        let is_known = |id: &u32| (*id as usize) < known;
        (self.bos, self.eos) = (self.bos.filter(is_known), self.eos.filter(is_known));
        Ok(self)
    }

    /// The tokens of a text. Special tokens written in it are recognised; none are added.
    ///
    /// # Errors
    /// The tokenizer has no token for a part of the text, or one that the model does not know.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Problem> {
        self.known_to_model(ids(&self.inner, text, false)?)
    }

    /// These tokens, if the model knows them.
    pub(crate) fn known_to_model(&self, ids: Vec<u32>) -> Result<Vec<u32>, Problem> {
        match ids.iter().find(|id| **id as usize >= self.known) {
            None => Ok(ids),
            Some(id) => {
                let token = self.inner.id_to_token(*id).unwrap_or_default();
                let what =
                    format!("the text has the token '{token}' of the number {id}, and the model knows {}", self.known);
                Err(Problem::input(what).at("tokenizer.json").next("leave the token out of the text"))
            }
        }
    }

    /// The tokens of a text, with those that are put around every text if `special`.
    pub(crate) fn encode_with(&self, text: &str, special: bool) -> Result<Vec<u32>, Problem> {
        ids(&self.inner, text, special)
    }

    /// The tokens of a text that goes on after another: without the space that SentencePiece puts before a text.
    pub(crate) fn encode_after(&self, text: &str) -> Result<Vec<u32>, Problem> {
        if self.adds_space && !text.is_empty() {
            let lead = self.encode("\n")?;
            let both = self.encode(&format!("\n{text}"))?;
            if let Some(rest) = both.strip_prefix(lead.as_slice()) {
                return Ok(rest.to_vec());
            }
        }
        self.encode(text)
    }

    /// The text of tokens, special tokens left out.
    ///
    /// # Errors
    /// The tokenizer's decoder cannot put them together.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Problem> {
        let vocabulary = self.inner.get_added_vocabulary();
        let is_text = |id: &u32| self.inner.id_to_token(*id).is_some_and(|token| !vocabulary.is_special_token(&token));
        // Some decoders count back from the last token.
        if !ids.iter().any(is_text) {
            return Ok(String::new());
        }
        self.inner.decode(ids, true).map_err(|error| {
            Problem::input(format!("the tokenizer cannot decode its tokens: {error}"))
                .at("tokenizer.json")
                .next("download the model's tokenizer files again")
        })
    }

    /// One token as a person can read it, for previews.
    pub fn token_text(&self, id: u32) -> String {
        let Some(token) = self.inner.id_to_token(id) else { return format!("<{id}>") };
        if token.starts_with(SPACE_MARK) {
            // Decoded alone, the leading space would be lost.
            return token.replace(SPACE_MARK, " ");
        }
        match self.inner.decode(&[id], false) {
            Ok(text) if !text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER) => text,
            _ => token,
        }
    }

    /// How many tokens there are, added ones included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token that every text begins with, if the model was trained so.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that a text is ended with.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The same for a model of two stacks, whose decoder begins with this token: an encoder reads prompts, and answers are
    /// texts by themselves.
    pub fn with_decoder_start(self, decoder_start: Option<u32>) -> Self {
        Self { decoder_start, ..self }
    }

    /// The token with which a decoder begins that reads an encoder.
    pub(crate) fn decoder_start(&self) -> Option<u32> {
        self.decoder_start
    }

    /// Whether a text is over with this token.
    pub fn ends(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// A token as the vocabulary has it.
    pub(crate) fn written(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Every token that ends a text, by its number.
    pub(crate) fn all_ends(&self) -> Vec<u32> {
        self.ends.iter().copied().collect()
    }

    /// The chat template beside the tokenizer.
    pub(crate) fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The chat template for conversations with tools, where that is another.
    pub(crate) fn tool_template(&self) -> Option<&str> {
        self.tool_template.as_deref()
    }

    /// How special tokens are written, by their names in chat templates; empty for a first or an end token that is not there.
    pub(crate) fn special_tokens(&self) -> BTreeMap<String, String> {
        self.special.clone()
    }

    /// The tokens that were added to the vocabulary, but for those of spaces; each with whether it is special.
    pub(crate) fn added_tokens(&self) -> Vec<(String, bool)> {
        let vocabulary = self.inner.get_added_vocabulary();
        let added = vocabulary.get_vocab().keys().filter(|token| !token.trim().is_empty());
        added.map(|token| (token.clone(), vocabulary.is_special_token(token))).collect()
    }

    /// The number of a token that is written so.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The number of a special token that is written so: of one that texts leave out.
    pub fn special(&self, token: &str) -> Option<u32> {
        self.id(token).filter(|_| self.inner.get_added_vocabulary().is_special_token(token))
    }

    /// Decodes an answer token by token.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }
}

fn ids(tokenizer: &tokenizers::Tokenizer, text: &str, special: bool) -> Result<Vec<u32>, Problem> {
    let encoding = tokenizer.encode_fast(text, special).map_err(|error| unencodable(&error))?;
    Ok(encoding.get_ids().to_vec())
}

/// That a text has no tokens.
pub(crate) fn unencodable(error: &tokenizers::Error) -> Problem {
    Problem::input(format!("the tokenizer cannot encode the text: {error}"))
        .at("tokenizer.json")
        .next("check that the tokenizer belongs to the model, or leave the row out")
}

/// A special token in `tokenizer_config.json`: its text, or an object that holds it.
fn token_name(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{CONFIG, JSON, fixture, fixture_with_bos};

    const SAMPLES: &[u8] = include_bytes!("../../../tests/fixtures/tokenizer/samples.json");

    #[test]
    fn samples_encode_as_the_reference_does_and_decode_back() {
        let tokenizer = fixture(&[]);
        let samples: Value = serde_json::from_slice(SAMPLES).unwrap();
        for sample in samples.as_array().unwrap() {
            let text = sample["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(sample["ids"].clone()).unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids, "{text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), text.replace("<|endoftext|>", ""));
        }
    }

    #[test]
    fn special_tokens_come_from_the_settings_the_post_processor_or_known_names() {
        assert_eq!((fixture(&[]).bos(), fixture(&[]).eos()), (None, Some(0)));
        assert_eq!(fixture(&[("eos_token", serde_json::json!({"content": "!"}))]).eos(), Some(1));
        assert_eq!(fixture(&[("eos_token", Value::Null)]).eos(), Some(0));
        let settings = [("bos_token", Value::from("!")), ("add_bos_token", Value::Bool(true))];
        assert_eq!(fixture(&settings).bos(), Some(1));
        assert_eq!(fixture(&settings[..1]).bos(), None);
        assert_eq!(fixture_with_bos().bos(), Some(0));
        assert_eq!(Tokenizer::from_json(JSON, None, "").unwrap().eos(), Some(0));
    }

    #[test]
    fn a_text_ends_with_any_of_the_ends() {
        let tokenizer = fixture(&[]).with_ends(&[7, 300]);
        assert_eq!(
            (tokenizer.eos(), [0, 7, 300, 8].map(|id| tokenizer.ends(id))),
            (Some(0), [true, true, true, false])
        );
        // What the tokenizer's settings do not say, the model's do.
        let unstated = fixture(&[("eos_token", Value::Null)]).with_ends(&[7]);
        assert_eq!((unstated.eos(), unstated.special_tokens()["eos_token"].clone()), (Some(7), unstated.token_text(7)));
        assert_eq!(fixture(&[("eos_token", Value::Null)]).with_ends(&[9999]).eos(), Some(0));
    }

    /// An added token beyond the embedding, as a padding token often is.
    #[test]
    fn a_token_that_the_model_does_not_know_is_refused_in_texts() {
        let mut json: Value = serde_json::from_slice(JSON).unwrap();
        let pad = serde_json::json!({"id": 320, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true});
        json["added_tokens"].as_array_mut().unwrap().push(pad);
        let read = || Tokenizer::from_json(&serde_json::to_vec(&json).unwrap(), Some(CONFIG), "").unwrap();
        assert!(read().encode("a<pad>").is_ok());
        let problem = read().for_model(319).unwrap_err();
        assert_eq!(problem.what, "the tokenizer knows 320 tokens and the model 319");
        let tokenizer = read().for_model(320).unwrap();
        assert!(tokenizer.encode("a").is_ok());
        let problem = tokenizer.encode("a<pad>").unwrap_err();
        assert!(problem.what.contains("'<pad>' of the number 320"), "{problem:?}");
    }

    #[test]
    fn sentencepiece_puts_no_space_inside_a_row() {
        let vocab: Vec<_> =
            ["<unk>", "▁", "a", "▁a", "\n"].iter().map(|token| serde_json::json!([token, -1.0])).collect();
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
            "truncation": null, "padding": null,
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false},
            "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false},
            "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": false},
        });
        let tokenizer = Tokenizer::from_json(&serde_json::to_vec(&json).unwrap(), None, "").unwrap();
        assert_eq!(tokenizer.encode("a").unwrap(), [3]);
        assert_eq!(tokenizer.encode_after("a").unwrap(), [2]);
        assert_eq!(tokenizer.encode_after(" a").unwrap(), [3]);
        assert_eq!(tokenizer.token_text(3), " a");
    }

    #[test]
    fn every_token_has_a_text() {
        let tokenizer = fixture(&[]);
        let cases = [(0, "<|endoftext|>"), (259, " the"), (221, " "), (173, "ð"), (9999, "<9999>")];
        for (id, text) in cases {
            let id = if id == 259 { tokenizer.encode(" the").unwrap()[0] } else { id };
            let told = tokenizer.token_text(id);
            assert!(told == text || id == 173 && !told.is_empty(), "{id}: {told:?}");
        }
        assert_eq!(tokenizer.vocabulary(), 320);
    }

    #[test]
    fn broken_files_are_told_with_their_place() {
        let cases: [(&[u8], Option<&[u8]>); 3] =
            [(b"{", None), (JSON, Some(b"{")), (JSON, Some(br#"{"eos_token": "<nowhere>"}"#))];
        for (json, config) in cases {
            let problem = Tokenizer::from_json(json, config, "folder/tokenizer.json").unwrap_err();
            assert_eq!(problem.at, "folder/tokenizer.json");
            assert!(!problem.next.is_empty());
        }
    }
}
