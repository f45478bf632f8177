//! The latest checkpoint of a run, in the browser's private storage.

use std::cell::Cell;

use futures::future::LocalBoxFuture;
use stratune_protocol::Problem;

use crate::checkpoint::Checkpoint;
use crate::checkpoint_store::{CheckpointStore, EventLog, whole_lines};
use crate::opfs::OpfsFiles;
use crate::slot::{Slots, prefix};

const NAMES: [&str; 2] = ["checkpoint-0", "checkpoint-1"];

/// Keeps the checkpoint in two files that take turns, because a file in this storage cannot be replaced in one step.
/// A tab that dies while it writes costs that write only.
pub struct OpfsCheckpoints {
    files: OpfsFiles,
    /// Slot and sequence number of the next save; unknown until the slots are read.
    next: Cell<Option<(usize, u64)>>,
}

impl OpfsCheckpoints {
    /// Checkpoints in the directory called `name`, which is made if needed. Works in a dedicated worker only.
    pub async fn open(name: &str) -> Result<Self, Problem> {
        Ok(Self { files: OpfsFiles::open(name).await?, next: Cell::new(None) })
    }

    async fn bytes(&self) -> Result<[Option<Vec<u8>>; 2], Problem> {
        Ok([self.files.get(NAMES[0]).await?, self.files.get(NAMES[1]).await?])
    }

    fn places(&self) -> [String; 2] {
        NAMES.map(|name| self.files.place(name))
    }
}

impl CheckpointStore for OpfsCheckpoints {
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let body = checkpoint.to_bytes()?;
            let (slot, sequence) = match self.next.get() {
                Some(next) => next,
                None => {
                    // Damaged slots hold nothing worth keeping: the new checkpoint may go over them.
                    let slots = Slots::read(self.bytes().await?, self.places()).unwrap_or_else(|_| Slots::empty());
                    (slots.next_slot, slots.next_sequence)
                }
            };
            let bytes = [prefix(sequence, body.len()).as_slice(), &body].concat();
            self.files.put(NAMES[slot], &bytes).await?;
            self.next.set(Some((1 - slot, sequence.saturating_add(1))));
            Ok(())
        })
    }

    fn load<'a>(&'a self) -> LocalBoxFuture<'a, Result<Option<Checkpoint>, Problem>> {
        Box::pin(async move {
            let slots = Slots::read(self.bytes().await?, self.places())?;
            self.next.set(Some((slots.next_slot, slots.next_sequence)));
            Ok(slots.latest)
        })
    }

    fn clear<'a>(&'a self) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            self.next.set(None);
            for name in NAMES {
                self.files.remove(name).await?;
            }
            Ok(())
        })
    }
}

impl EventLog for OpfsCheckpoints {
    fn append<'a>(&'a self, log: &'a str, lines: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.files.append(log, lines.as_bytes()))
    }

    fn lines<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<String, Problem>> {
        Box::pin(async move {
            let bytes = self.files.get(log).await?.unwrap_or_default();
            Ok(whole_lines(String::from_utf8_lossy(&bytes).into_owned()))
        })
    }

    fn erase<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.files.remove(log))
    }
}
