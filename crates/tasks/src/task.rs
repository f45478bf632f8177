//! What a task is, and the list of them.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use stratune_protocol::Problem;

use crate::answer::Answers;
use crate::commonsense;
use crate::files::{Source, TaskFiles};
use crate::item::{Item, Label};
use crate::metrics::Metric;

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
}

/// Rows of a found file.
pub(crate) type Read = fn(&Task, &Source) -> Result<Vec<Item>, Problem>;

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
    /// The files of each split, in the order in which they are looked for.
    pub files: &'static [(Split, &'static [&'static str])],
    pub(crate) answers: Answers,
    pub(crate) read: Read,
}

impl Task {
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

    /// The items of a split.
    ///
    /// # Errors
    /// No file of the split is there; a row lacks a field, or its label is none of the task's: file, row and field.
    pub fn read(&self, files: &dyn TaskFiles, split: Split) -> Result<Vec<Item>, Problem> {
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
        let source = source?;
        let items = (self.read)(self, &source)?;
        if items.is_empty() {
            return Err(Problem::input("the file has no rows")
                .at(&source.path)
                .next(format!("get it: {}", self.source)));
        }
        Ok(items)
    }
}

/// The families in the order in which a bare name is looked up.
static TASKS: LazyLock<Vec<&'static Task>> = LazyLock::new(|| [commonsense::TASKS].into_iter().flatten().collect());

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
        let is_near = |task: &Task| {
            let own = plain(task.name);
            let last = asked.rsplit('/').next().unwrap_or_default();
            let family = plain(task.family.name());
            own.contains(last) && !last.is_empty()
                || last.contains(&own)
                || distance(&own, last) <= 2
                || asked == family
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
