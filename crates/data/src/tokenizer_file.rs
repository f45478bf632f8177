//! `tokenizer.json`, read so that nothing in it makes the tokenizers crate panic.
//!
//! tokenizers 0.23.2 takes some of what a file says on trust: it panics on text that is no JSON within `decoder`, on merges
//! longer than any token, on templates that name what is not there, and on other contradictions that are found here
//! first. What to leave out once a version returns errors instead: the check of its name.

use serde_json::Value;

use crate::charsmap;

/// Largest number of a token that is believed: no embedding has more rows.
const LARGEST: u64 = 1 << 30;

/// A tokenizer, and how many rows an embedding needs for its own tokens, those that were added later left out.
pub(crate) fn read(bytes: &[u8]) -> Result<(tokenizers::Tokenizer, usize), String> {
    let file: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let rows = check_vocabulary(&file["model"])?;
    check_merges(&file["model"])?;
    check_added(&file["added_tokens"])?;
    check_section(&file["normalizer"], &mut |part| match part.get("precompiled_charsmap") {
        Some(Value::String(text)) => charsmap::check(text).map_err(|why| format!("its precompiled_charsmap {why}")),
        None if part["type"] != "Precompiled" => Ok(()),
        _ => Err("its precompiled_charsmap is no text".into()),
    })?;
    check_section(&file["pre_tokenizer"], &mut |part| match part["length"].as_u64() {
        Some(0) => Err("its pre_tokenizer cuts text into pieces of length 0".into()),
        _ => Ok(()),
    })?;
    let mut leaves_out = false;
    check_section(&file["decoder"], &mut |part| match (part["type"].as_str(), part["stop"].as_u64()) {
        (_, Some(stop)) if stop > 0 => {
            Err(format!("its decoder strips {stop} characters from the end of a token, which is not done here"))
        }
        // It counts back from the last token, and there may be none left.
        (Some("BPEDecoder"), _) if leaves_out => Err("its decoder has a BPEDecoder after CTC".into()),
        (kind, _) => {
            leaves_out |= kind == Some("CTC");
            Ok(())
        }
    })?;
    let mut templates = 0;
    check_section(&file["post_processor"], &mut |part| {
        templates += usize::from(part["single"].is_array());
        if templates > 1 { Err("its post_processor has several templates".into()) } else { check_template(part) }
    })?;
    let tokenizer = serde_json::from_value(file).map_err(|error| error.to_string())?;
    Ok((tokenizer, rows))
}

/// One more than the largest number of a token.
fn check_vocabulary(model: &Value) -> Result<usize, String> {
    let largest = match &model["vocab"] {
        Value::Object(words) => words.values().filter_map(Value::as_u64).max().unwrap_or(0),
        Value::Array(words) => words.len().saturating_sub(1) as u64,
        _ => 0,
    };
    if largest >= LARGEST {
        return Err(format!("its vocabulary has a token of the number {largest}"));
    }
    Ok(largest as usize + 1)
}

/// Both halves of a merge are put into room for the longest token, the prefix of the second left out.
fn check_merges(model: &Value) -> Result<(), String> {
    let (Some(words), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array()) else { return Ok(()) };
    let longest = words.keys().map(String::len).max().unwrap_or(0);
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    for merge in merges {
        let halves = match merge {
            Value::String(line) => line.split_once(' '),
            pair => pair[0].as_str().zip(pair[1].as_str()),
        };
        // A merge of another form is an error of the crate.
        let Some((first, second)) = halves else { continue };
        if second.strip_prefix(prefix).is_none_or(|rest| first.len() + rest.len() > longest) {
            return Err(format!("its merge '{first} {second}' gives no token of the vocabulary"));
        }
    }
    Ok(())
}

/// A token of spaces that takes in the spaces before it may be found within those that another one has taken.
fn check_added(tokens: &Value) -> Result<(), String> {
    let strips =
        |token: &&Value| token["lstrip"] == true && token["content"].as_str().is_some_and(|c| c.trim().is_empty());
    match tokens.as_array().and_then(|tokens| tokens.iter().find(strips)) {
        Some(token) => Err(format!("its added token {} is of spaces and strips spaces", token["content"])),
        None => Ok(()),
    }
}

/// The one text of a template is A, and the special tokens of both are listed.
fn check_template(part: &Value) -> Result<(), String> {
    let pieces = |of: &str| part[of].as_array().into_iter().flatten();
    if pieces("single").any(|piece| piece["Sequence"]["id"] == "B") {
        return Err("its post_processor asks for a second text".into());
    }
    for piece in pieces("single").chain(pieces("pair")) {
        if let Some(id) = piece["SpecialToken"]["id"].as_str()
            && part["special_tokens"].get(id).is_none()
        {
            return Err(format!("its post_processor names '{id}', which is not among its special_tokens"));
        }
    }
    Ok(())
}

/// Checks a part of a section and all parts within it.
fn check_section(part: &Value, check: &mut dyn FnMut(&Value) -> Result<(), String>) -> Result<(), String> {
    match part {
        Value::Object(fields) => {
            check(part)?;
            fields.values().try_for_each(|value| check_section(value, check))
        }
        Value::Array(values) => values.iter().try_for_each(|value| check_section(value, check)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A small tokenizer with some fields of `model` and some sections set.
    fn file(model: Value, sections: Value) -> Vec<u8> {
        let mut file = json!({
            "version": "1.0", "added_tokens": [], "truncation": null, "padding": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        });
        file["model"].as_object_mut().unwrap().extend(model.as_object().unwrap().clone());
        file.as_object_mut().unwrap().extend(sections.as_object().unwrap().clone());
        file.to_string().into_bytes()
    }

    #[test]
    fn what_the_crate_takes_on_trust_is_checked() {
        let none = || json!({});
        let cases = [
            (json!({"vocab": {"a": 0, "b": 1, "c": 2}}), none(), "merge 'a b'"),
            (json!({"vocab": {"a": 0, "b": 1, "ab": 1u64 << 31}}), none(), "number 2147483648"),
            (json!({"continuing_subword_prefix": "##"}), none(), "merge 'a b'"),
            (
                none(),
                json!({"added_tokens": [{"id": 3, "content": "\n", "single_word": false, "lstrip": true,
                "rstrip": false, "normalized": false, "special": false}]}),
                "strips spaces",
            ),
            (
                none(),
                json!({"normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": "AAAA"}]}}),
                "precompiled_charsmap",
            ),
            (none(), json!({"pre_tokenizer": {"type": "FixedLength", "length": 0}}), "length 0"),
            (none(), json!({"decoder": {"type": "Strip", "content": " ", "start": 0, "stop": 1}}), "strips 1"),
            (
                none(),
                json!({"decoder": {"type": "Sequence", "decoders": [{"type": "CTC", "pad_token": "?",
                    "word_delimiter_token": "|", "cleanup": true}, {"type": "BPEDecoder", "suffix": "</w>"}]}}),
                "after CTC",
            ),
            (none(), json!({"post_processor": template("B", "<s>")}), "second text"),
            (none(), json!({"post_processor": template("A", "</s>")}), "names '<s>'"),
            (
                none(),
                json!({"post_processor": {"type": "Sequence", "processors": [template("A", "<s>"), template("A", "<s>")]}}),
                "several templates",
            ),
        ];
        for (model, sections, why) in cases {
            let told = read(&file(model, sections)).unwrap_err();
            assert!(told.contains(why), "{why}: {told}");
        }
        let good = json!({"post_processor": template("A", "<s>"), "decoder": {"type": "Strip", "content": " ", "start": 1,
            "stop": 0}, "pre_tokenizer": {"type": "FixedLength", "length": 5}});
        assert_eq!(read(&file(none(), good)).unwrap().1, 3);
    }

    fn template(text: &str, special: &str) -> Value {
        json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": text, "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {special: {"id": special, "ids": [0], "tokens": [special]}},
        })
    }

    #[test]
    fn what_is_no_json_is_an_error_wherever_it_stands() {
        let text = String::from_utf8(file(json!({}), json!({"decoder": {"type": "Fuse"}}))).unwrap();
        for at in 0..text.len() {
            assert!(read(&text.as_bytes()[..at]).is_err(), "cut at {at}");
        }
        assert!(read(text.replace("\"Fuse\"", "\"Fuse\",,").as_bytes()).is_err());
    }
}
