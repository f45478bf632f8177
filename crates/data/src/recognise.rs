//! Whether columns look like texts with labels.

use stratune_protocol::{DataConfig, LabelledColumns};

use crate::SourceFile;
use crate::fields::Reading;
use crate::labelled::{columns_of, labels_of};
use crate::labels::{look_like_numbers, written};
use crate::shape::Shape;
use crate::source::read_all;

/// So many classes may be few rows', and so many rows each class has at least where there are more.
const FEW: usize = 20;
const ROWS_OF_A_CLASS: usize = 10;

/// The columns of the files to train on, if they look like texts with labels: there is a column of each, by name or because
/// no other is left; labels are 2 classes to 20, or as many as a tenth of the rows, with two rows each on average, or
/// numbers with decimals; and nothing is an answer: columns that are a prompt and its completion, or a conversation, are
/// what they look like more.
pub fn recognise(files: &[SourceFile], config: &DataConfig) -> Option<LabelledColumns> {
    let to_train = || files.iter().filter(|file| !file.held_out);
    let reading = Reading { config, is_labelled: true };
    let source = read_all(to_train(), reading).ok()?;
    let found = columns_of(source.shape.as_ref()?)?;
    let columns: Vec<&str> = source.columns.iter().map(String::as_str).collect();
    if let Ok(Shape::Pair { .. } | Shape::Messages { .. }) = Shape::of_row(config, &columns) {
        return None;
    }
    let labels = written(labels_of(&source));
    let (rows, distinct) = (source.rows.len(), labels.len());
    let is_numbers = look_like_numbers(&labels);
    let is_few = distinct <= FEW.max(rows / ROWS_OF_A_CLASS) && distinct * 2 <= rows;
    let classes = if is_numbers { 0 } else { distinct };
    (distinct > 1 && (is_numbers || is_few)).then_some(LabelledColumns { classes, ..found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: String) -> Option<LabelledColumns> {
        let file = SourceFile { name: name.into(), bytes: text.into_bytes(), held_out: false };
        recognise(&[file], &DataConfig::default())
    }

    /// A table of so many rows, whose labels are these in turn.
    fn table(header: &str, rows: usize, label: impl Fn(usize) -> String) -> Option<LabelledColumns> {
        let row = |r| format!("the text {r},{}\n", label(r));
        of("a.csv", format!("{header}\n{}", (0..rows).map(row).collect::<String>()))
    }

    #[test]
    fn few_classes_or_decimals_are_labels() {
        let columns = |text: &str, label: &str, classes| {
            Some(LabelledColumns { text: text.into(), label: label.into(), classes, ..LabelledColumns::default() })
        };
        assert_eq!(table("text,label", 40, |r| format!("c{}", r % 3)), columns("text", "label", 3));
        assert_eq!(table("sentence,spam", 4, |r| (r % 2).to_string()), columns("sentence", "spam", 2));
        // As many intents as CLINC150 has, at a hundred rows each.
        assert_eq!(table("utterance,intent", 15_000, |r| format!("i{}", r % 150)), columns("utterance", "intent", 150));
        assert_eq!(table("text,score", 30, |r| format!("{r}.5")), columns("text", "score", 0));
        let lines: String =
            (0..9).map(|r| format!("{{\"premise\":\"p{r}\",\"hypothesis\":\"h\",\"label\":{}}}\n", r % 3)).collect();
        let pair =
            LabelledColumns { text_pair: "hypothesis".into(), ..columns("premise", "label", 3).unwrap_or_default() };
        assert_eq!(of("a.jsonl", lines), Some(pair));
    }

    #[test]
    fn what_is_something_else_is_not_taken_for_labels() {
        for (header, rows, of) in
            [("text,label", 40, 40), ("text,label", 40, 30), ("text,label", 1000, 150), ("text,label", 9, 1)]
        {
            assert_eq!(table(header, rows, |r| (r % of).to_string()), None, "{header} {rows} {of}");
        }
        assert_eq!(table("prompt,completion", 9, |r| (r % 2).to_string()), None);
        assert_eq!(table("question,answer", 9, |r| (r % 2).to_string()), None);
        let with_category: String = (0..9)
            .map(|r| format!("{{\"instruction\":\"i{r}\",\"response\":\"r\",\"category\":\"{}\"}}\n", r % 3))
            .collect();
        assert_eq!(of("dolly.jsonl", with_category), None);
        assert_eq!(of("a.txt", "once upon a time".into()), None);
        assert_eq!(of("a.csv", "text\nonce\n".into()), None);
    }
}
