//! Which of llama.cpp's tokenizers the sections of a `tokenizer.json` are.

use serde_json::Value;

use super::pre;

/// What the sections say.
#[derive(Debug)]
pub(super) struct Form {
    /// `tokenizer.ggml.model`.
    pub model: &'static str,
    /// `tokenizer.ggml.pre`.
    pub pre: Option<&'static str>,
    /// Whether texts get a space put in front, where that is asked.
    pub add_space_prefix: Option<bool>,
    /// What llama.cpp does otherwise.
    pub notices: Vec<String>,
}

/// The form of a `tokenizer.json`.
///
/// # Errors
/// llama.cpp has no such tokenizer; names the section.
pub(super) fn form(file: &Value) -> Result<Form, String> {
    let model = &file["model"];
    if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
        return Err(format!("the tokenizer is of the kind {}, and BPE alone is written as GGUF", model["type"]));
    }
    let affix = |key: &str| model[key].as_str().filter(|affix| !affix.is_empty());
    if let Some(affix) = affix("continuing_subword_prefix").or(affix("end_of_word_suffix")) {
        return Err(format!("its parts of words have '{affix}' at them, which GGUF cannot say"));
    }
    match model["byte_fallback"] == true {
        true => sentence_piece(file),
        false => byte_level(file),
    }
}

/// BPE of bytes.
fn byte_level(file: &Value) -> Result<Form, String> {
    let mut notices = Vec::new();
    match &file["normalizer"] {
        Value::Null => {}
        nfc if nfc["type"] == "NFC" => {
            notices.push("llama.cpp does not compose characters first, as the tokenizer's NFC does".into());
        }
        other => return Err(format!("its normalizer is {}, which GGUF cannot say", kind(other))),
    }
    let steps = steps(&file["pre_tokenizer"]);
    let mut patterns = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let regex = step["pattern"]["Regex"].as_str();
        match (step["type"].as_str(), regex) {
            (Some("Split"), Some(regex)) if splits(step) => patterns.push(regex.to_string()),
            (Some("Digits"), _) if step["individual_digits"] == true => patterns.push(pre::DIGIT.into()),
            (Some("ByteLevel"), _) if step["add_prefix_space"] != true && i + 1 == steps.len() => {
                if step["use_regex"] != false {
                    patterns.push(pre::GPT2.into());
                }
            }
            _ => return Err(format!("its pre_tokenizer has {}, which GGUF cannot say so", kind(step))),
        }
    }
    if steps.last().is_none_or(|step| step["type"] != "ByteLevel") {
        return Err("its pre_tokenizer does not end in bytes, which GGUF cannot say".into());
    }
    let ignore_merges = file["model"]["ignore_merges"] == true;
    let pre = pre::name_of(&patterns, ignore_merges).ok_or_else(|| {
        format!("its pre_tokenizer cuts texts by {patterns:?}, which none of llama.cpp's is known to do")
    })?;
    Ok(Form { model: "gpt2", pre: Some(pre), add_space_prefix: None, notices })
}

/// Whether a step leaves each match, and what is between them, as a piece.
fn splits(step: &Value) -> bool {
    let inverted = step["invert"] == true;
    match step["behavior"].as_str() {
        Some("Isolated") => true,
        // The pattern matches all there is, and what is removed is what is between.
        Some("Removed") => inverted,
        _ => false,
    }
}

/// BPE that SentencePiece trained.
fn sentence_piece(file: &Value) -> Result<Form, String> {
    let mut notices = Vec::new();
    let (mut prefixed, mut replaced) = (false, false);
    for step in steps(&file["normalizer"]) {
        match step["type"].as_str() {
            Some("Prepend") if step["prepend"] == "▁" => prefixed = true,
            Some("Replace") if step["pattern"]["String"] == " " && step["content"] == "▁" => replaced = true,
            _ => return Err(format!("its normalizer has {}, which GGUF cannot say", kind(step))),
        }
    }
    for step in steps(&file["pre_tokenizer"]) {
        match step["type"].as_str() {
            Some("Metaspace") if step["split"] == false && step["replacement"] == "▁" => {
                replaced = true;
                match step["prepend_scheme"].as_str() {
                    Some("never") => {}
                    Some("first") => {
                        prefixed = true;
                        notices.push(
                            "llama.cpp puts a space behind special tokens, too, and not before a text alone".into(),
                        );
                    }
                    _ => prefixed = true,
                }
            }
            // Gemma's, which cuts nothing, as no space is left.
            Some("Split")
                if step["pattern"]["String"] == " " && step["behavior"] == "MergedWithPrevious" && replaced => {}
            _ => return Err(format!("its pre_tokenizer has {}, which GGUF cannot say", kind(step))),
        }
    }
    if !replaced {
        return Err("it has no mark for spaces, which GGUF cannot say of such a tokenizer".into());
    }
    Ok(Form { model: "llama", pre: Some("default"), add_space_prefix: Some(prefixed), notices })
}

/// A section's steps: those of a sequence, itself, or none.
fn steps(section: &Value) -> Vec<&Value> {
    let lists = ["normalizers", "pretokenizers"].iter().find_map(|key| section[*key].as_array());
    match (lists, section) {
        (Some(list), _) => list.iter().collect(),
        (None, Value::Null) => Vec::new(),
        (None, one) => vec![one],
    }
}

fn kind(step: &Value) -> String {
    let known = step["type"].as_str().unwrap_or("something");
    match &step["pattern"]["Regex"] {
        Value::Null => known.into(),
        regex => format!("{known} {regex}"),
    }
}

/// The merges of a model, both parts of each.
///
/// # Errors
/// One is no pair.
pub(super) fn merges(model: &Value) -> Result<Vec<(String, String)>, String> {
    let pair = |merge: &Value| match merge {
        Value::String(line) => line.split_once(' ').map(|(left, right)| (left.to_string(), right.to_string())),
        pair => Some((pair[0].as_str()?.to_string(), pair[1].as_str()?.to_string())),
    };
    let merges: Option<Vec<_>> = model["merges"].as_array().into_iter().flatten().map(pair).collect();
    merges.ok_or_else(|| "one of its merges is no pair of tokens".into())
}
