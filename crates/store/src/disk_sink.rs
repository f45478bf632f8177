//! Files that are written into a folder on disk in parts, and appear there when all of them are whole.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use futures::future::LocalBoxFuture;
use stratune_protocol::Problem;

use crate::disk::{Staged, exists_already, make_dir, storage, sync_dir};
use crate::folder::check_name;
use crate::sink::Sink;

/// Writes into a folder. Files lie beside their places until [`publish`](Self::publish); dropped before, nothing is left of
/// them.
pub struct DiskSink {
    dir: PathBuf,
    overwrite: bool,
    /// Whether the folder was there before.
    found: bool,
    staged: Vec<Staged>,
    current: Option<BufWriter<File>>,
}

impl DiskSink {
    /// Into a folder, which is made with the first file. Unless `overwrite`, a file that exists stops all of it.
    pub fn new(dir: &Path, overwrite: bool) -> Self {
        Self { dir: dir.into(), overwrite, found: dir.exists(), staged: Vec::new(), current: None }
    }

    fn begin_now(&mut self, name: &str) -> Result<(), Problem> {
        self.complete()?;
        check_name(name, &self.dir.display().to_string())?;
        let path = self.dir.join(name);
        if !self.overwrite && fs::symlink_metadata(&path).is_ok() {
            return Err(exists_already(name, &path));
        }
        make_dir(&self.dir)?;
        let staged = Staged::beside(&path);
        let file = File::create(staged.temporary()).map_err(|e| storage("write", &path, &e))?;
        self.staged.push(staged);
        self.current = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(())
    }

    fn write_now(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let Some(file) = &mut self.current else { return Ok(()) };
        file.write_all(bytes).map_err(|e| storage("write", &self.dir, &e))
    }

    /// Brings the file that was begun to the disk.
    fn complete(&mut self) -> Result<(), Problem> {
        let Some(file) = self.current.take() else { return Ok(()) };
        let written = file.into_inner().map_err(|e| e.into_error()).and_then(|file| file.sync_all());
        written.map_err(|e| storage("write", &self.dir, &e))
    }

    /// Moves all files to their places.
    ///
    /// # Errors
    /// The disk does not take them.
    pub fn publish(mut self) -> Result<(), Problem> {
        self.complete()?;
        for file in std::mem::take(&mut self.staged) {
            file.publish()?;
        }
        self.found = true;
        sync_dir(&self.dir)
    }
}

impl Drop for DiskSink {
    fn drop(&mut self) {
        self.current = None;
        self.staged.clear();
        if !self.found {
            // A folder with anything in it stays.
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

impl Sink for DiskSink {
    fn begin<'a>(&'a mut self, name: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.begin_now(name) })
    }

    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.write_now(bytes) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::sink::write_whole;

    #[test]
    fn files_appear_when_all_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut sink = DiskSink::new(&out, false);
        block_on(write_whole(&mut sink, "a", b"one")).unwrap();
        block_on(sink.begin("b")).unwrap();
        block_on(sink.write(b"t")).unwrap();
        block_on(sink.write(b"wo")).unwrap();
        assert!(!out.join("a").exists() && !out.join("b").exists());
        sink.publish().unwrap();
        assert_eq!(
            (fs::read(out.join("a")).unwrap(), fs::read(out.join("b")).unwrap()),
            (b"one".into(), b"two".into())
        );
        assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
    }

    #[test]
    fn what_is_given_up_leaves_nothing_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        let mut sink = DiskSink::new(&new, false);
        block_on(write_whole(&mut sink, "a", b"one")).unwrap();
        drop(sink);
        assert!(!new.exists());
        fs::create_dir(&old).unwrap();
        fs::write(old.join("a"), b"before").unwrap();
        let mut sink = DiskSink::new(&old, false);
        let problem = block_on(sink.begin("a")).unwrap_err();
        assert!(problem.what.contains("a exists already"), "{problem}");
        assert!(block_on(sink.begin("../b")).unwrap_err().what.contains("climbs out"));
        let mut sink = DiskSink::new(&old, true);
        block_on(write_whole(&mut sink, "a", b"after")).unwrap();
        assert_eq!(fs::read(old.join("a")).unwrap(), b"before");
        sink.publish().unwrap();
        assert_eq!(fs::read(old.join("a")).unwrap(), b"after");
    }
}
