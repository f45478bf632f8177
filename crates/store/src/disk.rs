//! Folders on disk: reading, and writing that leaves either the old files or the new ones.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use futures::future::LocalBoxFuture;
use stratune_protocol::{Problem, ProblemKind};

use crate::folder::{Folder, check_name, checked_range, missing};

/// A folder on disk.
pub struct DiskFolder {
    path: PathBuf,
}

impl DiskFolder {
    /// Opens the folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, Problem> {
        let path = path.into();
        let bad = |what: &str| {
            let next = "check the path; a model or adapter is a folder, not a single file";
            Err(Problem::input(what).at(path.display().to_string()).next(next))
        };
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => Ok(Self { path }),
            Ok(_) => bad("this is a file, not a folder"),
            Err(e) if e.kind() == ErrorKind::NotFound => bad("there is no such folder"),
            Err(e) => Err(storage("open", &path, &e)),
        }
    }

    fn read_now(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, Problem> {
        check_name(name, &self.label())?;
        let path = self.path.join(name);
        let size = self.size(name).ok_or_else(|| missing(self, name, "check the name"))?;
        let range = checked_range(range, size, &path.display().to_string())?;
        let read = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact(&mut bytes).map(|()| bytes)
        };
        read().map_err(|e| storage("read", &path, &e))
    }
}

impl Folder for DiskFolder {
    fn label(&self) -> String {
        self.path.display().to_string()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        // Through links: the files of a download cache often are links.
        let files = entries.filter(|entry| fs::metadata(entry.path()).is_ok_and(|meta| meta.is_file()));
        let mut names: Vec<_> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn size(&self, name: &str) -> Option<u64> {
        check_name(name, "").ok()?;
        fs::metadata(self.path.join(name)).ok().filter(|meta| meta.is_file()).map(|meta| meta.len())
    }

    fn read<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> LocalBoxFuture<'a, Result<Vec<u8>, Problem>> {
        Box::pin(async move { self.read_now(name, range) })
    }
}

/// Writes `files` into `dir`, which is made if needed. Unless `overwrite`, a file that exists stops all of it. Each file
/// appears whole or not at all, and none appears before all are on the disk.
pub fn write_files(dir: &Path, files: &[(String, Vec<u8>)], overwrite: bool) -> Result<(), Problem> {
    for (name, _) in files {
        check_name(name, &dir.display().to_string())?;
        let path = dir.join(name);
        if !overwrite && fs::symlink_metadata(&path).is_ok() {
            return Err(exists_already(name, &path));
        }
    }
    make_dir(dir)?;
    let mut staged = Vec::new();
    for (name, bytes) in files {
        staged.push(Staged::write(&dir.join(name), bytes)?);
    }
    for file in staged {
        file.publish()?;
    }
    sync_dir(dir)
}

/// The problem of a file that is in the way.
pub(crate) fn exists_already(name: &str, path: &Path) -> Problem {
    Problem::input(format!("{name} exists already, and nothing was written"))
        .at(path.display().to_string())
        .next("choose another folder, or ask for it to be overwritten")
}

/// Makes a folder, if it is not there.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Problem> {
    fs::create_dir_all(dir).map_err(|e| storage("make", dir, &e))
}

/// A file written beside its place and not yet moved there; removed again if it never is.
pub(crate) struct Staged {
    temporary: PathBuf,
    path: PathBuf,
}

impl Staged {
    /// Where a file goes that is yet to be written.
    pub(crate) fn beside(path: &Path) -> Self {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.part", std::process::id()));
        Self { temporary: path.with_file_name(name), path: path.to_path_buf() }
    }

    /// Where it is written.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    fn write(path: &Path, bytes: &[u8]) -> Result<Self, Problem> {
        let staged = Self::beside(path);
        let write = || {
            let mut file = File::create(&staged.temporary)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|e| storage("write", path, &e))?;
        Ok(staged)
    }

    pub(crate) fn publish(self) -> Result<(), Problem> {
        fs::rename(&self.temporary, &self.path).map_err(|e| storage("write", &self.path, &e))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove, and that is no error.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Makes the names in a folder last through a power cut, where the system has a way to say so.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Problem> {
    if cfg!(unix) {
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| storage("write", dir, &e))?;
    }
    Ok(())
}

/// A problem of the disk, with what can be done about it.
pub(crate) fn storage(doing: &str, path: &Path, error: &std::io::Error) -> Problem {
    let next = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, or use another disk",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "use a folder that you may read and write",
        ErrorKind::NotFound => "check that the file is still there",
        _ => "check the path and the disk",
    };
    Problem::new(ProblemKind::Storage, format!("cannot {doing} {}: {error}", path.display()))
        .at(path.display().to_string())
        .next(next)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pollster::block_on;

    use super::*;

    fn files(text: &str) -> Vec<(String, Vec<u8>)> {
        vec![("a".into(), text.into()), ("b".into(), text.into())]
    }

    #[test]
    fn reads_ranges_and_nothing_outside() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inner")).unwrap();
        fs::write(dir.path().join("secret"), "s").unwrap();
        fs::write(dir.path().join("inner/x"), "hello").unwrap();
        let folder = DiskFolder::new(dir.path().join("inner")).unwrap();
        assert_eq!(folder.names(), ["x"]);
        assert_eq!(folder.size("x"), Some(5));
        assert_eq!(folder.size("../secret"), None);
        assert_eq!(block_on(folder.read("x", Some(1..3))).unwrap(), b"el");
        assert!(block_on(folder.read("../secret", None)).unwrap_err().what.contains("climbs out"));
        assert!(block_on(folder.read("x", Some(4..6))).unwrap_err().what.contains("the file has 5"));
        assert!(block_on(folder.read("y", None)).unwrap_err().what.contains("y is missing; there are x"));
        assert!(DiskFolder::new(dir.path().join("none")).err().unwrap().what.contains("no such folder"));
        assert!(DiskFolder::new(dir.path().join("secret")).err().unwrap().what.contains("not a folder"));
    }

    #[test]
    fn never_overwrites_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new/out");
        write_files(&out, &files("1")[1..], false).unwrap();
        let problem = write_files(&out, &files("2"), false).unwrap_err();
        assert!(problem.what.contains("b exists already"), "{problem:?}");
        assert_eq!(DiskFolder::new(&out).unwrap().names(), ["b"]);
        assert_eq!(fs::read(out.join("b")).unwrap(), b"1");
        write_files(&out, &files("2"), true).unwrap();
        assert_eq!(fs::read(out.join("b")).unwrap(), b"2");
        assert_eq!(DiskFolder::new(&out).unwrap().names(), ["a", "b"], "no temporary file is left");
        assert!(write_files(&out, &[("../c".into(), vec![])], true).unwrap_err().what.contains("climbs out"));
    }

    #[test]
    fn a_failure_leaves_the_old_files() {
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), &files("1"), false).unwrap();
        // The second name is longer than a file system allows.
        let bad = vec![("a".to_string(), b"2".to_vec()), ("x".repeat(300), vec![])];
        let problem = write_files(dir.path(), &bad, true).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Storage);
        assert!(!problem.next.is_empty());
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"1");
        assert_eq!(DiskFolder::new(dir.path()).unwrap().names(), ["a", "b"]);
        let problem = write_files(&dir.path().join("a"), &files("3"), true).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Storage);
    }
}
