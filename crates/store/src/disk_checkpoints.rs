//! The latest checkpoint of a run, in a folder on disk.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use futures::future::LocalBoxFuture;
use stratune_protocol::Problem;

use crate::checkpoint::Checkpoint;
use crate::checkpoint_store::CheckpointStore;
use crate::disk::{storage, write_files};

const NAME: &str = "checkpoint.safetensors";

/// Keeps the checkpoint in `checkpoint.safetensors` of a folder. A new one replaces the old in a single step, so that
/// a crash at any moment leaves one of them whole.
pub struct DiskCheckpoints {
    dir: PathBuf,
}

impl DiskCheckpoints {
    /// Checkpoints in `dir`, which is made at the first save.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn load_now(&self) -> Result<Option<Checkpoint>, Problem> {
        let path = self.dir.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => Checkpoint::from_bytes(&bytes, &path.display().to_string()).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(storage("read", &path, &e)),
        }
    }

    fn clear_now(&self) -> Result<(), Problem> {
        let path = self.dir.join(NAME);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(storage("remove", &path, &e)),
            _ => Ok(()),
        }
    }
}

impl CheckpointStore for DiskCheckpoints {
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { write_files(&self.dir, &[(NAME.to_string(), checkpoint.to_bytes()?)], true) })
    }

    fn load<'a>(&'a self) -> LocalBoxFuture<'a, Result<Option<Checkpoint>, Problem>> {
        Box::pin(async move { self.load_now() })
    }

    fn clear<'a>(&'a self) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.clear_now() })
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
        let dir = tempfile::tempdir().unwrap();
        let checkpoint_store = DiskCheckpoints::new(dir.path().join("run"));
        assert_eq!(block_on(checkpoint_store.load()).unwrap(), None);
        block_on(checkpoint_store.clear()).unwrap();
        block_on(checkpoint_store.save(&sample(1))).unwrap();
        block_on(checkpoint_store.save(&sample(2))).unwrap();
        assert_eq!(block_on(checkpoint_store.load()).unwrap(), Some(sample(2)));
        assert_eq!(fs::read_dir(dir.path().join("run")).unwrap().count(), 1);
        block_on(checkpoint_store.clear()).unwrap();
        assert_eq!(block_on(checkpoint_store.load()).unwrap(), None);
    }

    #[test]
    fn a_damaged_checkpoint_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint_store = DiskCheckpoints::new(dir.path());
        block_on(checkpoint_store.save(&sample(1))).unwrap();
        let path = dir.path().join(NAME);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let problem = block_on(checkpoint_store.load()).unwrap_err();
        assert!(problem.what.contains("1 bytes are missing"), "{problem:?}");
        assert_eq!(problem.at, path.display().to_string());
    }

    #[test]
    fn numbers_gone_wrong_do_not_replace_a_good_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint_store = DiskCheckpoints::new(dir.path());
        block_on(checkpoint_store.save(&sample(1))).unwrap();
        let mut diverged = sample(2);
        diverged.tensors.values_mut().for_each(|t| t.data[0] = f32::NAN);
        assert!(block_on(checkpoint_store.save(&diverged)).unwrap_err().what.contains("holds NaN"));
        assert_eq!(block_on(checkpoint_store.load()).unwrap(), Some(sample(1)));
    }
}
