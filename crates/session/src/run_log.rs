//! The events of a run, kept beside its checkpoints, so that a page that was reloaded can show the whole run.

use std::rc::Rc;

use stratune_protocol::Problem;
use stratune_store::{Checkpoint, EventLog};
use stratune_train::Event;

/// The lasting events of a run: a line of JSON each, added to the log with each checkpoint.
pub struct RunLog {
    store: Rc<dyn EventLog>,
    name: String,
    /// Events from before the run was resumed, to be told again when the run goes on.
    earlier: Vec<Event>,
    /// Lines that are not in the log yet.
    lines: String,
}

impl RunLog {
    /// The log of a run at its first step, under a name that is nobody's.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn begin(store: Rc<dyn EventLog>, name: &str) -> Result<Self, Problem> {
        store.erase(name).await?;
        Ok(Self { store, name: name.to_string(), earlier: Vec::new(), lines: String::new() })
    }

    /// The log of a run that goes on after `done` steps. What came after them happens again and is dropped.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn resume(
        store: Rc<dyn EventLog>,
        name: &str,
        checkpoint: &Checkpoint,
        done: usize,
    ) -> Result<Self, Problem> {
        let text = store.lines(name).await?;
        let there: Vec<Event> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        // Earlier versions kept the events in the checkpoint. If they cannot be read the charts begin anew.
        let within = || serde_json::from_value(checkpoint.meta["history"].clone()).unwrap_or_default();
        let all: Vec<Event> = if text.is_empty() { within() } else { there };
        let earlier: Vec<Event> = all.into_iter().filter(|event| happened_by(event, done)).collect();
        let kept: String = earlier.iter().map(line).collect();
        if kept != text {
            store.erase(name).await?;
            store.append(name, &kept).await?;
        }
        Ok(Self { store, name: name.to_string(), earlier, lines: String::new() })
    }

    /// Events from before the run was resumed; once.
    pub(crate) fn take_earlier(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.earlier)
    }

    /// Takes notice of an event, if it is one that lasts.
    pub(crate) fn push(&mut self, event: &Event) {
        let lasting = matches!(
            event,
            Event::Step(_)
                | Event::Validation { .. }
                | Event::Importance { .. }
                | Event::Search(_)
                | Event::Sample { .. }
        );
        if lasting {
            self.lines.push_str(&line(event));
        }
    }

    /// Adds what is new to the log.
    ///
    /// # Errors
    /// The storage fails.
    pub(crate) async fn write(&mut self) -> Result<(), Problem> {
        self.store.append(&self.name, &self.lines).await?;
        self.lines.clear();
        Ok(())
    }
}

fn line(event: &Event) -> String {
    serde_json::to_string(event).map_or_else(|_| String::new(), |json| json + "\n")
}

/// Whether an event belongs to the first `done` steps of a run. The scores move before a step, everything else is
/// told after it.
pub fn happened_by(event: &Event, done: usize) -> bool {
    match event {
        Event::Step(report) => report.step <= done,
        Event::Search(report) => report.step <= done,
        Event::Validation { step, .. } | Event::Sample { step, .. } => *step <= done,
        Event::Importance { step, .. } => *step < done,
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use stratune_protocol::StepReport;
    use stratune_runtime::block_on;
    use stratune_store::MemoryCheckpoints;

    use super::*;

    fn step(step: usize) -> Event {
        Event::Step(StepReport { step, ..StepReport::default() })
    }

    fn checkpoint(meta: serde_json::Value) -> Checkpoint {
        Checkpoint { tensors: BTreeMap::new(), meta }
    }

    #[test]
    fn a_run_that_goes_on_has_told_each_step_once() {
        let store = Rc::new(MemoryCheckpoints::new());
        let mut log = block_on(RunLog::begin(store.clone(), "events")).unwrap();
        for n in 1..=3 {
            log.push(&step(n));
            log.push(&Event::Notice { text: "not kept".into() });
        }
        block_on(log.write()).unwrap();
        log.push(&step(4));
        block_on(log.write()).unwrap();
        assert_eq!(block_on(store.lines("events")).unwrap().lines().count(), 4, "added, not written anew");

        let mut again = block_on(RunLog::resume(store.clone(), "events", &checkpoint(json!({})), 2)).unwrap();
        assert_eq!(again.take_earlier(), [step(1), step(2)]);
        again.push(&step(3));
        block_on(again.write()).unwrap();
        let text = block_on(store.lines("events")).unwrap();
        let told: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(told, [step(1), step(2), step(3)]);
    }

    #[test]
    fn events_within_an_earlier_versions_checkpoint_are_read() {
        let store = Rc::new(MemoryCheckpoints::new());
        let earlier = checkpoint(json!({ "history": [step(1), step(2), step(3)] }));
        let mut log = block_on(RunLog::resume(store.clone(), "events", &earlier, 2)).unwrap();
        assert_eq!(log.take_earlier(), [step(1), step(2)]);
        assert_eq!(block_on(store.lines("events")).unwrap().lines().count(), 2);
        for unreadable in [json!({}), json!({ "history": "nonsense" })] {
            let store = Rc::new(MemoryCheckpoints::new());
            let mut log = block_on(RunLog::resume(store, "events", &checkpoint(unreadable), 2)).unwrap();
            assert!(log.take_earlier().is_empty());
        }
    }
}
