//! Tasks as texts with labels: what classifiers, and models that give a number, are trained on and judged by.

use serde_json::{Map, Value};
use stratune_protocol::Problem;

use crate::files::TaskFiles;
use crate::item::{Item, Label};
use crate::task::{Family, Split, Task};

/// Of GLUE, SuperGLUE and classification those whose items have choices of their own.
const OWN_CHOICES: [&str; 2] = ["COPA", "ReCoRD"];

/// A task's items as texts with labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// The names of the classes in their order; none where labels are numbers.
    pub classes: Option<Vec<String>>,
    /// The items, in the order of the file: `texts` are one or two, `label` is the class or the number, `choices` are left
    /// out, and [`Task::score`] takes them with a prediction each.
    pub items: Vec<Item>,
}

impl Task {
    /// Whether its items are texts with labels: those of GLUE, SuperGLUE and classification, but for the ones whose items
    /// have choices of their own.
    pub fn is_labelled(&self) -> bool {
        matches!(self.family, Family::Glue | Family::SuperGlue | Family::Classification)
            && !OWN_CHOICES.contains(&self.name)
    }

    /// The rows of a split as texts with labels.
    ///
    /// # Errors
    /// As of [`read`](Self::read), or the task's answers are no classes of texts and no numbers.
    pub fn labelled(&self, files: &dyn TaskFiles, split: Split) -> Result<Labelled, Problem> {
        let others = || {
            Problem::input(format!("the answers of {} are no classes and no numbers of its texts", self.full_name()))
                .at("task")
                .next("judge it by likelihood or by what a model writes, or choose another task")
        };
        if !self.is_labelled() {
            return Err(others());
        }
        let mut items = self.read(files, split)?;
        let is_numbers = items.iter().all(|item| matches!(item.label, Label::Number(_)));
        let classes = self.labels(&items);
        if !is_numbers && classes.is_empty() {
            return Err(others());
        }
        // The same for all, and many: CLINC150 would have two million.
        items.iter_mut().for_each(|item| item.choices = Vec::new());
        Ok(Labelled { classes: (!is_numbers).then_some(classes), items })
    }
}

impl Labelled {
    /// Each item's text, its second text, and its label.
    pub fn rows(&self) -> impl Iterator<Item = (&str, Option<&str>, &Label)> {
        self.items.iter().map(|item| (item.texts.first().map_or("", String::as_str), pair(item), &item.label))
    }

    /// The rows as JSON lines of `text`, `text_pair` and `label`, the label as the name of its class or as a number: a file
    /// to train on.
    pub fn json_lines(&self) -> String {
        let mut lines = String::new();
        for (text, pair, label) in self.rows() {
            let mut row = Map::new();
            row.insert("text".into(), text.into());
            row.extend(pair.map(|pair| ("text_pair".to_owned(), Value::from(pair))));
            let label = match label {
                Label::Choice(class) => {
                    self.classes.iter().flatten().nth(*class).map_or(Value::Null, |c| c.as_str().into())
                }
                Label::Number(number) => Value::from(*number),
                Label::Text(_) => Value::Null,
            };
            row.insert("label".into(), label);
            lines += &Value::from(row).to_string();
            lines.push('\n');
        }
        lines
    }

    /// Which of the task's classes each of a model's is, by its name, in which capitals, `-`, `_` and spaces do not matter;
    /// by its number if the model calls its classes `LABEL_0` and so on.
    ///
    /// # Errors
    /// The task has no classes, or the model's are others.
    pub fn places(&self, known: &[String]) -> Result<Vec<usize>, Problem> {
        let Some(classes) = &self.classes else {
            return Err(Problem::input("the task asks for a number, and the model gives classes")
                .next("choose a model that gives a number, or another task"));
        };
        let plain = |name: &str| {
            let letters = name.chars().filter(|letter| !matches!(letter, '-' | '_' | ' '));
            letters.collect::<String>().to_lowercase()
        };
        let place = |name: &String| classes.iter().position(|class| plain(class) == plain(name));
        let by_name: Option<Vec<usize>> = known.iter().map(place).collect();
        let is_numbered = known.iter().enumerate().all(|(n, name)| *name == format!("LABEL_{n}"));
        let places = by_name.or_else(|| is_numbered.then(|| (0..known.len()).collect()));
        let is_whole = |places: &Vec<usize>| (0..classes.len()).all(|class| places.contains(&class));
        places.filter(|places| places.len() == classes.len() && is_whole(places)).ok_or_else(|| {
            Problem::input(format!("the task's classes are {}, and the model's are {}", listed(classes), listed(known)))
                .next("train the model on the task's rows, or choose one that was")
        })
    }
}

/// The second text.
fn pair(item: &Item) -> Option<&str> {
    item.texts.get(1).map(String::as_str)
}

/// The first few names, and how many more there are.
fn listed(names: &[String]) -> String {
    let first = names.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(8) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fixtures::{files, right};
    use crate::{task, tasks};

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tasks_of_texts_and_classes_are_rows_with_labels() {
        let mut count = 0;
        for task in tasks() {
            let labelled = task.labelled(&files(), task.judged_on);
            if !task.is_labelled() {
                let problem = labelled.unwrap_err();
                assert!(problem.what.contains(&task.full_name()) && !problem.next.is_empty(), "{problem:?}");
                continue;
            }
            let labelled = labelled.unwrap();
            count += 1;
            let lines = labelled.json_lines();
            let lines: Vec<Map<String, Value>> =
                lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), labelled.items.len());
            for (line, item) in lines.iter().zip(&labelled.items) {
                assert!((1..=2).contains(&item.texts.len()), "{item:?}");
                assert_eq!(line["text"], item.texts[0].as_str());
                assert_eq!(line.get("text_pair").and_then(Value::as_str), item.texts.get(1).map(String::as_str));
                match (&labelled.classes, &item.label) {
                    (Some(classes), Label::Choice(class)) => assert_eq!(line["label"], classes[*class].as_str()),
                    (None, Label::Number(number)) => assert_eq!(line["label"].as_f64(), Some(*number)),
                    other => panic!("{other:?}"),
                }
            }
            let answers: Vec<_> = labelled.items.iter().map(|item| Some(right(item))).collect();
            assert!(task.score(&labelled.items, &answers).unwrap()[0].value.unwrap() > 0.999_999);
        }
        // GLUE's ten, six of SuperGLUE's eight, and three of classification.
        assert_eq!(count, 19);
    }

    #[test]
    fn stsb_is_of_numbers_and_copa_has_no_classes() {
        let labelled = |name: &str| task(name).unwrap().labelled(&files(), Split::Validation);
        let stsb = labelled("stsb").unwrap();
        assert_eq!(stsb.classes, None);
        assert_eq!(
            stsb.rows().map(|(_, pair, label)| (pair.is_some(), label.clone())).collect::<Vec<_>>(),
            [4.8, 0.0].map(|n| (true, Label::Number(n)))
        );
        assert!(stsb.places(&owned(&["a"])).unwrap_err().what.contains("asks for a number"));
        assert!(labelled("copa").unwrap_err().what.contains("superglue/COPA"));
        assert!(labelled("record").is_err());
        assert_eq!(task("rte").unwrap().labelled(&BTreeMap::new(), Split::Train).unwrap_err().at, "RTE/train.tsv");
    }

    #[test]
    fn the_classes_of_a_model_are_found_among_the_tasks() {
        let rte = task("rte").unwrap().labelled(&files(), Split::Validation).unwrap();
        assert_eq!(rte.classes.as_deref(), Some(owned(&["entailment", "not_entailment"]).as_slice()));
        for (known, places) in [
            (&["not_entailment", "entailment"][..], Some(vec![1, 0])),
            (&["Entailment", "NOT ENTAILMENT"], Some(vec![0, 1])),
            (&["LABEL_0", "LABEL_1"], Some(vec![0, 1])),
            (&["LABEL_0", "LABEL_1", "LABEL_2"], None),
            (&["entailment"], None),
            (&["entailment", "entailment"], None),
            (&["entailment", "neutral"], None),
            (&[], None),
        ] {
            match (rte.places(&owned(known)), places) {
                (Ok(found), Some(places)) => assert_eq!(found, places),
                (Err(problem), None) => assert!(problem.what.contains("entailment, not_entailment"), "{problem:?}"),
                other => panic!("{known:?} {other:?}"),
            }
        }
    }
}
