//! One run of a study: it searches where it is a search, trains, and is judged, each by the command that a person would use.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use stratune_peft::STRUCTURE_JSON;
use stratune_protocol::{EndReason, Problem, ProblemKind};
use stratune_runtime::RunRequest;
use stratune_study::{
    HeldOut, PlannedRun, Record, Searched, TaskScore, Training, filled, filled_table, fingerprint, short_hash,
};
use stratune_train::{Event, RunConfig};
use toml::Table;

use super::{Going, unreadable, variable, write};
use crate::machine::made;
use crate::{interrupt, open};

/// How long a run that was asked to stop may take to write its checkpoint. A run that did not hear of it, as only the terminal
/// tells all of its processes, goes on from its last checkpoint later.
const PATIENCE: Duration = Duration::from_secs(30);

impl Going<'_> {
    /// Searches if it is a search, trains, judges, and writes the record; none if it was interrupted.
    pub(super) fn one(&self, run: &PlannedRun) -> Result<Option<Record>, Problem> {
        let folder = self.out.join(&run.id);
        let config = filled_table(&run.config, &variable)?;
        let (searched, wanted) = match phases(&config) {
            (None, training) => (None, toml::to_string(&training).map_err(unreadable)?),
            (Some(searching), training) => {
                let Some((searched, wanted)) = self.search(run, &searching, training)? else { return Ok(None) };
                (Some(searched), wanted)
            }
        };
        let Some(events) = self.phase("train", &run.id, "training", &wanted, &folder)? else { return Ok(None) };
        let mut record = Record {
            id: run.id.clone(),
            values: run.values.clone(),
            seed: run.seed,
            fingerprint: fingerprint(self.study, run),
            searched,
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

    /// Searches, and gives what that took and the configuration that trains what was found. None if it was interrupted.
    fn search(
        &self,
        run: &PlannedRun,
        searching: &Table,
        mut training: Table,
    ) -> Result<Option<(Searched, String)>, Problem> {
        let id = format!("{}.search", run.id);
        let structure = self.out.join(&id).join(STRUCTURE_JSON);
        let wanted = toml::to_string(searching).map_err(unreadable)?;
        let Some(events) = self.phase("search", &id, "searching", &wanted, &structure)? else { return Ok(None) };
        let Training { steps, seconds, memory_bytes, .. } = Training::of(events.lines());
        // The configuration is read from the study's folder, and names what is beside it.
        training.insert("method".into(), format!("{id}/{STRUCTURE_JSON}").into());
        let found = short_hash(&open::read(&structure)?);
        // With another structure it is another run, though its configuration says the same.
        let wanted = format!("# structure {found}\n{}", toml::to_string(&training).map_err(unreadable)?);
        Ok(Some((Searched { steps, seconds, memory_bytes }, wanted)))
    }

    /// Runs `train` or `search` on a configuration, or goes on where an earlier study was interrupted, or takes the `result`
    /// that is there already; gives the events. None if it was interrupted.
    fn phase(
        &self,
        command: &str,
        id: &str,
        what: &str,
        wanted: &str,
        result: &Path,
    ) -> Result<Option<String>, Problem> {
        let folder = self.out.join(id);
        let [config, log] = ["toml", "events.jsonl"].map(|end| self.out.join(format!("{id}.{end}")));
        let same = fs::read_to_string(&config).is_ok_and(|there| there == wanted);
        let events = || fs::read_to_string(&log).unwrap_or_default();
        if same && is_complete(&events()) && result.exists() {
            return Ok(Some(events()));
        }
        let mut arguments = vec![command, "--json", "--out", text(&folder)?];
        if same && folder.join("checkpoint.safetensors").exists() {
            arguments.push("--resume");
        } else {
            // What is in the folder is of another configuration, and stays until this run has its first checkpoint.
            write(&log, "")?;
            write(&config, wanted)?;
            arguments.extend(["--config", text(&config)?, "--overwrite"]);
        }
        self.tell(id, what);
        let (status, _) = self.child(&arguments, Some(&log))?;
        if status.code().is_none_or(|code| code == i32::from(interrupt::EXIT_CODE)) {
            return Ok(None);
        }
        failure(status, &events())?;
        Ok(Some(events()))
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

/// A configuration as it searches, if it does: all layers train then. And as it trains, which may be under IST.
pub(super) fn phases(config: &Table) -> (Option<Table>, Table) {
    let mut training = config.clone();
    let searches = training.remove("search").is_some();
    let mut searching = config.clone();
    searching.remove("ist");
    (searches.then_some(searching), training)
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

/// A run's configuration, as this machine has its files.
fn toml_of(run: &PlannedRun) -> Result<String, Problem> {
    toml::to_string(&filled_table(&run.config, &variable)?).map_err(unreadable)
}

/// Checks what a run is made of: its search, if it has one, and its training.
pub(super) fn check(run: &PlannedRun) -> Result<(), Problem> {
    let (searching, training) = phases(&filled_table(&run.config, &variable)?);
    for config in searching.iter().chain([&training]) {
        let config = RunConfig::from_toml(&toml::to_string(config).map_err(unreadable)?)?;
        config.validate()?;
        if config.data.files.is_empty() {
            return Err(Problem::input("no data is named").next("name files: [run.data] files = […]"));
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str, Problem> {
    path.to_str().ok_or_else(|| Problem::input("the path is not text").at(path.display().to_string()).next("rename it"))
}

fn no_child(e: std::io::Error) -> Problem {
    Problem::new(ProblemKind::Internal, format!("a run cannot be started: {e}"))
}
