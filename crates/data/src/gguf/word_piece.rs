//! WordPiece of a GGUF file: the beginnings of words are marked there, and not their continuations.

use serde_json::{Value, json};

use super::vocabulary::{Kind, Vocabulary};
use super::{GgufTokenizer, Sections, finish};

/// What marks the beginning of a word.
const BEGINNING: char = '▁';

/// Of BERT: lower case without accents unless the file says otherwise, both ends added.
pub(super) fn read(vocabulary: &mut Vocabulary<'_>, metadata: &Value) -> Result<GgufTokenizer, String> {
    for (token, kind) in vocabulary.tokens.iter_mut().zip(&vocabulary.kinds) {
        if matches!(kind, Kind::Control | Kind::Unknown | Kind::UserDefined) {
            continue;
        }
        *token = match token.strip_prefix(BEGINNING) {
            Some(word) => word.to_owned(),
            None => format!("##{token}"),
        };
    }
    let [first, last, unknown, padding] = [("cls", 101), ("seperator", 102), ("unknown", 100), ("padding", 0)]
        .map(|(name, id)| vocabulary.special(name, Some(id)));
    let (first, last, unknown) = (first?, last?, unknown?);
    let lower = vocabulary.flag("normalizer.lowercase", true);
    let sections = Sections {
        normalizer: json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                           "strip_accents": vocabulary.flag("normalizer.strip_accents", lower), "lowercase": lower}),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        model: json!({"type": "WordPiece", "unk_token": unknown.map(|id| vocabulary.text(id)),
                      "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}),
        first,
        last,
    };
    let json = sections.write(vocabulary, None);
    finish(vocabulary, json, first, [first, last, unknown, padding?], metadata)
}
