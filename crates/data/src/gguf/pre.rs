//! The pre-tokenizers that GGUF files name: how a text is cut before its pieces are put together from bytes.
//!
//! The patterns are those of the tokenizers that the names stand for. llama.cpp writes some of them otherwise, because it has
//! no classes of letters' cases.

/// How a text is cut, and what goes with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// One after the other, over the pieces of the one before. What does not match is a piece too.
    pub patterns: &'static [&'static str],
    /// Whether a piece that is a token stays whole, whatever its merges.
    pub ignore_merges: bool,
    /// Whether texts begin with the first token, unless the file says otherwise.
    pub adds_bos: bool,
}

pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
pub(super) const DIGIT: &str = r"\p{N}";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// The pre-tokenizers with the names that stand for each.
const KNOWN: [(&[&str], PreTokenizer); 12] = [
    (
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "gigachat",
            "modern-bert",
            "mellum",
            "a.x-4.0",
            "trillion",
            "granite-docling",
        ],
        plain(&[GPT2]),
    ),
    (
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        plain(&[DIGIT, GPT2]),
    ),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0", "jina-v5-nano"],
        PreTokenizer { patterns: &[LLAMA3], ignore_merges: true, adds_bos: true },
    ),
    (&["glm4", "glm5"], PreTokenizer { patterns: &[LLAMA3], ignore_merges: true, adds_bos: false }),
    (&["chatglm-bpe", "dbrx", "smaug-bpe"], plain(&[LLAMA3])),
    (
        &["qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "solar-open", "kormo", "f2llmv2", "grok-2"],
        plain(&[QWEN2]),
    ),
    (&["qwen35"], plain(&[QWEN35])),
    (&["tekken"], PreTokenizer { patterns: &[TEKKEN], ignore_merges: true, adds_bos: true }),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], plain(&[GPT4O])),
    (
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        plain(&[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK3]),
    ),
    (&["falcon"], plain(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, THREE_DIGITS])),
    (&["default"], plain(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", THREE_DIGITS])),
];

const fn plain(patterns: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { patterns, ignore_merges: false, adds_bos: false }
}

/// The pre-tokenizer of this name; else those that are known.
pub(super) fn named(name: &str) -> Result<&'static PreTokenizer, String> {
    let known = KNOWN.iter().find(|(names, _)| names.contains(&name));
    known
        .map(|(_, of)| of)
        .ok_or_else(|| KNOWN.iter().flat_map(|(names, _)| *names).copied().collect::<Vec<_>>().join(", "))
}

/// The first name of what cuts texts so.
pub(super) fn name_of(patterns: &[String], ignore_merges: bool) -> Option<&'static str> {
    let same = |of: &PreTokenizer| of.patterns == patterns && of.ignore_merges == ignore_merges;
    KNOWN.iter().find(|(_, of)| same(of)).map(|(names, _)| names[0])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizerWrapper};

    use super::*;

    /// The pieces of a text.
    fn pieces(of: &PreTokenizer, text: &str) -> Vec<String> {
        let mut cut = PreTokenizedString::from(text);
        for pattern in of.patterns {
            let split =
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            let split: PreTokenizerWrapper = serde_json::from_value(split).unwrap();
            tokenizers::PreTokenizer::pre_tokenize(&split, &mut cut).unwrap();
        }
        cut.get_splits(OffsetReferential::Original, OffsetType::Byte).into_iter().map(|piece| piece.0.into()).collect()
    }

    #[test]
    fn every_name_stands_for_one_pre_tokenizer_whose_patterns_compile() {
        let mut seen = BTreeSet::new();
        for (names, of) in &KNOWN {
            for name in *names {
                assert!(seen.insert(*name), "{name} is there twice");
                assert_eq!(named(name).unwrap(), of);
            }
            let text = "It's 1234 a\u{301}bc  DEf,\r\n\n日本 🙂 x";
            assert_eq!(pieces(of, text).concat(), text);
        }
        assert!(named("poro-chat").unwrap_err().contains("qwen2"));
    }

    #[test]
    fn texts_are_cut_as_each_does_it() {
        for (name, text, want) in [
            ("gpt-2", "It'S 1234  x\n", vec!["It", "'", "S", " 1234", " ", " x", "\n"]),
            ("smollm", "a 12  b", vec!["a", " ", "1", "2", " ", " b"]),
            ("llama-bpe", "It'S 12345\n\n x", vec!["It", "'S", " ", "123", "45", "\n\n", " x"]),
            ("qwen2", "12345 x", vec!["1", "2", "3", "4", "5", " x"]),
            ("qwen35", "e\u{301}a", vec!["e\u{301}a"]),
            ("qwen2", "e\u{301}a", vec!["e", "\u{301}a"]),
            ("tekken", "aBc 12/\n", vec!["a", "Bc", " ", "1", "2", "/\n"]),
            ("gpt-4o", "aBc's 1234", vec!["a", "Bc's", " ", "123", "4"]),
            ("deepseek-v3", "1234日本a!b", vec!["123", "4", "日本", "a", "!b"]),
            ("falcon", "a+=12345", vec!["a", "+=", "123", "45"]),
            ("default", "a`b 1234567", vec!["a", "`", "b", " ", "123", "456", "7"]),
        ] {
            assert_eq!(pieces(named(name).unwrap(), text), want, "{name}: {text:?}");
        }
    }
}
