//! Files to a data set of texts with labels: for classifiers, and for models that give a number.

use stratune_protocol::{DataConfig, LabelledColumns, Problem};

use crate::dataset::{Sources, Split, limit};
use crate::encode_text::encoded;
use crate::fields::Reading;
use crate::labels::{Labels, listed};
use crate::shape::Shape;
use crate::{Dataset, Label, LabelKind, LabelledRow, Row, Sequence, Source, SourceFile, Tokenizer, Wanted};

/// Reads files of texts, or pairs of texts, with labels and makes them ready to train on; held out are rows as
/// [`load`](crate::load) holds them out. No row is longer than `config.max_length` and `context` tokens; longer ones are
/// cut as [`encode_text`](crate::encode_text) does, and counted.
///
/// # Errors
/// A file or its columns cannot be read, a label is not one, there is one class alone, or no row is left to train on.
pub fn load_labelled(
    files: &[SourceFile],
    config: &DataConfig,
    tokenizer: &Tokenizer,
    wanted: &Wanted,
    context: usize,
    seed: u64,
) -> Result<Dataset, Problem> {
    let limit = limit(config, context)?;
    let sources = Sources::read(files, Reading { config, is_labelled: true })?;
    let all = || [Some(&sources.train), sources.apart.as_ref()].into_iter().flatten();
    let columns = all().find_map(|source| source.shape.as_ref()).and_then(columns_of).unwrap_or_default();
    let column = columns.label.clone();
    let labels = Labels::of(all().flat_map(labels_of), &column, config, wanted.objective, wanted.known)?;
    let split = Split { share: config.validation_split, seed };
    let mut dataset = sources.dataset(tokenizer, limit, split, Some(labels.kind.clone()), |row| {
        let Row::Labelled(row) = row else { return Err(Problem::input("it has no label")) };
        sequence(row, &labels, tokenizer, wanted, limit)
    })?;
    dataset.notices.extend(labels.notices);
    count_classes(&mut dataset, &column)?;
    dataset.report.labelled = Some(LabelledColumns { classes: dataset.report.classes.len(), ..columns });
    Ok(dataset)
}

/// The columns of texts with labels; none of rows of another shape. It does not say how many classes there are.
pub(crate) fn columns_of(shape: &Shape) -> Option<LabelledColumns> {
    let Shape::Labelled { text, pair, label } = shape else { return None };
    let (text, text_pair, label) = (text.clone(), pair.clone().unwrap_or_default(), label.clone());
    Some(LabelledColumns { text, text_pair, label, classes: 0 })
}

/// Where each row stands, and its label.
pub(crate) fn labels_of(source: &Source) -> impl Iterator<Item = (&str, &str)> {
    source.rows.iter().filter_map(|(at, row)| match row {
        Row::Labelled(row) => Some((at.as_str(), row.label.as_str())),
        Row::Turns(_) | Row::Text(_) => None,
    })
}

/// A row as the model sees it, and whether it was cut.
fn sequence(
    row: &LabelledRow,
    labels: &Labels,
    tokenizer: &Tokenizer,
    wanted: &Wanted,
    limit: usize,
) -> Result<(Vec<Sequence>, bool), Problem> {
    let (mut sequence, is_cut) = encoded(tokenizer, &row.text, row.pair.as_deref(), wanted, limit)?;
    let Some(target) = labels.target(&row.label) else { return Err(Problem::input("its label is not known")) };
    sequence.label = Some(Label { at: wanted.reads.at(sequence.tokens.len()), target });
    Ok((vec![sequence], is_cut))
}

/// Counts the rows of each class, and says which has none to train on.
pub(crate) fn count_classes(dataset: &mut Dataset, column: &str) -> Result<(), Problem> {
    let Some(kind @ LabelKind::Classes(names)) = &dataset.labels else { return Ok(()) };
    let (train, apart) = (kind.counts(&dataset.train), kind.counts(&dataset.validation));
    let counts = train.iter().zip(&apart).map(|(train, apart)| train + apart);
    dataset.report.classes = names.iter().cloned().zip(counts).collect();
    let (with, without): (Vec<_>, Vec<_>) = names.iter().cloned().zip(train).partition(|(_, count)| *count > 0);
    if let [(only, _)] = with.as_slice() {
        return Err(Problem::input(format!("all rows to train on are of one class, '{only}'"))
            .at(format!("{}, column '{column}'", dataset.report.files.join(", ")))
            .next("hold fewer rows out with data.validation_split, or give more rows"));
    }
    if !without.is_empty() {
        let names: Vec<String> = without.into_iter().map(|(name, _)| name).collect();
        let which = if names.len() == 1 { "class" } else { "classes" };
        dataset.notices.push(format!("No row to train on is of the {which} {}.", listed(&names)));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::Objective;

    use super::*;
    use crate::testing::fixture;
    use crate::{Reads, Target, load};

    const WANTED: Wanted = Wanted { objective: Objective::Auto, reads: Reads::Last, type_ids: false, known: &[] };

    fn file(name: &str, text: &str, held_out: bool) -> SourceFile {
        SourceFile { name: name.into(), bytes: text.as_bytes().to_vec(), held_out }
    }

    fn read(files: &[SourceFile], change: impl Fn(&mut DataConfig)) -> Result<Dataset, Problem> {
        let mut config = DataConfig { validation_split: 0.0, ..DataConfig::default() };
        change(&mut config);
        load_labelled(files, &config, &fixture(&[]), &WANTED, 64, 3)
    }

    const TABLE: &str =
        "sentence,label\nthe rain fell,bad\nthe sun shone,good\n\"so, so\",bad\n,good\nno label,\nonce,good\n";

    #[test]
    fn rows_have_labels_and_the_report_adds_up() {
        let dataset = read(&[file("a.csv", TABLE, false)], |_| {}).unwrap();
        let report = &dataset.report;
        assert_eq!(dataset.labels, Some(LabelKind::Classes(vec!["bad".into(), "good".into()])));
        assert_eq!(report.classes, [("bad".to_owned(), 2), ("good".into(), 2)]);
        let (text, label) = ("sentence".into(), "label".into());
        assert_eq!(report.labelled, Some(LabelledColumns { text, label, classes: 2, ..LabelledColumns::default() }));
        assert_eq!((report.train_rows, report.skipped_rows, report.label_tokens), (4, 2, 4));
        let skipped: Vec<_> = report.skipped.iter().map(|row| (row.at.as_str(), row.why.as_str())).collect();
        assert_eq!(skipped, [("a.csv, line 5", "the text is empty"), ("a.csv, line 6", "the label is empty")]);
        for (row, class) in dataset.train.iter().zip([0, 1, 0, 1]) {
            assert_eq!(row.label, Some(Label { at: row.tokens.len() - 1, target: Target::Class(class) }));
            assert!(row.loss_mask.iter().all(|is_label| !is_label));
        }
        let shown: Vec<_> = report.preview.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(
            (shown, report.preview[2].raw.as_str()),
            (vec!["bad", "good", "bad", "good"], "{\"sentence\":\"so, so\",\"label\":\"bad\"}")
        );
        assert!(dataset.notices.is_empty() && dataset.prompts.is_empty(), "{:?}", dataset.notices);
    }

    #[test]
    fn every_format_gives_the_same_rows() {
        let plain = read(&[file("a.csv", "text,label\na b,1\nc,0\n", false)], |_| {}).unwrap();
        for (name, text) in [
            ("a.tsv", "text\tlabel\na b\t1\nc\t0\n"),
            ("a.jsonl", "{\"text\":\"a b\",\"label\":1}\n{\"text\":\"c\",\"label\":0}\n"),
            ("a.json", "[{\"text\":\"a b\",\"label\":\"1\"},{\"text\":\"c\",\"label\":0.0}]"),
            // A table in Parquet, as it is unpacked.
            ("a.parquet", "\u{1e}[\"text\",\"label\"]\n{\"text\":\"a b\",\"label\":1}\n{\"text\":\"c\",\"label\":0}\n"),
        ] {
            let dataset = read(&[file(name, text, false)], |_| {}).unwrap();
            assert_eq!((dataset.train, dataset.labels), (plain.train.clone(), plain.labels.clone()), "{name}");
        }
    }

    #[cfg(feature = "unpack")]
    #[test]
    fn a_parquet_file_has_labels() {
        let bytes = crate::parquet::tests::file("snappy.parquet");
        let files = [SourceFile { name: "a.parquet".into(), bytes, held_out: false }];
        let columns = |label: &'static str| {
            move |config: &mut DataConfig| {
                (config.text_column, config.label_column) = ("prompt".into(), label.into());
            }
        };
        let kept = read(&files, columns("kept")).unwrap();
        assert_eq!(kept.report.classes, [("false".to_owned(), 26), ("true".into(), 14)]);
        let score = read(&files, columns("score")).unwrap();
        assert_eq!(score.labels, Some(LabelKind::Numbers));
        let third = score.train[3].label.unwrap();
        assert_eq!((third.target, score.report.preview[3].label.as_str()), (Target::Value(0.75), "0.75"));
    }

    #[test]
    fn pairs_and_long_rows_are_cut_and_counted() {
        let long = "night ".repeat(99);
        let text = format!("premise,hypothesis,label\n{long},short,0\na,b,1\nc,,1\n");
        let dataset = read(&[file("a.csv", &text, false)], |config| config.max_length = 16).unwrap();
        assert_eq!((dataset.report.truncated, dataset.report.skipped[0].why.as_str()), (1, "the second text is empty"));
        assert_eq!((dataset.train[0].tokens.len(), dataset.train[0].label.unwrap().at), (16, 15));
        let shown = fixture(&[]).decode(&dataset.train[0].tokens).unwrap();
        assert!(shown.ends_with("\nshort"), "{shown}");
    }

    #[test]
    fn held_out_rows_share_the_classes_and_a_class_without_rows_is_told() {
        let train = file("a.csv", "text,label\na,x\nb,y\n", false);
        let apart = file("b.csv", "text,label\nc,z\nd,x\n", true);
        let dataset = read(&[train.clone(), apart.clone()], |_| {}).unwrap();
        let class = |row: &Sequence| row.label.unwrap().target;
        assert_eq!(dataset.train.iter().map(class).collect::<Vec<_>>(), [0, 1].map(Target::Class));
        assert_eq!(dataset.validation.iter().map(class).collect::<Vec<_>>(), [2, 0].map(Target::Class));
        assert_eq!(dataset.notices, ["No row to train on is of the class z."]);
        assert_eq!(dataset.report.classes, [("x".to_owned(), 2), ("y".into(), 1), ("z".into(), 1)]);
        let named = |config: &mut DataConfig| config.label_names = ["z", "y", "x"].map(String::from).into();
        let named = read(&[train, apart.clone()], named).unwrap();
        assert_eq!(named.train.iter().map(class).collect::<Vec<_>>(), [2, 1].map(Target::Class));
        // One class to train on, though there are two in all.
        let problem = read(&[file("a.csv", "text,label\na,x\nb,x\n", false), apart], |_| {}).unwrap_err();
        assert!(problem.what.contains("one class, 'x'") && problem.at == "a.csv, column 'label'", "{problem:?}");
    }

    #[test]
    fn the_split_is_that_of_other_rows() {
        let rows: String = (0..20).map(|r| format!("text {r},{}\n", r % 2)).collect();
        let table = file("a.csv", &format!("text,label\n{rows}"), false);
        let config = DataConfig { validation_split: 0.2, ..DataConfig::default() };
        let labelled = load_labelled(&[table], &config, &fixture(&[]), &WANTED, 64, 3).unwrap();
        let pairs: String = (0..20).map(|r| format!("text {r},{}\n", r % 2)).collect();
        let pairs = file("a.csv", &format!("prompt,completion\n{pairs}"), false);
        let pairs = load(&[pairs], &config, &fixture(&[]), 64, 3).unwrap();
        assert_eq!(labelled.validation.len(), 4);
        for (row, pair) in labelled.validation.iter().zip(&pairs.validation) {
            assert!(pair.tokens.starts_with(&row.tokens));
        }
    }

    #[test]
    fn what_has_no_labels_is_told_with_file_and_column() {
        let cases: [(&str, &str, &str, &str); 7] = [
            ("a.csv", "text,a,b\nt,1,2\n", "which column is the label is not clear", "a.csv, data.label_column"),
            ("a.csv", "a,b,label\nt,1,2\n", "which column is the text is not clear", "a.csv, data.text_column"),
            ("a.jsonl", "{\"text\":\"t\"}\n", "which column is the label is not clear", "a.jsonl, line 1"),
            ("a.jsonl", "{\"text\":\"t\",\"label\":[1,2]}\n", "a row has one label", "a.jsonl, line 1"),
            ("a.txt", "once upon a time", "plain text has no labels", "a.txt"),
            ("a.csv", "text,label\nt,x\nu,x\n", "all rows are of one class, 'x'", "a.csv, column 'label'"),
            ("a.csv", "text,label\nt,1.5\nu,NaN\n", "'NaN' is no number", "a.csv, line 3, column 'label'"),
        ];
        for (name, text, what, at) in cases {
            let problem = read(&[file(name, text, false)], |_| {}).unwrap_err();
            assert!(problem.what.contains(what) && problem.at == at && !problem.next.is_empty(), "{problem:?}");
        }
        let missing = read(&[file("a.csv", TABLE, false)], |config| config.label_column = "kind".into()).unwrap_err();
        assert!(missing.what.contains("no column 'kind'") && missing.at == "a.csv, data.label_column", "{missing:?}");
        let outside = |config: &mut DataConfig| config.label_names = ["good", "fair"].map(String::from).into();
        let outside = read(&[file("a.csv", TABLE, false)], outside).unwrap_err();
        assert_eq!(outside.at, "a.csv, line 2, column 'label'");
        assert!(outside.what.contains("'bad' is none of the classes good, fair"), "{outside:?}");
    }
}
