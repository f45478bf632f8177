//! Which columns of a row are a text, perhaps a second one, and their label.

use stratune_protocol::DataConfig;

use crate::shape::{Shape, Unclear, find, missing};

/// Names of two texts that data sets use.
const PAIRS: [(&str, &str); 16] = [
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("text", "text_pair"),
    ("sentence", "sentence_pair"),
    ("#1 string", "#2 string"),
    ("passage", "question"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
];

/// Names of one text.
const TEXTS: [&str; 20] = [
    "text",
    "sentence",
    "content",
    "review",
    "body",
    "document",
    "comment",
    "tweet",
    "message",
    "utterance",
    "question",
    "query",
    "passage",
    "premise",
    "description",
    "abstract",
    "title",
    "headline",
    "sentence1",
    "input",
];

/// Names of labels. Those of classes come before their numbers, which some files have beside.
const LABELS: [&str; 20] = [
    "label_text",
    "label_name",
    "label",
    "labels",
    "gold_label",
    "class",
    "category",
    "intent",
    "sentiment",
    "emotion",
    "topic",
    "is_duplicate",
    "quality",
    "target",
    "score",
    "similarity",
    "similarity_score",
    "stars",
    "rating",
    "y",
];

/// What the columns are: as configured, else known by name; a column that alone is left beside the other is the text, or
/// the label.
pub(crate) fn labelled(config: &DataConfig, columns: &[&str]) -> Result<Shape, Unclear> {
    let chosen = |setting: &'static str, name: &str| match find(columns.iter().copied(), name) {
        Some(column) => Ok(Some(column)),
        None if name.is_empty() => Ok(None),
        None => Err(missing(setting, name, columns)),
    };
    let text = chosen("text_column", &config.text_column)?;
    let pair = chosen("text_pair_column", &config.text_pair_column)?;
    let label = chosen("label_column", &config.label_column)?;
    let taken = |column: &str| [text, pair, label].contains(&Some(column));
    let known = |name: &str| find(columns.iter().copied(), name).filter(|column| !taken(column));
    let label = label.or_else(|| LABELS.into_iter().find_map(known));
    let is_free = |column: &str| Some(column) != label;
    let (text, pair) = match (text, pair) {
        (Some(text), pair) => (Some(text), pair),
        (None, Some(pair)) => {
            let before = PAIRS.into_iter().filter(|(_, second)| pair.eq_ignore_ascii_case(second));
            let text = before.map(|(first, _)| first).chain(TEXTS).find_map(known);
            (text.filter(|text| is_free(text)), Some(pair))
        }
        (None, None) => {
            let both = |(one, two)| Some((known(one).filter(|c| is_free(c))?, known(two).filter(|c| is_free(c))?));
            match PAIRS.into_iter().find_map(both) {
                Some((one, two)) => (Some(one), Some(two)),
                None => (TEXTS.into_iter().filter_map(known).find(|column| is_free(column)), None),
            }
        }
    };
    let others = columns.iter().copied().filter(|column| ![text, pair, label].contains(&Some(*column)));
    let only = match others.collect::<Vec<_>>().as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let (text, label) = match (text, label) {
        (Some(text), Some(label)) => (text, label),
        (Some(text), None) => (text, only.ok_or_else(|| unclear("the label", "label_column", columns))?),
        (None, Some(label)) => (only.ok_or_else(|| unclear("the text", "text_column", columns))?, label),
        (None, None) => return Err(unclear("the text and which is its label", "text_column", columns)),
    };
    Ok(Shape::Labelled { text: text.into(), pair: pair.map(str::to_owned), label: label.into() })
}

fn unclear(which: &str, setting: &'static str, columns: &[&str]) -> Unclear {
    Unclear {
        what: format!("which column is {which} is not clear; its columns are {}", columns.join(", ")),
        setting,
        next: "set data.text_column and data.label_column, and check that commas (tabs in TSV) part the columns".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The columns as `text`, `text + pair`, and the label behind a colon; or the setting at fault.
    fn found(columns: &[&str], settings: [&str; 3]) -> Result<String, (&'static str, String)> {
        let [text, pair, label] = settings.map(str::to_owned);
        let config =
            DataConfig { text_column: text, text_pair_column: pair, label_column: label, ..DataConfig::default() };
        match labelled(&config, columns) {
            Ok(Shape::Labelled { text, pair: None, label }) => Ok(format!("{text}: {label}")),
            Ok(Shape::Labelled { text, pair: Some(pair), label }) => Ok(format!("{text} + {pair}: {label}")),
            Ok(other) => panic!("{other:?}"),
            Err(Unclear { what, setting, .. }) => Err((setting, what)),
        }
    }

    #[test]
    fn columns_are_known_by_their_names() {
        for (columns, shape) in [
            (&["text", "label"][..], "text: label"),
            (&["idx", "Sentence", "Label"], "Sentence: Label"),
            (&["sentence1", "sentence2", "label", "idx"], "sentence1 + sentence2: label"),
            (&["index", "question", "sentence", "label"], "question + sentence: label"),
            (&["id", "question1", "question2", "is_duplicate"], "question1 + question2: is_duplicate"),
            (&["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"], "#1 String + #2 String: Quality"),
            (&["premise", "hypothesis", "gold_label"], "premise + hypothesis: gold_label"),
            (&["text", "label", "label_text"], "text: label_text"),
            (&["review", "stars"], "review: stars"),
            (&["sentence1", "sentence2", "score"], "sentence1 + sentence2: score"),
            (&["utterance", "intent"], "utterance: intent"),
            // What alone is left.
            (&["text", "is_spam"], "text: is_spam"),
            (&["ticket", "category"], "ticket: category"),
        ] {
            assert_eq!(found(columns, ["", "", ""]).as_deref(), Ok(shape));
        }
    }

    #[test]
    fn columns_are_what_the_configuration_says() {
        let columns = ["text", "note", "title", "label", "grade"];
        for (settings, shape) in [
            (["note", "", ""], "note: label"),
            (["", "", "grade"], "text: grade"),
            (["", "NOTE", ""], "text + note: label"),
            (["title", "text", "grade"], "title + text: grade"),
            (["label", "", "text"], "label: text"),
        ] {
            assert_eq!(found(&columns, settings).as_deref(), Ok(shape));
        }
        // A text that is named has no second one unless that is named, too.
        assert_eq!(
            found(&["sentence1", "sentence2", "label"], ["sentence1", "", ""]).as_deref(),
            Ok("sentence1: label")
        );
    }

    #[test]
    fn unclear_columns_are_named_with_the_setting() {
        for (columns, settings, at) in [
            (&["text", "label"][..], ["body", "", ""], "text_column"),
            (&["text", "label"], ["", "second", ""], "text_pair_column"),
            (&["text", "label"], ["", "", "kind"], "label_column"),
            (&["text", "a", "b"], ["", "", ""], "label_column"),
            (&["label", "a", "b"], ["", "", ""], "text_column"),
            (&["a", "b"], ["", "", ""], "text_column"),
            (&["text"], ["", "", ""], "label_column"),
            (&["text;label"], ["", "", ""], "text_column"),
        ] {
            let (setting, what) = found(columns, settings).unwrap_err();
            assert_eq!(setting, at, "{columns:?} {settings:?}");
            assert!(what.contains(&columns.join(", ")), "{what}");
        }
    }
}
