//! Rows of one's own as a task: the columns of text and label, and a metric.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stratune_protocol::Problem;

use crate::answer::Answers;
use crate::classify::Asked;
use crate::files::{Row, Source, TaskFiles};
use crate::item::{Item, Label, response};
use crate::metrics::Metric;
use crate::task::{Family, Rows, Split, Task};

/// Rows of one's own: CSV or TSV with a header, JSON lines, or a list in JSON, as the file's ending says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnData {
    /// The file of each split that there is.
    pub files: Vec<(Split, String)>,
    /// The column, or field, of the text; `a.b` is the field b of the object a.
    pub text: String,
    /// The one of a second text, if there is one.
    #[serde(default)]
    pub second_text: Option<String>,
    /// The one of what is right: a class, or a number if the metric is a correlation, or a text if it compares texts.
    pub label: String,
    /// The classes in their order, of which the second is what [`Metric::F1`] is of; if none are named, those of the rows
    /// to train on, else of the rows that are read, by their letters.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How answers are judged.
    pub metric: Metric,
}

impl OwnData {
    /// The task of these rows.
    ///
    /// # Errors
    /// The metric is of groups of rows, which own rows do not have; one label is named twice, or one alone.
    pub fn task(self) -> Result<Task, Problem> {
        if self.metric == Metric::GroupExactMatch {
            let others = Metric::ALL.iter().filter(|metric| **metric != self.metric).map(|metric| metric.name());
            return Err(Problem::input("own rows have no groups, so group_exact_match cannot judge them")
                .next(format!("choose one of {}", others.collect::<Vec<_>>().join(", "))));
        }
        let distinct: BTreeSet<&String> = self.labels.iter().collect();
        if distinct.len() < self.labels.len() || self.labels.len() == 1 {
            return Err(Problem::input(format!(
                "the labels {} are not two different ones or more",
                self.labels.join(", ")
            ))
            .at("labels")
            .next("name each class once, or none to take those of the rows"));
        }
        let answers = match self.metric {
            Metric::Pearson | Metric::Spearman => Answers::LastNumber,
            Metric::ExactMatch | Metric::TokenF1 => Answers::Text,
            _ => Answers::Named,
        };
        let has = |split: Split| self.files.iter().any(|(of, _)| *of == split);
        let judged_on = [Split::Test, Split::Validation].into_iter().find(|split| has(*split)).unwrap_or(Split::Train);
        Ok(Task {
            name: "own",
            family: Family::Classification,
            metrics: self.metric.alone(),
            source: "the files that the task names",
            judged_on,
            files: &[],
            answers,
            read: Rows::Own(self),
        })
    }

    /// The items of a split.
    pub(crate) fn read(&self, files: &dyn TaskFiles, split: Split) -> Result<Vec<Item>, Problem> {
        let rows = self.rows(files, split)?;
        match self.metric {
            Metric::Pearson | Metric::Spearman => rows.iter().map(|row| self.number(row)).collect(),
            Metric::ExactMatch | Metric::TokenF1 => rows.iter().map(|row| self.free(row)).collect(),
            _ => {
                let labels = self.classes(files, &rows)?;
                rows.iter().map(|row| self.class(row, &labels)).collect()
            }
        }
    }

    fn rows(&self, files: &dyn TaskFiles, split: Split) -> Result<Vec<Row>, Problem> {
        let Some((_, path)) = self.files.iter().find(|(of, _)| *of == split) else {
            return Err(Problem::input(format!("the task names no file of {} rows", split.name())).next("name one"));
        };
        let Some(source) = Source::find(files, path) else {
            return Err(Problem::input(format!("the {} rows are not there", split.name()))
                .at(path)
                .next("is the path right?"));
        };
        let rows = match path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "csv" => source.quoted(b',', None),
            "tsv" => source.quoted(b'\t', None),
            "json" => source.list(),
            "jsonl" | "ndjson" => source.lines(),
            _ => Err(Problem::input("the file's ending does not say what it is")
                .at(path)
                .next("name it .csv or .tsv for a table, .jsonl for JSON lines, .json for a list in JSON")),
        }?;
        if rows.is_empty() { Err(Problem::input("the file has no rows").at(path)) } else { Ok(rows) }
    }

    /// The classes: those that are named, else those of the rows to train on, else of `rows`.
    fn classes(&self, files: &dyn TaskFiles, rows: &[Row]) -> Result<Vec<String>, Problem> {
        if !self.labels.is_empty() {
            return Ok(self.labels.clone());
        }
        let of = |rows: &[Row]| rows.iter().map(|row| row.word(&self.label)).collect::<Result<BTreeSet<_>, _>>();
        let has_training = self.files.iter().any(|(split, _)| *split == Split::Train);
        let labels = if has_training { of(&self.rows(files, Split::Train)?)? } else { of(rows)? };
        if labels.len() < 2 {
            return Err(Problem::input(format!(
                "all rows have the label {}",
                labels.iter().map(String::as_str).collect::<String>()
            ))
            .at(format!("field '{}'", self.label))
            .next("name the classes that there are, or the column that holds them"));
        }
        Ok(labels.into_iter().collect())
    }

    fn texts<'a>(&self, row: &'a Row) -> Result<Vec<(&'static str, &'a str)>, Problem> {
        let Some(second) = &self.second_text else { return Ok(vec![("Text", row.text(&self.text)?)]) };
        Ok(vec![("Text 1", row.text(&self.text)?), ("Text 2", row.text(second)?)])
    }

    fn class(&self, row: &Row, labels: &[String]) -> Result<Item, Problem> {
        let texts = self.texts(row)?;
        let classes: Vec<&str> = labels.iter().map(String::as_str).collect();
        let listed: Vec<&str> = texts.iter().map(|(_, text)| *text).collect();
        let asked = Asked {
            ask: "Please answer which class it is",
            texts: &texts,
            answers: &classes,
            context: format!("{}\nClass:", listed.join("\n")),
            continuations: &classes,
        };
        Ok(asked.item(&row.at, row.class(&self.label, labels)?))
    }

    fn number(&self, row: &Row) -> Result<Item, Problem> {
        let right = row.number(&self.label)?;
        self.open(row, "Please answer with a number", "a number", right.to_string(), Label::Number(right))
    }

    fn free(&self, row: &Row) -> Result<Item, Problem> {
        let right = row.word(&self.label)?;
        if right.is_empty() {
            return Err(row.problem(&self.label, "the right text is empty"));
        }
        self.open(row, "Please answer", "a text", right.clone(), Label::Text(vec![right]))
    }

    /// An item without choices.
    fn open(&self, row: &Row, ask: &str, format: &str, answer: String, label: Label) -> Result<Item, Problem> {
        let texts = self.texts(row)?;
        let listed: Vec<String> = texts.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        Ok(Item {
            at: row.at.clone(),
            prompt: format!("{ask}.\n\n{}\n\nAnswer format: {format}", listed.join("\n\n")),
            response: response(&answer),
            choices: vec![],
            label,
            group: None,
            texts: texts.iter().map(|(_, text)| (*text).to_owned()).collect(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{check, right};
    use std::collections::BTreeMap;

    fn own(path: &str, label: &str, metric: Metric) -> OwnData {
        OwnData {
            files: vec![(Split::Test, path.into())],
            text: "text".into(),
            second_text: None,
            label: label.into(),
            labels: vec![],
            metric,
        }
    }

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn four_forms_of_one_table_are_one_task() {
        let files = files(&[
            ("a.csv", "text,also,kind\n\"good, \"\"really\"\"\",x,up\nbad,y,down\n"),
            ("a.tsv", "text\talso\tkind\n\"good, \"\"really\"\"\"\tx\tup\nbad\ty\tdown\n"),
            (
                "a.jsonl",
                "{\"text\": \"good, \\\"really\\\"\", \"kind\": \"up\"}\n{\"text\": \"bad\", \"kind\": \"down\"}",
            ),
            ("a.json", r#"[{"text": "good, \"really\"", "kind": "up"}, {"text": "bad", "kind": "down"}]"#),
        ]);
        for path in ["a.csv", "a.tsv", "a.jsonl", "a.json"] {
            let task = own(path, "kind", Metric::F1).task().unwrap();
            let items = task.read(&files, task.judged_on).unwrap();
            assert_eq!(items[0].texts, ["good, \"really\""], "{path}");
            assert_eq!(task.labels(&items), ["down", "up"]);
            items.iter().for_each(|item| check(&task, item));
            let scored = task.score(&items, &items.iter().map(|item| Some(right(item))).collect::<Vec<_>>()).unwrap();
            assert_eq!((scored.len(), scored[0].metric, scored[0].value), (1, Metric::F1, Some(1.0)));
        }
    }

    #[test]
    fn numbers_texts_and_pairs_are_tasks_too() {
        let files = files(&[("a.csv", "text,and,score,said\nhow,much,1.5,\"Five, say\"\n")]);
        let pair = OwnData { second_text: Some("and".into()), ..own("a.csv", "score", Metric::Pearson) };
        let task = pair.task().unwrap();
        let items = task.read(&files, Split::Test).unwrap();
        assert_eq!(
            (items[0].texts.clone(), items[0].label.clone()),
            (vec!["how".into(), "much".into()], Label::Number(1.5))
        );
        items.iter().for_each(|item| check(&task, item));
        let task = own("a.csv", "said", Metric::TokenF1).task().unwrap();
        let items = task.read(&files, Split::Test).unwrap();
        assert_eq!(items[0].label, Label::Text(vec!["Five, say".into()]));
        items.iter().for_each(|item| check(&task, item));
    }

    #[test]
    fn classes_are_those_to_train_on_unless_they_are_named() {
        let files = files(&[("train.csv", "text,kind\na,x\nb,y\n"), ("test.csv", "text,kind\na,z\n")]);
        let mut data = own("test.csv", "kind", Metric::Accuracy);
        data.files.push((Split::Train, "train.csv".into()));
        let told = |data: &OwnData| data.clone().task().unwrap().read(&files, Split::Test).unwrap_err();
        let problem = told(&data);
        assert_eq!(problem.what, "'z' is no label of the task; its labels are x, y");
        assert_eq!(problem.at, "test.csv, line 2, field 'kind'");
        data.labels = vec!["z".into(), "y".into()];
        let items = data.clone().task().unwrap().read(&files, Split::Test).unwrap();
        assert_eq!(items[0].label, Label::Choice(0));
        data.labels.clear();
        data.files.pop();
        assert!(told(&data).what.contains("all rows have the label z"), "{:?}", told(&data));
    }

    #[test]
    fn bad_rows_and_settings_are_named() {
        let files = files(&[("a.csv", "text,kind\na,high\n\nb\n"), ("a.txt", "x"), ("b.csv", "text,kind\n")]);
        let cases = [
            ("a.csv", "kind", Metric::Spearman, "2 fields where", ""),
            ("b.csv", "kind", Metric::Spearman, "no rows", "b.csv"),
            ("a.txt", "kind", Metric::Accuracy, "ending", "a.txt"),
            ("none.csv", "kind", Metric::Accuracy, "not there", "none.csv"),
        ];
        for (path, label, metric, what, at) in cases {
            let problem = own(path, label, metric).task().unwrap().read(&files, Split::Test).unwrap_err();
            let is_short = path == "a.csv" && problem.at == "a.csv, line 4" && problem.what.contains("1 fields");
            assert!(is_short || problem.what.contains(what) && problem.at == at, "{problem:?}");
        }
        let high = self::files(&[("a.csv", "text,kind\na,high\n")]);
        let problem = own("a.csv", "kind", Metric::Pearson).task().unwrap().read(&high, Split::Test).unwrap_err();
        assert_eq!(
            (problem.what.as_str(), problem.at.as_str()),
            ("'high' is no number", "a.csv, line 2, field 'kind'")
        );
        let problem = own("a.csv", "sort", Metric::Accuracy).task().unwrap().read(&high, Split::Test).unwrap_err();
        assert!(problem.what.starts_with("the row has no field 'sort'; its fields are "), "{problem:?}");
        let problem = own("a.csv", "kind", Metric::Accuracy).task().unwrap().read(&high, Split::Train).unwrap_err();
        assert!(problem.what.contains("names no file of train rows"));
        assert!(own("a.csv", "kind", Metric::GroupExactMatch).task().is_err());
        for labels in [vec!["x".to_owned()], vec!["x".to_owned(), "x".to_owned()]] {
            assert!(OwnData { labels, ..own("a.csv", "kind", Metric::F1) }.task().is_err());
        }
    }
}
