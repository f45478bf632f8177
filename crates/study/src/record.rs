//! What came of a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stratune_protocol::{Event, Problem};

use crate::{PlannedRun, Study};

/// What came of a run: a line of `results.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name within the study.
    pub id: String,
    /// The name of its value on each axis.
    pub values: Vec<String>,
    /// Its seed.
    pub seed: u64,
    /// Of its configuration, and of what it is judged by.
    pub fingerprint: String,
    /// What the search took that found what was trained, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched: Option<Searched>,
    /// What its training told.
    pub training: Training,
    /// Loss and exact answers on the study's held-out rows.
    #[serde(default)]
    pub held_out: Option<HeldOut>,
    /// What the tasks gave, in the study's order.
    #[serde(default)]
    pub scores: Vec<TaskScore>,
    /// Where and when.
    pub made: Made,
}

/// What a run's events told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Numbers that trained.
    pub trainable: u64,
    /// Steps done.
    pub steps: usize,
    /// Seconds of training, measuring on the way included.
    pub seconds: f64,
    /// Median of the steps' tokens a second.
    pub tokens_per_second: f64,
    /// Most memory that was in use after a step.
    pub memory_bytes: u64,
    /// Lowest loss on the run's own held-out rows, and its step.
    pub best: Option<(usize, f64)>,
    /// Loss on these rows by the step.
    pub curve: Vec<(usize, f64)>,
    /// What was learned about the layers last: one score each.
    pub layer_scores: Vec<f32>,
}

/// What a search took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    /// Steps done.
    pub steps: usize,
    /// Seconds.
    pub seconds: f64,
    /// Most memory that was in use after a step.
    pub memory_bytes: u64,
}

/// On the study's held-out rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Mean loss of a label, in nats.
    pub loss: f64,
    /// Share of questions that were answered exactly.
    pub exact_match: Option<f64>,
}

/// What a task gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: String,
    /// What it is.
    pub value: f64,
    /// Over how many items.
    pub items: usize,
}

/// Where and when a record was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Version and commit of the program.
    pub version: String,
    /// Processor, threads and memory.
    pub machine: String,
    /// The day, as `2026-11-29`.
    pub date: String,
}

impl Record {
    /// Most memory of the run, its search's among it, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.training.memory_bytes.max(self.searched.map_or(0, |searched| searched.memory_bytes))
    }
}

impl Training {
    /// Reads a run's events, as `stratune train --json` prints them. Lines that are no events are left out.
    pub fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut training = Self::default();
        let mut speeds = Vec::new();
        for event in lines.filter_map(Event::<Value>::from_line) {
            match event {
                Event::Begun { trainable, .. } => training.trainable = trainable,
                Event::Step(step) => {
                    training.steps = step.step;
                    training.memory_bytes = training.memory_bytes.max(step.memory_bytes);
                    speeds.push(step.tokens_per_second);
                }
                Event::Validation { step, loss, .. } => training.curve.push((step, loss)),
                Event::Importance { scores, .. } => training.layer_scores = scores,
                // One for each time that the run was started or gone on with.
                Event::Ended { best, seconds, .. } => {
                    training.best = best;
                    training.seconds += seconds;
                }
                _ => {}
            }
        }
        training.tokens_per_second = median(&mut speeds);
        training
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What a run depends on, as a short hash: its configuration, and what its result is measured by.
pub fn fingerprint(study: &Study, run: &PlannedRun) -> String {
    let tasks = serde_json::to_string(&study.tasks).unwrap_or_default();
    let text = format!("{}\n{tasks}\n{:?}", toml::to_string(&run.config).unwrap_or_default(), study.held_out);
    short_hash(text.as_bytes())
}

/// A short hash of what something depends on.
pub fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The records of a `results.jsonl`. Its last line may be half written: a study that was killed leaves it so.
///
/// # Errors
/// Another line is no record; names it.
pub fn read_records(text: &str) -> Result<Vec<Record>, Problem> {
    let mut records = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(record) => records.push(record),
            Err(_) if i + 1 == lines.len() && !text.ends_with('\n') => {}
            Err(e) => {
                return Err(Problem::input(format!("the line is no record of a run: {e}"))
                    .at(format!("results.jsonl, line {}", i + 1))
                    .next("take the line out; its run is done again"));
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::{EndReason, StepReport};

    use super::*;
    use crate::study::tests::TWO_AXES;

    fn step(step: usize, tokens_per_second: f64, memory_bytes: u64) -> Event<Value> {
        Event::Step(StepReport { step, tokens_per_second, memory_bytes, ..StepReport::default() })
    }

    #[test]
    fn events_are_summed_up_over_interruptions() {
        let ended = |step, seconds, reason| Event::Ended { reason, step, best: Some((step, 1.5)), seconds };
        let begun = Event::Begun { config: Box::new(Value::Null), step: 0, steps: 3, layers: 2, trainable: 77 };
        let validation = |step, loss| Event::Validation { step, loss, perplexity: 1.0, best: true, labels: None };
        let events: [Event<Value>; 8] = [
            begun,
            step(1, 10.0, 5),
            validation(1, 2.0),
            ended(1, 4.0, EndReason::Stopped),
            step(2, 30.0, 9),
            step(3, 20.0, 7),
            validation(3, 1.5),
            ended(3, 6.0, EndReason::Steps),
        ];
        let lines: Vec<String> = events.iter().map(Event::line).chain(["noise".into()]).collect();
        let training = Training::of(lines.iter().map(String::as_str));
        let wanted = Training {
            trainable: 77,
            steps: 3,
            seconds: 10.0,
            tokens_per_second: 20.0,
            memory_bytes: 9,
            best: Some((3, 1.5)),
            curve: vec![(1, 2.0), (3, 1.5)],
            layer_scores: Vec::new(),
        };
        assert_eq!(training, wanted);
        assert_eq!(Training::of(std::iter::empty()), Training::default());
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out_and_another_is_an_error() {
        let line = serde_json::to_string(&Record { id: "a".into(), ..Record::default() }).unwrap();
        assert_eq!(read_records(&format!("{line}\n\n{line}\n")).unwrap().len(), 2);
        assert_eq!(read_records(&format!("{line}\n{}", &line[..9])).unwrap().len(), 1);
        let problem = read_records(&format!("{}\n{line}\n", &line[..9])).unwrap_err();
        assert_eq!(problem.at, "results.jsonl, line 1");
    }

    #[test]
    fn a_fingerprint_changes_with_what_a_run_depends_on() {
        let study = Study::from_toml(TWO_AXES).unwrap();
        let runs = study.runs();
        let all: Vec<String> = runs.iter().map(|run| fingerprint(&study, run)).collect();
        let mut once = all.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), runs.len());
        let renamed = Study { name: "another".into(), ..study.clone() };
        assert_eq!(fingerprint(&renamed, &runs[0]), all[0]);
        let judged = Study { held_out: Some("rows.jsonl".into()), ..study };
        assert_ne!(fingerprint(&judged, &runs[0]), all[0]);
    }
}
