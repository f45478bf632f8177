//! A file that comes, on disk.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use stratune_protocol::{Problem, ProblemKind};

use crate::part::Part;

/// A part on disk, which goes on where an earlier one ended.
pub(crate) struct DiskPart {
    file: File,
    path: PathBuf,
    size: u64,
}

impl DiskPart {
    /// The part at `path`, with what is there.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let open = || {
            let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = open().map_err(|e| storage("write", path, &e))?;
        Ok(Self { file, path: path.into(), size })
    }

    /// Sees to it that its bytes are on the disk.
    pub fn sync(&self) -> Result<(), Problem> {
        self.file.sync_all().map_err(|e| storage("write", &self.path, &e))
    }
}

impl Part for DiskPart {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<usize, Problem> {
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read(bytes));
        read.map_err(|e| storage("read", &self.path, &e))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let written = self.file.write_all(bytes);
        self.size = self.file.metadata().map_or(self.size, |meta| meta.len());
        written.map_err(|e| storage("write", &self.path, &e))
    }

    fn clear(&mut self) -> Result<(), Problem> {
        self.size = 0;
        self.file.set_len(0).map_err(|e| storage("write", &self.path, &e))
    }
}

/// A problem of the disk, with what can be done about it.
pub(crate) fn storage(doing: &str, path: &Path, error: &std::io::Error) -> Problem {
    let next = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space and start again: what has come is kept; or set HF_HUB_CACHE to a folder on another disk"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "set HF_HUB_CACHE to a folder that you may read and write"
        }
        _ => "check the disk, or set HF_HUB_CACHE to another folder",
    };
    Problem::new(ProblemKind::Storage, format!("cannot {doing} a file of the cache: {error}"))
        .at(path.display().to_string())
        .next(next)
}
