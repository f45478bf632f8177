//! What a task is, and the list of them.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use stratune_protocol::Problem;

use crate::answer::Answers;
use crate::files::{Source, TaskFiles};
use crate::item::{Item, Label};
use crate::metrics::Metric;
use crate::own::OwnData;
use crate::{classification, commonsense, glue, math, superglue};

/// Where a task is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// The eight sets on which LLM-Adapters and its successors are compared.
    Commonsense,
    /// The sets of calculations of LLM-Adapters.
    Math,
    /// GLUE (Wang et al. 2019).
    Glue,
    /// SuperGLUE (Wang et al. 2019).
    SuperGlue,
    /// One text, one of several labels; also rows of one's own.
    Classification,
}

impl Family {
    /// Its name before the name of a task, `glue/RTE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commonsense => "commonsense",
            Self::Math => "math",
            Self::Glue => "glue",
            Self::SuperGlue => "superglue",
            Self::Classification => "classification",
        }
    }
}

/// Which part of a task's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Rows to train on.
    Train,
    /// Rows to choose settings by.
    Validation,
    /// Rows to report.
    Test,
}

impl Split {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// How an answer is got out of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judge {
    /// The model writes, and the answer is found in its text, by the rules of LLM-Adapters where the task is theirs:
    /// [`Task::extract`].
    Generated,
    /// Of all choices the likeliest continuation, as lm-evaluation-harness states the task: [`Task::predict`].
    Likelihood,
    /// What the classifier of a model says that was trained on labels: [`Task::labelled`].
    Classifier,
}

impl Judge {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Likelihood => "likelihood",
            Self::Classifier => "classifier",
        }
    }
}

/// The paths at which each split is looked for, in their order.
pub type Paths = &'static [(Split, &'static [&'static str])];

/// The items of a split, out of a file that was found.
pub(crate) type Read = fn(Split, &Source) -> Result<Vec<Item>, Problem>;

/// Where a task's rows are from.
pub(crate) enum Rows {
    /// Files as somebody published them.
    Published(Read),
    /// Files of one's own.
    Own(OwnData),
}

/// What is asked, where its rows are, and how answers are judged.
pub struct Task {
    /// Its name, as its publishers write it. Two families may have a name in common, see [`task`].
    pub name: &'static str,
    /// Where it is from.
    pub family: Family,
    /// How answers are judged; the first is the one that tables show.
    pub metrics: &'static [Metric],
    /// Where people get its files.
    pub source: &'static str,
    /// The split that publications report, of those whose labels are public.
    pub judged_on: Split,
    /// The files of each split, in the order in which they are looked for; none of own rows, which name theirs.
    pub files: Paths,
    pub(crate) answers: Answers,
    pub(crate) read: Rows,
}

impl Task {
    /// The task with another place to get it.
    pub(crate) const fn with_source(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }

    /// The task with another way to find answers in text.
    pub(crate) const fn with_answers(mut self, answers: Answers) -> Self {
        self.answers = answers;
        self
    }

    /// Its name with its family's: `glue/RTE`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.family.name(), self.name)
    }

    /// The names of its classes in their order, if all items have the same; empty where items have choices of their own.
    pub fn labels(&self, items: &[Item]) -> Vec<String> {
        let answers = |item: &Item| item.choices.iter().map(|choice| choice.answer.clone()).collect::<Vec<_>>();
        let first = items.first().map(answers).unwrap_or_default();
        let is_choice = |item: &Item| matches!(item.label, Label::Choice(_));
        if items.iter().all(|item| is_choice(item) && answers(item) == first) { first } else { vec![] }
    }

    /// The ways in which it can be judged: by what is written always, by likelihood where items have choices.
    pub fn judges(&self) -> &'static [Judge] {
        match (self.answers, &self.read) {
            (Answers::LastNumber, _) | (Answers::Text, Rows::Own(_)) => &[Judge::Generated],
            _ => &[Judge::Generated, Judge::Likelihood],
        }
    }

    /// The items of a split.
    ///
    /// # Errors
    /// No file of the split is there; a row lacks a field, or its label is none of the task's: file, row and field.
    pub fn read(&self, files: &dyn TaskFiles, split: Split) -> Result<Vec<Item>, Problem> {
        let read = match &self.read {
            Rows::Published(read) => read,
            Rows::Own(own) => return own.read(files, split),
        };
        let Some((_, paths)) = self.files.iter().find(|(of, _)| *of == split) else {
            let has: Vec<&str> = self.files.iter().map(|(of, _)| of.name()).collect();
            return Err(Problem::input(format!("{} has no {} rows", self.full_name(), split.name()))
                .next(format!("it has {}", has.join(", "))));
        };
        let Some(source) = paths.iter().find_map(|path| Source::find(files, path)) else {
            return Err(Problem::input(format!("the {} rows of {} are not there", split.name(), self.full_name()))
                .at(paths.join(" or "))
                .next(format!("get them: {}", self.source)));
        };
        let items =
            read(split, &source).map_err(|problem| problem.or_next(&format!("get its files: {}", self.source)))?;
        if items.is_empty() {
            return Err(Problem::input("the file has no rows")
                .at(&source.path)
                .next(format!("get it: {}", self.source)));
        }
        Ok(items)
    }
}

/// The families in the order in which a bare name is looked up.
static TASKS: LazyLock<Vec<&'static Task>> = LazyLock::new(|| {
    [commonsense::TASKS, math::TASKS, glue::TASKS, superglue::TASKS, classification::TASKS]
        .into_iter()
        .flatten()
        .collect()
});

/// All tasks. Where two have one name, the first is meant by it.
pub fn tasks() -> &'static [&'static Task] {
    &TASKS
}

/// The task of a name, in which capitals, `-` and `_` do not matter: `arc_easy`, or with the family, `glue/rte`.
/// A name alone that several families have means the first of [`tasks`]: `boolq` is `commonsense/boolq`.
///
/// # Errors
/// There is none of that name: says which names are near.
pub fn task(name: &str) -> Result<&'static Task, Problem> {
    let asked = plain(name);
    let found = tasks().iter().find(|task| plain(task.name) == asked || plain(&task.full_name()) == asked);
    found.copied().ok_or_else(|| {
        let last = asked.rsplit('/').next().unwrap_or_default();
        let is_near = |task: &Task| {
            let own = plain(task.name);
            let is_like = own.contains(last) || last.contains(&own) || distance(&own, last) <= 2.min(own.len() / 2);
            !last.is_empty() && is_like || asked == plain(task.family.name())
        };
        let near: Vec<String> = tasks().iter().filter(|task| is_near(task)).map(|task| task.full_name()).collect();
        let next = if near.is_empty() {
            let all: Vec<String> = tasks().iter().map(|task| task.full_name()).collect();
            format!("the tasks are {}", all.join(", "))
        } else {
            format!("near it are {}", near.join(", "))
        };
        Problem::input(format!("there is no task '{name}'")).next(next)
    })
}

/// A name without what does not matter in it.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric() || *c == '/').flat_map(char::to_lowercase).collect()
}

/// Letters to put in, take out or change to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_near_ones_told() {
        let cases = [
            ("boolq", "commonsense/boolq"),
            ("BoolQ", "commonsense/boolq"),
            ("superglue/boolq", "superglue/BoolQ"),
            ("rte", "glue/RTE"),
            ("superglue/RTE", "superglue/RTE"),
            ("arc_easy", "commonsense/ARC-Easy"),
            ("sst2", "glue/SST-2"),
            ("socialIQa", "commonsense/social_i_qa"),
            ("mnli-mm", "glue/MNLI-mm"),
        ];
        for (name, expected) in cases {
            assert_eq!(task(name).map(|task| task.full_name()), Ok(expected.to_owned()), "{name}");
        }
        let told = |name: &str| task(name).err().map(|problem| problem.next).unwrap_or_default();
        assert!(told("winogrand").contains("commonsense/winogrande"), "{}", told("winogrand"));
        assert!(told("glue/sts").contains("glue/STS-B"));
        assert!(told("mnlii").contains("glue/MNLI") && !told("mnlii").contains("boolq"), "{}", told("mnlii"));
        assert!(told("quartz").contains("the tasks are commonsense/boolq, "));
        assert!(told("").contains("the tasks are "));
    }

    #[test]
    fn what_has_choices_can_be_ranked() {
        for task in tasks() {
            let items = crate::fixtures::items(task);
            let has_choices = items.iter().all(|item| !item.choices.is_empty());
            assert_eq!(task.judges().contains(&Judge::Likelihood), has_choices, "{}", task.full_name());
        }
    }

    /// The table of the README is made from the list.
    #[test]
    fn the_readme_lists_the_tasks() {
        let row = |task: &&Task| {
            let files = |split: Split| {
                let of = task.files.iter().filter(|(of, _)| *of == split).flat_map(|(_, paths)| *paths);
                let paths = of.map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" ");
                if split == task.judged_on { format!("**{paths}**") } else { paths }
            };
            let splits = [Split::Train, Split::Validation, Split::Test].map(files).join(" | ");
            let metrics: Vec<&str> = task.metrics.iter().map(|metric| metric.name()).collect();
            let is_ranked = if task.judges().contains(&Judge::Likelihood) { "yes" } else { "no" };
            format!("| `{}` | {splits} | {} | {is_ranked} |", task.full_name(), metrics.join(", "))
                .replace("|  |", "| |")
        };
        let table: Vec<String> = tasks().iter().map(row).collect();
        let table = table.join("\n");
        assert!(include_str!("../README.md").contains(&format!("\n{table}\n")), "the rows should be\n{table}");
    }

    #[test]
    fn full_names_are_distinct() {
        let mut names: Vec<String> = tasks().iter().map(|task| plain(&task.full_name())).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), tasks().len());
    }

    #[test]
    fn letters_between_words_are_counted() {
        for (a, b, expected) in
            [("", "", 0), ("", "ab", 2), ("mnli", "mnlii", 1), ("piqa", "siqa", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
