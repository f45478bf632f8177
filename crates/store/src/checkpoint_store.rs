//! Where the latest checkpoint of a run lives.

use std::cell::RefCell;
use std::collections::BTreeMap;

use futures::future::LocalBoxFuture;
use stratune_protocol::Problem;

use crate::checkpoint::Checkpoint;

/// Where the latest checkpoint of a run lives.
pub trait CheckpointStore {
    /// Puts `checkpoint` in the place of the one before; if that fails, the one before stays.
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> LocalBoxFuture<'a, Result<(), Problem>>;
    /// The latest checkpoint, if there is one.
    fn load<'a>(&'a self) -> LocalBoxFuture<'a, Result<Option<Checkpoint>, Problem>>;
    /// Forgets it.
    fn clear<'a>(&'a self) -> LocalBoxFuture<'a, Result<(), Problem>>;
}

/// A store that keeps, beside the checkpoint, the events of a run: lines of text under a name, which only grow. They
/// are no part of the checkpoint, which is written anew each time and has to fit into memory.
pub trait EventLog: CheckpointStore {
    /// Adds lines, each with its end, to those under `log`.
    fn append<'a>(&'a self, log: &'a str, lines: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>>;
    /// The lines under `log`, none if there are none. One whose writing was cut off is left out.
    fn lines<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<String, Problem>>;
    /// Forgets the lines under `log`.
    fn erase<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>>;
}

/// The part of a text up to the end of its last line.
#[cfg(any(target_family = "wasm", test))]
pub(crate) fn whole_lines(mut text: String) -> String {
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    text
}

/// A checkpoint and lines in memory.
#[derive(Debug, Default)]
pub struct MemoryCheckpoints {
    latest: RefCell<Option<Checkpoint>>,
    logs: RefCell<BTreeMap<String, String>>,
}

impl MemoryCheckpoints {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

impl CheckpointStore for MemoryCheckpoints {
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.latest.replace(Some(checkpoint.clone()));
        Box::pin(std::future::ready(Ok(())))
    }

    fn load<'a>(&'a self) -> LocalBoxFuture<'a, Result<Option<Checkpoint>, Problem>> {
        Box::pin(std::future::ready(Ok(self.latest.borrow().clone())))
    }

    fn clear<'a>(&'a self) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.latest.replace(None);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl EventLog for MemoryCheckpoints {
    fn append<'a>(&'a self, log: &'a str, lines: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.logs.borrow_mut().entry(log.to_string()).or_default().push_str(lines);
        Box::pin(std::future::ready(Ok(())))
    }

    fn lines<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<String, Problem>> {
        let lines = self.logs.borrow().get(log).cloned().unwrap_or_default();
        Box::pin(std::future::ready(Ok(lines)))
    }

    fn erase<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.logs.borrow_mut().remove(log);
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::checkpoint::tests::sample;

    #[test]
    fn keeps_the_latest() {
        let checkpoint_store = MemoryCheckpoints::new();
        assert_eq!(block_on(checkpoint_store.load()).unwrap(), None);
        block_on(checkpoint_store.save(&sample(1))).unwrap();
        block_on(checkpoint_store.save(&sample(2))).unwrap();
        assert_eq!(block_on(checkpoint_store.load()).unwrap(), Some(sample(2)));
        block_on(checkpoint_store.clear()).unwrap();
        assert_eq!(block_on(checkpoint_store.load()).unwrap(), None);
    }

    #[test]
    fn lines_only_grow_and_a_torn_one_is_left_out() {
        let checkpoint_store = MemoryCheckpoints::new();
        block_on(checkpoint_store.append("a", "1\n2\n")).unwrap();
        block_on(checkpoint_store.append("a", "3\n")).unwrap();
        block_on(checkpoint_store.append("b", "4\n")).unwrap();
        block_on(checkpoint_store.erase("b")).unwrap();
        assert_eq!(block_on(checkpoint_store.lines("a")).unwrap(), "1\n2\n3\n");
        assert_eq!(block_on(checkpoint_store.lines("b")).unwrap(), "");
        for (text, whole) in [("", ""), ("1", ""), ("1\n", "1\n"), ("1\n2", "1\n")] {
            assert_eq!(whole_lines(text.into()), whole);
        }
    }
}
