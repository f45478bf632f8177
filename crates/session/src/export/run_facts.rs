//! What the folder of an adapter says of the run that it comes from.

use stratune_protocol::{IstMode, Problem};
use stratune_store::{Checkpoint, Folder};
use stratune_train::{Event, Record};

/// A run, as its model card tells it: nothing of its rows, but what tells them from others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    /// What tells the data from others.
    pub data: Option<String>,
    /// Which layers trained.
    pub ist: Option<IstMode>,
    /// Steps done, and steps in all.
    pub steps: Option<(usize, usize)>,
    /// The loss of the last step, in nats a label.
    pub last_loss: Option<f64>,
    /// The lowest loss of held-out rows, and its step.
    pub best: Option<(usize, f64)>,
}

impl RunFacts {
    /// Of the run in a folder; nothing of an adapter that comes from elsewhere.
    ///
    /// # Errors
    /// A file of the run is damaged.
    pub async fn read(folder: &dyn Folder) -> Result<Self, Problem> {
        let mut facts = Self::default();
        if let Some(meta) = Checkpoint::read_meta(folder, "checkpoint.safetensors").await? {
            let record = Record::of(&Checkpoint { tensors: Default::default(), meta })?;
            facts.data = Some(record.identity.data).filter(|data| !data.is_empty());
            facts.ist = Some(record.config.ist.mode);
            facts.steps = Some((record.step, record.steps));
            facts.best = record.best;
        }
        if folder.size("metrics.jsonl").is_some() {
            let text = folder.read("metrics.jsonl", None).await?;
            let lines = String::from_utf8_lossy(&text).into_owned();
            facts.last_loss = lines.lines().rev().find_map(|line| match Event::from_line(line)? {
                Event::Step(step) => Some(step.loss),
                _ => None,
            });
        }
        Ok(facts)
    }
}
