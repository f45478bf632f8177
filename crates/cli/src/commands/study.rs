//! `stratune study`

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use stratune_protocol::{Problem, ProblemKind};
use stratune_runtime::{Control, RunRequest, free_memory};
use stratune_study::{PlannedRun, Record, Study, Summary, filled, fingerprint, markdown, plot, read_records};

use self::one_run::check;
use crate::{interrupt, open};

mod one_run;

/// Train every combination of a study's file, and make its table; a study that was interrupted goes on.
#[derive(Args)]
pub struct StudyCommand {
    /// The study: a TOML file, such as those in tests/studies
    study: PathBuf,
    /// Folder for runs, results.jsonl, table.md and curves.svg [default: beside the file, by its name]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs at once, as far as memory allows
    #[arg(long, default_value_t = 1)]
    parallel: usize,
    /// Do this many of the missing runs; all if it is not given. With 0 the table is made of what there is
    #[arg(long)]
    limit: Option<usize>,
}

/// A run's share of free memory that is not used: the estimate of the system is none to the byte.
const MARGIN: f64 = 1.3;

/// A study that is going on.
struct Going<'a> {
    control: Control,
    study: &'a Study,
    out: &'a Path,
    results: PathBuf,
    todo: Mutex<VecDeque<PlannedRun>>,
    /// Runs that are going on, and the most memory that one took.
    running: Mutex<(usize, u64)>,
    failed: Mutex<Vec<Problem>>,
    stopped: AtomicBool,
    json: bool,
}

impl StudyCommand {
    /// Does what is missing, and writes the table. The exit code is 1 if a run failed, and 130 after an interruption.
    pub async fn run(self, json: bool) -> Result<u8, Problem> {
        let at = self.study.display().to_string();
        let text = String::from_utf8(open::read(&self.study)?)
            .map_err(|_| Problem::input("the study is not text in UTF-8").at(&at).next("save it as UTF-8"))?;
        let study = Study::from_toml(&text).map_err(|problem| within(&at, problem))?;
        let runs = study.runs();
        for text in study.held_out.iter().chain(study.tasks.iter().map(|task| &task.data)) {
            filled(text, &variable).map_err(|problem| within(&at, problem))?;
        }
        for run in &runs {
            // What no run could be made of is told before the first.
            check(run).map_err(|problem| within(&run.id, problem))?;
        }
        let out = self.out.unwrap_or_else(|| self.study.with_extension(""));
        fs::create_dir_all(&out).map_err(|e| open::cannot_write(&out, &e))?;
        let results = out.join("results.jsonl");
        let is_done = |records: &[Record], run: &PlannedRun| {
            let print = fingerprint(&study, run);
            records.iter().any(|record| record.id == run.id && record.fingerprint == print)
        };
        let there = records(&results)?;
        let missing = runs.iter().filter(|run| !is_done(&there, run)).cloned();
        let todo: VecDeque<PlannedRun> = missing.take(self.limit.unwrap_or(usize::MAX)).collect();
        if !json {
            eprintln!("study    {} · {} runs, {} to do", study.name, runs.len(), todo.len());
        }
        let control = interrupt::control()?;
        let going = Going {
            control,
            study: &study,
            out: &out,
            results: results.clone(),
            todo: Mutex::new(todo),
            running: Mutex::new((0, there.iter().map(Record::memory_bytes).max().unwrap_or(0))),
            failed: Mutex::new(Vec::new()),
            stopped: AtomicBool::new(false),
            json,
        };
        // An interruption is heard by the runs, too: they are of the same process group, and end with a checkpoint.
        thread::scope(|scope| {
            for _ in 0..self.parallel.max(1) {
                scope.spawn(|| going.work());
            }
        });
        // Of a run that was done again the last record counts; those of other versions of the file do not.
        let mut done: Vec<Record> = Vec::new();
        for record in records(&results)?.into_iter().rev() {
            let is_of_study =
                runs.iter().any(|run| run.id == record.id && fingerprint(&study, run) == record.fingerprint);
            if is_of_study && !done.iter().any(|newer| newer.id == record.id) {
                done.push(record);
            }
        }
        done.reverse();
        let command = format!("stratune study {}", self.study.display());
        let table = markdown(&study, &Summary::of(&study, &done), &done, &command);
        write(&out.join("table.md"), &table)?;
        if let Some(svg) = plot(&study, &done) {
            write(&out.join("curves.svg"), &svg)?;
        }
        if !json {
            println!("{table}");
        }
        for problem in unlocked(&going.failed).iter() {
            crate::report::problem(problem, json);
        }
        Ok(match (going.is_stopped(), unlocked(&going.failed).is_empty()) {
            (true, _) => interrupt::EXIT_CODE,
            (_, true) => 0,
            (_, false) => 1,
        })
    }
}

impl Going<'_> {
    /// One run after another, as long as there is one.
    fn work(&self) {
        loop {
            if self.is_stopped() {
                return;
            }
            let Some(run) = self.next() else { return };
            let came = self.one(&run);
            let mut running = unlocked(&self.running);
            running.0 -= 1;
            match came {
                Ok(Some(record)) => running.1 = running.1.max(record.memory_bytes()),
                Ok(None) => self.stopped.store(true, Ordering::Relaxed),
                Err(problem) => unlocked(&self.failed).push(within(&run.id, problem)),
            }
        }
    }

    /// The next run, once there is room for it: the first goes on alone, since none knows what it takes.
    fn next(&self) -> Option<PlannedRun> {
        loop {
            {
                let mut running = unlocked(&self.running);
                let (now, most) = *running;
                let fits = most > 0 && free_memory().is_none_or(|free| free as f64 > MARGIN * most as f64);
                if now == 0 || fits {
                    let run = unlocked(&self.todo).pop_front();
                    running.0 += usize::from(run.is_some());
                    return run;
                }
            }
            if unlocked(&self.todo).is_empty() || self.is_stopped() {
                return None;
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.control.request() == RunRequest::Stop
    }

    fn tell(&self, run: &str, what: &str) {
        if !self.json {
            let left = unlocked(&self.todo).len();
            eprintln!("{run}: {what} ({left} more runs)");
        }
    }
}

/// The records there are. What a study that was killed has left of a line is taken away: the next begins a line.
fn records(path: &Path) -> Result<Vec<Record>, Problem> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&open::read(path)?).into_owned();
    let records = read_records(&text)?;
    if !text.ends_with('\n') {
        write(path, &text[..text.rfind('\n').map_or(0, |end| end + 1)])?;
    }
    Ok(records)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    let beside = path.with_extension("partial");
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(|e| open::cannot_write(path, &e))
}

fn unlocked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The same problem, of this part.
fn within(part: &str, problem: Problem) -> Problem {
    let at = if problem.at.is_empty() { part.to_string() } else { format!("{part}, {}", problem.at) };
    problem.at(at)
}

fn unreadable(e: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Internal, format!("what a run told cannot be read: {e}"))
}
