//! Where the latest checkpoint of a run lives.

use std::cell::RefCell;

use futures::future::LocalBoxFuture;
use stratune_protocol::Problem;

use crate::checkpoint::Checkpoint;

/// Where the latest checkpoint of a run lives.
pub trait Vault {
    /// Puts `checkpoint` in the place of the one before; if that fails, the one before stays.
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> LocalBoxFuture<'a, Result<(), Problem>>;
    /// The latest checkpoint, if there is one.
    fn load<'a>(&'a self) -> LocalBoxFuture<'a, Result<Option<Checkpoint>, Problem>>;
    /// Forgets it.
    fn clear<'a>(&'a self) -> LocalBoxFuture<'a, Result<(), Problem>>;
}

/// A checkpoint in memory.
#[derive(Debug, Default)]
pub struct MemoryVault {
    latest: RefCell<Option<Checkpoint>>,
}

impl MemoryVault {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Vault for MemoryVault {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::checkpoint::tests::sample;

    #[test]
    fn keeps_the_latest() {
        let vault = MemoryVault::new();
        assert_eq!(block_on(vault.load()).unwrap(), None);
        block_on(vault.save(&sample(1))).unwrap();
        block_on(vault.save(&sample(2))).unwrap();
        assert_eq!(block_on(vault.load()).unwrap(), Some(sample(2)));
        block_on(vault.clear()).unwrap();
        assert_eq!(block_on(vault.load()).unwrap(), None);
    }
}
