//! Tasks of the literature, for `stratune eval`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::de::DeserializeOwned;
use stratune_protocol::Problem;
use stratune_session::{Base, JudgeOptions, TaskReport, judge, judge_labels};
use stratune_tasks::{Family, Folder, Judge, Split, Task, task};

use crate::{open, report};

/// What to judge by.
#[derive(Args, Clone)]
#[command(next_help_heading = "Task (crates/tasks/README.md lists them)")]
pub struct TaskFlags {
    /// Judge by this task, such as boolq or glue/rte; --data is the folder of its files then
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// How an answer is found: likelihood, the likeliest of the choices; generated, what the model writes; or classifier, which is what models with one are judged by [default: likelihood]
    #[arg(long, value_parser = named::<Judge>, requires = "task")]
    judge: Option<Judge>,
    /// Divide log-likelihoods by the length of their choice in characters
    #[arg(long, requires = "task")]
    normalised: bool,
    /// train, validation or test [default: the one that publications report]
    #[arg(long, value_parser = named::<Split>, requires = "task")]
    split: Option<Split>,
    /// Judge this many items, the first; all if it is not given
    #[arg(long, requires = "task")]
    limit: Option<usize>,
    /// Most tokens of an answer that is written [default: 32, of calculations 256]
    #[arg(long, requires = "task")]
    max_tokens: Option<usize>,
    /// Write what came of each item to this file, a line of JSON each
    #[arg(long, value_name = "FILE", requires = "task")]
    answers: Option<PathBuf>,
}

/// One of several names.
fn named<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|e| e.to_string())
}

/// A task with its items.
pub struct OpenedTask<'a> {
    task: &'static Task,
    files: Folder,
    flags: &'a TaskFlags,
}

impl TaskFlags {
    /// The task that was asked for, its files read; none if none was.
    ///
    /// # Errors
    /// There is none of that name, its files are not there, or they are no such files.
    pub fn open(&self, data: &[String]) -> Result<Option<OpenedTask<'_>>, Problem> {
        let Some(name) = &self.task else { return Ok(None) };
        let task = task(name).map_err(|problem| problem.at("--task"))?;
        let [folder] = data else {
            return Err(Problem::input("a task's files are in one folder")
                .at("--data")
                .next(format!("name that folder; {}", task.source)));
        };
        if self.limit == Some(0) {
            return Err(Problem::input("no item is left").at("--limit").next("judge one at least"));
        }
        Ok(Some(OpenedTask { task, files: Folder(folder.into()), flags: self }))
    }
}

impl OpenedTask<'_> {
    /// Judges the model and prints the metrics.
    pub async fn judge(&self, base: &Base, max_length: Option<usize>, json: bool) -> Result<(), Problem> {
        let flags = self.flags;
        let usual = if self.task.family == Family::Math { 256 } else { 32 };
        let options = JudgeOptions {
            judge: flags.judge.unwrap_or(match base.model.config.classifier {
                Some(_) => Judge::Classifier,
                None => Judge::Likelihood,
            }),
            normalised: flags.normalised,
            max_tokens: flags.max_tokens.unwrap_or(usual),
            max_length: max_length.unwrap_or(usize::MAX).min(base.context()),
        };
        let (split, most) = (flags.split.unwrap_or(self.task.judged_on), flags.limit.unwrap_or(usize::MAX));
        let tell = |done: usize, count: usize| {
            if !json {
                report::progress(self.task.name, done, count);
            }
        };
        let judged = if options.judge == Judge::Classifier {
            let mut labelled = self.task.labelled(&self.files, split)?;
            labelled.items.truncate(most);
            let count = labelled.items.len();
            judge_labels(self.task, &labelled, base, &mut |done| tell(done, count)).await?
        } else {
            let mut items = self.task.read(&self.files, split)?;
            items.truncate(most);
            let (count, parts) = (items.len(), (&base.model, &base.tokenizer, &base.template));
            judge(self.task, &items, parts, options, &mut |done| tell(done, count)).await?
        };
        if let Some(path) = &flags.answers {
            write_answers(path, &judged).map_err(|e| open::cannot_write(path, &e))?;
        }
        if json {
            println!("{}", serde_json::to_string(&judged).unwrap_or_default());
            return Ok(());
        }
        for score in &judged.scores {
            let value = score.value.map_or("undefined".into(), |value| format!("{value:.4}"));
            let within = score.interval.map_or(String::new(), |i| format!(" ({:.4} to {:.4})", i.low, i.high));
            let unanswered = match score.unanswered {
                0 => String::new(),
                unanswered => format!(", {unanswered} without an answer"),
            };
            println!("{} {}  {value}{within}, {} items{unanswered}", judged.task, score.metric.name(), score.items);
        }
        Ok(())
    }
}

fn write_answers(path: &PathBuf, judged: &TaskReport) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for item in &judged.items {
        writeln!(file, "{}", serde_json::to_string(item)?)?;
    }
    file.flush()
}
