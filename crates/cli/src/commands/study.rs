//! `stratune study`

use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use stratune_protocol::{EndReason, Problem, ProblemKind};
use stratune_runtime::{Control, RunRequest, free_memory};
use stratune_study::{
    HeldOut, PlannedRun, Record, Study, Summary, TaskScore, Training, filled, filled_table, fingerprint, markdown,
    plot, read_records,
};
use stratune_train::{Event, RunConfig};

use crate::machine::made;
use crate::{interrupt, open};

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

/// How long a run that was asked to stop may take to write its checkpoint. A run that did not hear of it, as only the terminal
/// tells all of its processes, goes on from its last checkpoint later.
const PATIENCE: Duration = Duration::from_secs(30);

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
            let config = toml_of(run)
                .and_then(|toml| RunConfig::from_toml(&toml))
                .map_err(|problem| within(&run.id, problem))?;
            config.validate().map_err(|problem| within(&run.id, problem))?;
            if config.data.files.is_empty() {
                return Err(Problem::input("no data is named").at(&run.id).next("name files: [run.data] files = […]"));
            }
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
            running: Mutex::new((0, there.iter().map(|record| record.training.memory_bytes).max().unwrap_or(0))),
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
                Ok(Some(record)) => running.1 = running.1.max(record.training.memory_bytes),
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

    /// Trains, judges, and writes the record; none if it was interrupted.
    fn one(&self, run: &PlannedRun) -> Result<Option<Record>, Problem> {
        let folder = self.out.join(&run.id);
        let Some(events) = self.train(run, &folder)? else { return Ok(None) };
        let mut record = Record {
            id: run.id.clone(),
            values: run.values.clone(),
            seed: run.seed,
            fingerprint: fingerprint(self.study, run),
            training: Training::of(events.lines()),
            made: made(),
            ..Record::default()
        };
        let of: RunConfig = RunConfig::from_toml(&toml_of(run)?)?;
        let dtype = of.base_dtype.to_string();
        let judged = ["eval", "--json", "--model", &of.model, "--base-dtype", &dtype, "--adapter", text(&folder)?];
        if let Some(rows) = &self.study.held_out {
            let rows = &filled(rows, &variable)?;
            self.tell(&run.id, "held-out rows");
            let length = of.data.max_length.to_string();
            let Some(measured) = self.answer(&[&judged[..], &["--max-length", &length, "--data", rows]].concat())?
            else {
                return Ok(None);
            };
            record.held_out = Some(serde_json::from_value::<HeldOut>(measured).map_err(unreadable)?);
        }
        for task in &self.study.tasks {
            self.tell(&run.id, &task.name);
            let limit = task.limit.map(|limit| limit.to_string());
            let data = filled(&task.data, &variable)?;
            let mut arguments =
                [&judged[..], &["--task", &task.name, "--judge", &task.judge, "--data", &data]].concat();
            if let Some(limit) = &limit {
                arguments.extend(["--limit", limit]);
            }
            let Some(measured) = self.answer(&arguments)? else { return Ok(None) };
            record.scores.extend(scores(&task.name, &measured));
        }
        let line = serde_json::to_string(&record).map_err(unreadable)?;
        // One line at once: parallel runs do not mix theirs.
        let file = fs::OpenOptions::new().create(true).append(true).open(&self.results);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|e| open::cannot_write(&self.results, &e))?;
        Ok(Some(record))
    }

    /// Trains, or goes on where an earlier study was interrupted, or takes what it has trained; gives the run's events. None
    /// if it was interrupted.
    fn train(&self, run: &PlannedRun, folder: &Path) -> Result<Option<String>, Problem> {
        let [config, log] = ["toml", "events.jsonl"].map(|end| self.out.join(format!("{}.{end}", run.id)));
        let wanted = toml_of(run)?;
        let same = fs::read_to_string(&config).is_ok_and(|there| there == wanted);
        let events = || fs::read_to_string(&log).unwrap_or_default();
        if same && is_complete(&events()) {
            return Ok(Some(events()));
        }
        let mut arguments = vec!["train", "--json", "--out", text(folder)?];
        if same && folder.join("checkpoint.safetensors").exists() {
            arguments.push("--resume");
        } else {
            // What is in the folder is of another configuration, and stays until this run has its first checkpoint.
            write(&log, "")?;
            write(&config, &wanted)?;
            arguments.extend(["--config", text(&config)?, "--overwrite"]);
        }
        self.tell(&run.id, "training");
        let (status, _) = self.child(&arguments, Some(&log))?;
        if status.code().is_none_or(|code| code == i32::from(interrupt::EXIT_CODE)) {
            return Ok(None);
        }
        failure(status, &events())?;
        Ok(Some(events()))
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

    /// What this program says when it is called with these arguments: its standard output, to a file's end if one is named.
    fn child(&self, arguments: &[&str], log: Option<&Path>) -> Result<(ExitStatus, Vec<u8>), Problem> {
        let itself = std::env::current_exe().map_err(no_child)?;
        let mut command = Command::new(itself);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
        if let Some(log) = log {
            let file = fs::OpenOptions::new().create(true).append(true).open(log);
            command.stdout(file.map_err(|e| open::cannot_write(log, &e))?);
        }
        let mut child = command.spawn().map_err(no_child)?;
        // It is read while the child runs: a pipe that is full would halt it.
        let stdout = child.stdout.take();
        let reader = thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(mut stdout) = stdout {
                let _ = stdout.read_to_end(&mut said);
            }
            said
        });
        let mut asked: Option<Instant> = None;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(no_child)? {
                break status;
            }
            if self.control.request() == RunRequest::Stop && asked.get_or_insert_with(Instant::now).elapsed() > PATIENCE
            {
                let _ = child.kill();
            }
            thread::sleep(Duration::from_millis(50));
        };
        Ok((status, reader.join().unwrap_or_default()))
    }

    /// The JSON that a measurement prints last; none if it was interrupted.
    fn answer(&self, arguments: &[&str]) -> Result<Option<Value>, Problem> {
        let (status, stdout) = self.child(arguments, None)?;
        if status.code().is_none() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&stdout);
        failure(status, &said)?;
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).map(Some).map_err(unreadable)
    }
}

/// Whether a run's events tell that it came to its end.
fn is_complete(events: &str) -> bool {
    let ended = |line: &str| match Event::from_line(line) {
        Some(Event::Ended { reason, .. }) => Some(reason != EndReason::Stopped),
        _ => None,
    };
    events.lines().rev().find_map(ended) == Some(true)
}

/// The problem that a program told before it ended, if it did not end well.
fn failure(status: ExitStatus, events: &str) -> Result<(), Problem> {
    if status.success() {
        return Ok(());
    }
    let told = |line: &str| match Event::from_line(line) {
        Some(Event::Problem(problem)) => Some(problem),
        _ => None,
    };
    let unknown = || Problem::new(ProblemKind::Internal, format!("the run ended with {status}"));
    Err(events.lines().rev().find_map(told).unwrap_or_else(unknown))
}

/// Metrics of a task's report.
fn scores(task: &str, report: &Value) -> Vec<TaskScore> {
    let all = report["scores"].as_array().map(Vec::as_slice).unwrap_or_default();
    let score = |score: &Value| {
        Some(TaskScore {
            task: task.into(),
            metric: score["metric"].as_str()?.into(),
            value: score["value"].as_f64()?,
            items: score["items"].as_u64()? as usize,
        })
    };
    all.iter().filter_map(score).collect()
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

/// A run's configuration, as this machine has its files.
fn toml_of(run: &PlannedRun) -> Result<String, Problem> {
    toml::to_string(&filled_table(&run.config, &variable)?).map_err(unreadable)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn text(path: &Path) -> Result<&str, Problem> {
    path.to_str().ok_or_else(|| Problem::input("the path is not text").at(path.display().to_string()).next("rename it"))
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

fn no_child(e: std::io::Error) -> Problem {
    Problem::new(ProblemKind::Internal, format!("a run cannot be started: {e}"))
}
