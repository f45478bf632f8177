//! GLUE, from the files that its site gives out.

use stratune_protocol::Problem;

use crate::answer::Answers;
use crate::classify::Asked;
use crate::files::{Row, Source};
use crate::item::{Item, Label, response};
use crate::metrics::Metric;
use crate::task::{Family, Paths, Read, Rows, Split, Task};

/// A task of one or two sentences and a few classes.
struct Form {
    /// What an instructed model is to do.
    ask: &'static str,
    /// The columns of the texts, and what the prompt calls them.
    texts: &'static [(&'static str, &'static str)],
    label: &'static str,
    /// The classes as the file names them, as they are trained, and as lm-evaluation-harness ranks them.
    classes: &'static [(&'static str, &'static str, &'static str)],
    /// What comes before the class, as lm-evaluation-harness asks.
    context: fn(&str, &str) -> String,
}

const COLA: Form = Form {
    ask: "Please answer whether the sentence is acceptable English",
    texts: &[("sentence", "Sentence")],
    label: "label",
    classes: &[("0", "unacceptable", "no"), ("1", "acceptable", "yes")],
    context: |text, _| format!("{text}\nQuestion: Does this sentence make sense?\nAnswer:"),
};
const SST2: Form = Form {
    ask: "Please answer whether the sentence is positive or negative",
    texts: &[("sentence", "Sentence")],
    label: "label",
    classes: &[("0", "negative", "negative"), ("1", "positive", "positive")],
    context: |text, _| format!("{text}\nQuestion: Is this sentence positive or negative?\nAnswer:"),
};
const MRPC: Form = Form {
    ask: "Please answer whether both sentences mean the same",
    texts: &[("#1 String", "Sentence 1"), ("#2 String", "Sentence 2")],
    label: "Quality",
    classes: &[("0", "different", "no"), ("1", "equivalent", "yes")],
    context: |one, two| {
        format!("Sentence 1: {one}\nSentence 2: {two}\nQuestion: Do both sentences mean the same thing?\nAnswer:")
    },
};
const QQP: Form = Form {
    ask: "Please answer whether both questions ask the same",
    texts: &[("question1", "Question 1"), ("question2", "Question 2")],
    label: "is_duplicate",
    classes: &[("0", "different", "no"), ("1", "duplicate", "yes")],
    context: |one, two| {
        format!("Question 1: {one}\nQuestion 2: {two}\nQuestion: Do both questions ask the same thing?\nAnswer:")
    },
};
const MNLI: Form = Form {
    ask: "Please answer whether the hypothesis follows from the premise, contradicts it, or neither",
    texts: &[("sentence1", "Premise"), ("sentence2", "Hypothesis")],
    label: "gold_label",
    classes: &[
        ("entailment", "entailment", "True"),
        ("neutral", "neutral", "Neither"),
        ("contradiction", "contradiction", "False"),
    ],
    context: |premise, hypothesis| {
        let hypothesis = hypothesis.trim();
        let stop = if hypothesis.ends_with('.') { "" } else { "." };
        format!("{premise}\nQuestion: {hypothesis}{stop} True, False or Neither?\nAnswer:")
    },
};
const QNLI: Form = Form {
    ask: "Please answer whether the sentence answers the question",
    texts: &[("question", "Question"), ("sentence", "Sentence")],
    label: "label",
    classes: &[("entailment", "answered", "yes"), ("not_entailment", "unanswered", "no")],
    context: |question, text| format!("{question}\n{text}\nQuestion: Does this response answer the question?\nAnswer:"),
};
const RTE: Form = Form {
    ask: "Please answer whether the second text follows from the first",
    texts: &[("sentence1", "Text 1"), ("sentence2", "Text 2")],
    label: "label",
    classes: &[("entailment", "entailment", "True"), ("not_entailment", "not_entailment", "False")],
    context: |one, two| format!("{one}\nQuestion: {two} True or False?\nAnswer:"),
};
const WNLI: Form = Form { classes: &[("0", "not_entailment", "False"), ("1", "entailment", "True")], ..RTE };

impl Form {
    fn item(&self, row: &Row) -> Result<Item, Problem> {
        let texts = self.texts.iter().map(|(column, name)| Ok((*name, row.text(column)?)));
        let texts = texts.collect::<Result<Vec<_>, Problem>>()?;
        let text = |place: usize| texts.get(place).map_or("", |(_, text)| *text);
        let right = row.class(self.label, &self.classes.iter().map(|class| class.0).collect::<Vec<_>>())?;
        let asked = Asked {
            ask: self.ask,
            texts: &texts,
            answers: &self.classes.iter().map(|class| class.1).collect::<Vec<_>>(),
            context: (self.context)(text(0), text(1)),
            continuations: &self.classes.iter().map(|class| class.2).collect::<Vec<_>>(),
        };
        Ok(asked.item(&row.at, right))
    }

    fn items(&self, rows: &[Row]) -> Result<Vec<Item>, Problem> {
        rows.iter().map(|row| self.item(row)).collect()
    }
}

/// CoLA's files have no header. The corpus itself parts its development set in two, which GLUE joins.
fn cola(_: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let columns: &[&str] = &["source", "label", "mark", "sentence"];
    let mut rows = source.table(Some(columns), false)?;
    if source.path.ends_with("/in_domain_dev.tsv") {
        rows.extend(source.beside("out_of_domain_dev.tsv")?.table(Some(columns), false)?);
    }
    COLA.items(&rows)
}

/// How alike two sentences are, from 0 to 5.
fn stsb(_: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let item = |row: &Row| {
        let (one, two) = (row.text("sentence1")?, row.text("sentence2")?);
        let score = row.number("score")?;
        if !(0.0..=5.0).contains(&score) {
            return Err(row.problem("score", format!("{score} is outside 0 to 5")));
        }
        Ok(Item {
            at: row.at.clone(),
            prompt: format!(
                "Please answer how alike the two sentences are in what they mean, from 0 (not at all) to 5 (they mean the \
                 same).\n\nSentence 1: {one}\n\nSentence 2: {two}\n\nAnswer format: a number from 0 to 5"
            ),
            response: response(&score.to_string()),
            choices: vec![],
            label: Label::Number(score),
            group: None,
            texts: vec![one.to_owned(), two.to_owned()],
        })
    };
    source.table(None, false)?.iter().map(item).collect()
}

const fn glue(name: &'static str, metrics: &'static [Metric], files: Paths, read: Read) -> Task {
    Task {
        name,
        family: Family::Glue,
        metrics,
        source: "the task's folder from https://gluebenchmark.com/tasks; the labels of its test rows are not public",
        judged_on: Split::Validation,
        files,
        answers: Answers::Named,
        read: Rows::Published(read),
    }
}

/// The nine tasks, MNLI in its two halves.
pub(crate) static TASKS: &[Task] = &[
    glue(
        "CoLA",
        &[Metric::Matthews, Metric::Accuracy],
        &[
            (Split::Train, &["CoLA/train.tsv", "CoLA/in_domain_train.tsv"]),
            (Split::Validation, &["CoLA/dev.tsv", "CoLA/in_domain_dev.tsv"]),
        ],
        cola,
    ),
    glue(
        "SST-2",
        &[Metric::Accuracy],
        &[
            (Split::Train, &["SST-2/train.tsv"]),
            (Split::Validation, &["SST-2/dev.tsv"]),
            (Split::Test, &["SST-2/test.tsv"]),
        ],
        |_, source| SST2.items(&source.table(None, false)?),
    ),
    glue(
        "MRPC",
        &[Metric::Accuracy, Metric::F1],
        &[
            (Split::Train, &["MRPC/train.tsv", "MRPC/msr_paraphrase_train.txt"]),
            (Split::Validation, &["MRPC/dev.tsv"]),
            (Split::Test, &["MRPC/msr_paraphrase_test.txt"]),
        ],
        |_, source| MRPC.items(&source.table(None, false)?),
    )
    .with_source(
        "msr_paraphrase_train.txt and msr_paraphrase_test.txt of the Microsoft Research Paraphrase Corpus; \
                 train.tsv and dev.tsv are GLUE's parts of the former",
    ),
    glue(
        "STS-B",
        &[Metric::Pearson, Metric::Spearman],
        &[(Split::Train, &["STS-B/train.tsv"]), (Split::Validation, &["STS-B/dev.tsv"])],
        stsb,
    )
    .with_answers(Answers::LastNumber),
    glue(
        "QQP",
        &[Metric::Accuracy, Metric::F1],
        &[(Split::Train, &["QQP/train.tsv"]), (Split::Validation, &["QQP/dev.tsv"])],
        // The published file has some rows that are torn, which everybody leaves out.
        |_, source| QQP.items(&source.table(None, true)?),
    ),
    glue(
        "MNLI",
        &[Metric::Accuracy],
        &[(Split::Train, &["MNLI/train.tsv"]), (Split::Validation, &["MNLI/dev_matched.tsv"])],
        |_, source| MNLI.items(&source.table(None, false)?),
    ),
    glue(
        "MNLI-mm",
        &[Metric::Accuracy],
        &[(Split::Train, &["MNLI/train.tsv"]), (Split::Validation, &["MNLI/dev_mismatched.tsv"])],
        |_, source| MNLI.items(&source.table(None, false)?),
    ),
    glue(
        "QNLI",
        &[Metric::Accuracy],
        &[(Split::Train, &["QNLI/train.tsv"]), (Split::Validation, &["QNLI/dev.tsv"])],
        |_, source| QNLI.items(&source.table(None, false)?),
    ),
    glue(
        "RTE",
        &[Metric::Accuracy],
        &[(Split::Train, &["RTE/train.tsv"]), (Split::Validation, &["RTE/dev.tsv"])],
        |_, source| RTE.items(&source.table(None, false)?),
    ),
    glue(
        "WNLI",
        &[Metric::Accuracy],
        &[(Split::Train, &["WNLI/train.tsv"]), (Split::Validation, &["WNLI/dev.tsv"])],
        |_, source| WNLI.items(&source.table(None, false)?),
    ),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{files, items};
    use crate::task;

    #[test]
    fn labels_are_read_in_their_order() {
        let labels = |name: &str| {
            let task = task(name).unwrap();
            let items = items(task);
            let places: Vec<Label> = items.iter().map(|item| item.label.clone()).collect();
            (task.labels(&items).join(" "), places)
        };
        let places = |places: &[usize]| places.iter().map(|&place| Label::Choice(place)).collect::<Vec<_>>();
        assert_eq!(labels("cola"), ("unacceptable acceptable".into(), places(&[1, 0])));
        assert_eq!(labels("mnli"), ("entailment neutral contradiction".into(), places(&[1, 0, 2])));
        assert_eq!(labels("qnli"), ("answered unanswered".into(), places(&[0, 1])));
        assert_eq!(labels("wnli"), ("not_entailment entailment".into(), places(&[1, 0])));
        // One row of the fixture is torn.
        assert_eq!(labels("qqp"), ("different duplicate".into(), places(&[1, 0])));
        assert_eq!(labels("stsb"), (String::new(), vec![Label::Number(4.8), Label::Number(0.0)]));
    }

    #[test]
    fn both_layouts_of_cola_are_read() {
        let mut files = files();
        let whole = items(task("cola").unwrap());
        let text = files.remove("CoLA/dev.tsv").unwrap();
        let middle = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        files.insert("CoLA/in_domain_dev.tsv".into(), text[..middle].to_vec());
        let missing = task("cola").unwrap().read(&files, Split::Validation).unwrap_err();
        assert_eq!(missing.at, "CoLA/out_of_domain_dev.tsv");
        files.insert("CoLA/out_of_domain_dev.tsv".into(), text[middle..].to_vec());
        let parts = task("cola").unwrap().read(&files, Split::Validation).unwrap();
        let texts = |items: &[Item]| items.iter().map(|item| item.texts.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&parts), texts(&whole));
        assert_eq!(
            (whole[0].at.as_str(), parts[1].at.as_str()),
            ("CoLA/dev.tsv, line 1", "CoLA/out_of_domain_dev.tsv, line 1")
        );
    }

    #[test]
    fn bad_rows_are_named_with_line_and_column() {
        let cases = [
            (
                "rte",
                "RTE/dev.tsv",
                "index\tsentence1\tsentence2\n0\ta\tb\n",
                "no field 'label'",
                "line 2, field 'label'",
            ),
            (
                "rte",
                "RTE/dev.tsv",
                "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tyes\n",
                "'yes' is no label",
                "line 2, field 'label'",
            ),
            (
                "rte",
                "RTE/dev.tsv",
                "index\tsentence1\tsentence2\tlabel\n0\ta\n",
                "2 fields where the table has 4",
                "line 2",
            ),
            (
                "stsb",
                "STS-B/dev.tsv",
                "sentence1\tsentence2\tscore\na\tb\thigh\n",
                "'high' is no number",
                "line 2, field 'score'",
            ),
            (
                "stsb",
                "STS-B/dev.tsv",
                "sentence1\tsentence2\tscore\na\tb\tNaN\n",
                "'NaN' is no number",
                "line 2, field 'score'",
            ),
            (
                "stsb",
                "STS-B/dev.tsv",
                "sentence1\tsentence2\tscore\na\tb\t7\n",
                "outside 0 to 5",
                "line 2, field 'score'",
            ),
            ("cola", "CoLA/dev.tsv", "a\t1\t\n", "3 fields", "line 1"),
        ];
        for (name, path, text, what, at) in cases {
            let mut files = files();
            files.insert(path.into(), text.as_bytes().to_vec());
            let problem = task(name).unwrap().read(&files, Split::Validation).unwrap_err();
            assert!(problem.what.contains(what) && problem.at == format!("{path}, {at}"), "{problem:?}");
            assert!(!problem.next.is_empty(), "{problem:?}");
        }
        let mut files = files();
        files.insert("RTE/dev.tsv".into(), b"index\tsentence1\n\xff".to_vec());
        let problem = task("rte").unwrap().read(&files, Split::Validation).unwrap_err();
        assert_eq!(problem.at, "RTE/dev.tsv, line 2");
    }
}
