//! One or two texts as a classifier reads them.

use stratune_protocol::{Objective, Problem};
use tokenizers::{PostProcessor, TruncationParams, truncate_encodings};

use crate::tokenizer::unencodable;
use crate::{Sequence, Tokenizer};

/// What a model with a classifier wants of rows with labels.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whether labels are classes or numbers; auto: as they look.
    pub objective: Objective,
    /// Which token the classifier reads.
    pub reads: Reads,
    /// Whether the model is told which text of a pair a token is of.
    pub type_ids: bool,
    /// The classes that the model knows already, in their order; empty if its classifier is new.
    pub known: &'a [String],
}

/// Which token of a row the classifier reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The first, as in encoders, whose tokenizers put one there for that. Texts stand as they were trained on, with the
    /// tokens that the tokenizer puts around and between them.
    First,
    /// The last, as in decoders. The texts of a pair are parted by a line end, and nothing comes after.
    Last,
}

impl Reads {
    /// Where that is in a row of so many tokens.
    pub fn at(self, tokens: usize) -> usize {
        match self {
            Self::First => 0,
            Self::Last => tokens.saturating_sub(1),
        }
    }
}

/// One text, or two, as the classifier reads them, without a label; at most `limit` tokens. Of two texts that are too long
/// the longer is cut first, from its end. Tokens that are written in a text are recognised, as everywhere.
///
/// # Errors
/// There is no token, or the tokenizer has none for a part of the text, or one that the model does not know.
pub fn encode_text(
    tokenizer: &Tokenizer,
    text: &str,
    pair: Option<&str>,
    wanted: &Wanted,
    limit: usize,
) -> Result<Sequence, Problem> {
    encoded(tokenizer, text, pair, wanted, limit).map(|(sequence, _)| sequence)
}

/// As [`encode_text`], with whether anything was cut.
pub(crate) fn encoded(
    tokenizer: &Tokenizer,
    text: &str,
    pair: Option<&str>,
    wanted: &Wanted,
    limit: usize,
) -> Result<(Sequence, bool), Problem> {
    let (tokens, type_ids, is_cut) = match wanted.reads {
        Reads::First => around(tokenizer, text, pair, limit)?,
        Reads::Last => {
            let (tokens, is_cut) = in_a_row(tokenizer, text, pair, limit)?;
            (tokens, Vec::new(), is_cut)
        }
    };
    if tokens.is_empty() {
        return Err(Problem::input("the text has no tokens").next("give a text with letters in it"));
    }
    let is_told = wanted.type_ids && type_ids.iter().any(|&id| id != 0);
    let type_ids = if is_told { type_ids } else { Vec::new() };
    Ok((Sequence { loss_mask: vec![false; tokens.len()], tokens, type_ids, ..Sequence::default() }, is_cut))
}

/// One text, or two, of at most `limit` tokens, with the tokens that the tokenizer puts around and between them; which
/// text each token is of; and whether anything was cut. What is put around stays.
fn around(
    tokenizer: &Tokenizer,
    text: &str,
    pair: Option<&str>,
    limit: usize,
) -> Result<(Vec<u32>, Vec<u32>, bool), Problem> {
    let processor = tokenizer.inner.get_post_processor();
    let around = processor.map_or(0, |processor| processor.added_tokens(pair.is_some()));
    let Some(max_length) = limit.checked_sub(around).filter(|room| *room > 0) else {
        return Err(Problem::input(format!("{around} tokens stand around a text, and a row has at most {limit}"))
            .at("data.max_length")
            .next("raise it"));
    };
    let alone = |text| tokenizer.inner.encode(text, false).map_err(|error| unencodable(&error));
    let (text, pair) = (alone(text)?, pair.map(alone).transpose()?);
    let is_cut = text.len() + pair.as_ref().map_or(0, |pair| pair.len()) > max_length;
    let params = TruncationParams { max_length, ..TruncationParams::default() };
    let (mut text, mut pair) = truncate_encodings(text, pair, &params).map_err(|error| unencodable(&error))?;
    // What was cut off is kept beside.
    text.take_overflowing();
    pair.iter_mut().for_each(|pair| drop(pair.take_overflowing()));
    let whole = match (processor, pair) {
        (Some(processor), pair) => processor.process(text, pair, true).map_err(|error| unencodable(&error))?,
        (None, None) => text,
        (None, Some(mut pair)) => {
            pair.set_type_ids(vec![1; pair.len()]);
            text.merge_with(pair, false);
            text
        }
    };
    Ok((tokenizer.known_to_model(whole.get_ids().to_vec())?, whole.get_type_ids().to_vec(), is_cut))
}

/// The texts one after the other, as a decoder reads them.
fn in_a_row(tokenizer: &Tokenizer, text: &str, pair: Option<&str>, limit: usize) -> Result<(Vec<u32>, bool), Problem> {
    let mut tokens: Vec<u32> = tokenizer.bos().into_iter().collect();
    let room = limit.saturating_sub(tokens.len());
    let mut first = tokenizer.encode(text)?;
    let mut second = pair.map_or(Ok(Vec::new()), |pair| tokenizer.encode_after(&format!("\n{pair}")))?;
    let is_cut = first.len() + second.len() > room;
    if is_cut {
        // The shorter one may have half of the room, and what it leaves is the longer one's.
        let first_room = (room / 2).max(room.saturating_sub(second.len()));
        first.truncate(first_room);
        second.truncate(room - first.len());
    }
    tokens.append(&mut first);
    tokens.append(&mut second);
    Ok((tokens, is_cut))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{fixture, fixture_with_bos};

    const TOKENIZER: &[u8] = include_bytes!("../../../tests/fixtures/tokenizer/tokenizer.json");
    const FIRST: Wanted = Wanted { objective: Objective::Auto, reads: Reads::First, type_ids: true, known: &[] };
    const LAST: Wanted = Wanted { reads: Reads::Last, type_ids: false, ..FIRST };

    /// The fixture with this put around texts.
    fn with_around(post_processor: Value) -> Tokenizer {
        let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
        json["post_processor"] = post_processor;
        Tokenizer::from_json(json.to_string().as_bytes(), None, "tokenizer.json").unwrap()
    }

    /// Every row of a fixture comes out token for token.
    fn agrees(tokenizer: &Tokenizer, rows: &str) {
        let rows: Vec<Value> = serde_json::from_str(rows).unwrap();
        let (mut cut, mut pairs) = (0, 0);
        for row in &rows {
            let (text, pair) = (row["text"].as_str().unwrap(), row["pair"].as_str());
            let limit = row["limit"].as_u64().unwrap() as usize;
            let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
            let type_ids: Vec<u32> = serde_json::from_value(row["type_ids"].clone()).unwrap();
            let (sequence, is_cut) = encoded(tokenizer, text, pair, &FIRST, limit).unwrap();
            assert_eq!(sequence.tokens, ids, "{row}");
            assert_eq!(is_cut, row["cut"], "{row}");
            let has_types = type_ids.contains(&1);
            assert_eq!(sequence.type_ids, if has_types { type_ids } else { vec![] }, "{row}");
            assert!(sequence.loss_mask.len() == ids.len() && ids.len() <= limit);
            let untold = encode_text(tokenizer, text, pair, &Wanted { type_ids: false, ..FIRST }, limit).unwrap();
            assert_eq!((untold.tokens, untold.type_ids), (ids, vec![]));
            cut += usize::from(is_cut);
            pairs += usize::from(has_types);
        }
        println!("{} rows are the same, {cut} of them cut, {pairs} with token types", rows.len());
        assert!(cut > 10 && rows.len() > 50);
    }

    #[test]
    fn roberta_puts_texts_together_as_tokenizers_does() {
        let roberta = json!({"type": "RobertaProcessing", "sep": ["\"", 2], "cls": ["!", 1], "trim_offsets": true,
            "add_prefix_space": true});
        agrees(&with_around(roberta), include_str!("../../../tests/fixtures/pairs/roberta.json"));
    }

    #[test]
    fn minilm_puts_texts_together_as_transformers_does() {
        let Some(data) = env::var_os("STRATUNE_DATA").map(PathBuf::from) else {
            return crate::skipped::skipped("STRATUNE_DATA is not set");
        };
        let read = |name: &str| fs::read(data.join("models/all-MiniLM-L6-v2").join(name)).unwrap();
        let (json, config) = (read("tokenizer.json"), read("tokenizer_config.json"));
        // The file itself pads every text to 128 tokens, and cuts it there.
        assert!(String::from_utf8(json.clone()).unwrap().contains("\"Fixed\""));
        let tokenizer = Tokenizer::from_json(&json, Some(&config), "tokenizer.json").unwrap();
        agrees(&tokenizer, include_str!("../../../tests/fixtures/pairs/minilm.json"));
    }

    #[test]
    fn a_template_says_where_texts_go_and_of_which_each_token_is() {
        let (text, special) = (
            |id: &str, of: u32| json!({"Sequence": {"id": id, "type_id": of}}),
            |id: &str, of: u32| json!({"SpecialToken": {"id": id, "type_id": of}}),
        );
        let tokenizer = with_around(json!({
            "type": "TemplateProcessing",
            "single": [special("!", 0), text("A", 0), special("\"", 0)],
            "pair": [special("!", 0), text("A", 0), special("\"", 0), text("B", 1), special("\"", 1)],
            "special_tokens": {"!": {"id": "!", "ids": [1], "tokens": ["!"]},
                "\"": {"id": "\"", "ids": [2], "tokens": ["\""]}},
        }));
        let (a, b) = (tokenizer.encode("ab").unwrap(), tokenizer.encode("c d").unwrap());
        let single = encode_text(&tokenizer, "ab", None, &FIRST, 99).unwrap();
        assert_eq!(single.tokens, [&[1], a.as_slice(), &[2]].concat());
        assert!(single.type_ids.is_empty(), "all are of the first text");
        let pair = encode_text(&tokenizer, "ab", Some("c d"), &FIRST, 99).unwrap();
        assert_eq!(pair.tokens, [&[1], a.as_slice(), &[2], &b, &[2]].concat());
        assert_eq!(pair.type_ids, [vec![0; a.len() + 2], vec![1; b.len() + 1]].concat());
        assert_eq!((Reads::First.at(9), Reads::Last.at(9), Reads::Last.at(0)), (0, 8, 0));
        let problem = encode_text(&tokenizer, "ab", Some("c d"), &FIRST, 3).unwrap_err();
        assert!(problem.what.contains("3 tokens stand around") && problem.at == "data.max_length", "{problem:?}");
    }

    #[test]
    fn a_decoder_reads_texts_one_after_the_other() {
        let (plain, with_bos) = (fixture(&[]), fixture_with_bos());
        let tokens = |text: &str| plain.encode(text).unwrap();
        let shown = |pair: Option<&str>| encode_text(&plain, "Once upon", pair, &LAST, 99).unwrap();
        assert_eq!(shown(None).tokens, tokens("Once upon"));
        assert_eq!(plain.decode(&shown(Some("a time")).tokens).unwrap(), "Once upon\na time");
        assert!(shown(Some("a time")).type_ids.is_empty());
        let begun = encode_text(&with_bos, "Once upon", None, &LAST, 99).unwrap();
        assert_eq!(begun.tokens, [vec![with_bos.bos().unwrap()], tokens("Once upon")].concat());
        // Of a pair the longer is cut, from its end, down to half of the room.
        let (long, short) = ("night ".repeat(20), "rain");
        let (long_tokens, second) = (tokens(&long), tokens("\nrain"));
        for limit in [12, 20] {
            let (cut, is_cut) = encoded(&with_bos, &long, Some(short), &LAST, limit).unwrap();
            assert!(is_cut && cut.tokens.len() == limit && cut.tokens.ends_with(&second), "{cut:?}");
            assert_eq!(cut.tokens[1..limit - second.len()], long_tokens[..limit - 1 - second.len()]);
            let (cut, is_cut) = encoded(&with_bos, short, Some(&long), &LAST, limit).unwrap();
            assert!(is_cut && cut.tokens.len() == limit && cut.tokens[1..].starts_with(&tokens(short)), "{cut:?}");
            let (cut, _) = encoded(&plain, &long, Some(&long), &LAST, limit).unwrap();
            assert_eq!(cut.tokens[..limit / 2], long_tokens[..limit / 2]);
        }
        assert!(encode_text(&plain, "", None, &LAST, 99).unwrap_err().what.contains("no tokens"));
    }
}
