//! The folder in which files of the hub are kept, laid out as huggingface_hub has it, so that all tools share one copy.
//!
//! ```text
//! models--owner--name/blobs/HASH                    a file by its hash; HASH.incomplete while it comes
//! models--owner--name/snapshots/COMMIT/PATH         a relative link to it
//! models--owner--name/refs/REVISION                 the commit that a branch or tag was
//! datasets--owner--name/…                           the same of a dataset
//! .locks/models--owner--name/HASH.lock              whoever fetches the file holds this
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stratune_protocol::{Problem, ProblemKind};

use crate::client::{Hub, Progress, Stage, Watch, stopped};
use crate::disk_part::{DiskPart, storage};
use crate::entry::Entry;
use crate::repository::{RemoteFiles, Repository};

/// How often a lock that another process holds is tried.
const LOCKED: Duration = Duration::from_millis(500);

/// The cache at a folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache at `root`, which is made when something is put in.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a repository.
    pub(crate) fn repository(&self, repository: &Repository) -> PathBuf {
        self.root.join(folder_name(repository))
    }

    /// The files of a repository at a commit; the folder need not be there, nor whole.
    pub fn snapshot(&self, repository: &Repository, commit: &str) -> PathBuf {
        self.repository(repository).join("snapshots").join(commit)
    }

    /// Whether a file is there, whole.
    pub fn has(&self, repository: &Repository, entry: &Entry) -> bool {
        size(&self.blob(repository, entry)) == Some(entry.size)
    }

    /// A file's bytes, if it is there.
    pub fn bytes(&self, repository: &Repository, entry: &Entry) -> Option<Vec<u8>> {
        if self.has(repository, entry) { fs::read(self.blob(repository, entry)).ok() } else { None }
    }

    /// Bytes that are still to come, what has begun to come counted as there.
    pub fn missing(&self, remote: &RemoteFiles) -> u64 {
        let repository = &remote.repository;
        let rest = |entry: &Entry| {
            let begun = size(&incomplete(&self.blob(repository, entry))).unwrap_or(0);
            entry.size - if begun <= entry.size { begun } else { 0 }
        };
        remote.files.iter().filter(|entry| !self.has(repository, entry)).map(rest).sum()
    }

    /// Fetches what is missing; gives the folder of the snapshot. A file is kept when all of it is there and its hash is right;
    /// it gets its name when all files are, and then the revision is remembered.
    ///
    /// # Errors
    /// A file cannot be had or kept, or the watch has stopped it.
    pub async fn fetch(&self, hub: &Hub, remote: &RemoteFiles, watch: &mut Watch<'_>) -> Result<PathBuf, Problem> {
        let repository = &remote.repository;
        let snapshot = self.snapshot(repository, &remote.commit);
        let mut before = 0;
        for entry in &remote.files {
            if !self.has(repository, entry) {
                let mut told = |stage, done| {
                    watch(&Progress { file: entry.path.clone(), stage, done: before + done, total: remote.bytes })
                };
                self.fetch_file(hub, remote, entry, &mut told).await?;
            }
            before += entry.size;
        }
        // The first comes last: without it no pieces of rows look like all of them.
        for entry in remote.files.iter().rev() {
            let blob = self.blob(repository, entry);
            link(&blob, &snapshot, &entry.path).map_err(|e| storage("link", &snapshot.join(&entry.path), &e))?;
        }
        if remote.revision != remote.commit {
            let path = self.repository(repository).join("refs").join(&remote.revision);
            replace(&path, remote.commit.as_bytes()).map_err(|e| storage("write", &path, &e))?;
        }
        Ok(snapshot)
    }

    async fn fetch_file(
        &self,
        hub: &Hub,
        remote: &RemoteFiles,
        entry: &Entry,
        watch: &mut dyn FnMut(Stage, u64) -> ControlFlow<()>,
    ) -> Result<(), Problem> {
        let repository = &remote.repository;
        let blob = self.blob(repository, entry);
        let path = self.root.join(".locks").join(folder_name(repository)).join(format!("{}.lock", entry.hash.digits()));
        let _lock = self.lock(hub, &path, watch).await?;
        // Whoever held the lock may have fetched it.
        if self.has(repository, entry) {
            return Ok(());
        }
        make_parent(&blob).map_err(|e| storage("make a folder for", &blob, &e))?;
        let coming = incomplete(&blob);
        let mut part = DiskPart::open(&coming)?;
        let fetched = hub.fetch_file(remote, entry, &mut part, watch).await;
        if let Err(problem) = fetched {
            drop(part);
            if size(&coming) == Some(0) {
                // Nothing of it is of use; that it stays would be no harm.
                let _ = fs::remove_file(&coming);
            }
            return Err(problem);
        }
        part.sync()?;
        drop(part);
        fs::rename(&coming, &blob).map_err(|e| storage("name", &blob, &e))
    }

    /// Waits for the lock of a file; it is given back when the process ends, however that is.
    async fn lock(
        &self,
        hub: &Hub,
        path: &Path,
        watch: &mut dyn FnMut(Stage, u64) -> ControlFlow<()>,
    ) -> Result<File, Problem> {
        let open = || {
            make_parent(path)?;
            File::options().read(true).write(true).create(true).truncate(false).open(path)
        };
        let file = open().map_err(|e| storage("lock", path, &e))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => {
                    return Err(Problem::new(ProblemKind::Storage, format!("the disk of the cache has no locks: {e}"))
                        .at(path.display().to_string())
                        .next("set HF_HUB_CACHE to a folder on another disk"));
                }
            }
            if watch(Stage::Waiting(1, "another process fetches this file".into()), 0).is_break() {
                return Err(stopped());
            }
            hub.transport().wait(LOCKED).await;
        }
    }

    fn blob(&self, repository: &Repository, entry: &Entry) -> PathBuf {
        self.repository(repository).join("blobs").join(entry.hash.digits())
    }
}

/// `models--owner--name`.
fn folder_name(repository: &Repository) -> String {
    format!("{}--{}", repository.kind.plural(), repository.id.replace('/', "--"))
}

/// Where a file is while it comes. Newer Pythons put eight digits between the hash and the end and so never meet it; older
/// ones resume it as we do, under the same lock.
fn incomplete(blob: &Path) -> PathBuf {
    blob.with_extension("incomplete")
}

fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|meta| meta.len())
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// A name beside `path` that no other process takes.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Writes a small file so that readers see the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    make_parent(path)?;
    let new = beside(path);
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

/// Makes `path` in the snapshot a relative link to the blob.
fn link(blob: &Path, snapshot: &Path, path: &str) -> io::Result<()> {
    let at = snapshot.join(path);
    if let (Ok(to), Ok(blob)) = (at.canonicalize(), blob.canonicalize())
        && to == blob
    {
        return Ok(());
    }
    make_parent(&at)?;
    // From the folder of the path up to the repository's.
    let up: PathBuf = std::iter::repeat_n("..", 2 + path.matches('/').count()).collect();
    let new = beside(&at);
    let target = up.join("blobs").join(blob.file_name().unwrap_or_default());
    if symbolic(&target, &new).is_err() {
        // Windows has links only for those who may make them.
        fs::hard_link(blob, &new).or_else(|_| fs::copy(blob, &new).map(|_| ()))?;
    }
    fs::rename(&new, &at)
}

#[cfg(unix)]
fn symbolic(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symbolic(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use pollster::block_on;
    use stratune_protocol::HubId;

    use super::*;
    use crate::testing::{self, COMMIT, Fault, LoopbackHub, git_sha1, hub_with_token, sha256};

    const WEIGHTS: &[u8] = b"weights, as many as there are";

    fn repository() -> testing::Repository {
        let files: [(&str, &[u8], bool); 3] =
            [("config.json", b"{}", false), ("tokenizer.json", b"[]", false), ("model.safetensors", WEIGHTS, true)];
        testing::Repository::new("owner/toy", COMMIT, &files)
    }

    fn go_on(_: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn look(hub: &Hub, id: &str) -> RemoteFiles {
        let id = HubId::read(id).unwrap().unwrap();
        block_on(hub.model(&id, &|_, _| None, &mut go_on)).unwrap().remote
    }

    #[test]
    fn a_model_is_kept_as_others_keep_it() {
        let server = LoopbackHub::start(vec![repository()]);
        let (hub, dir) = (hub_with_token(&server), tempfile::tempdir().unwrap());
        let cache = Cache::new(dir.path());
        let model = look(&hub, "owner/toy@refs/pr/1");
        let all = WEIGHTS.len() as u64 + 4;
        assert_eq!((model.bytes, cache.missing(&model)), (all, all));
        let mut seen = Vec::new();
        let mut watch = |progress: &Progress| {
            seen.push((progress.file.clone(), progress.done, progress.total));
            ControlFlow::Continue(())
        };
        let snapshot = block_on(cache.fetch(&hub, &model, &mut watch)).unwrap();
        let root = dir.path().join("models--owner--toy");
        assert_eq!(snapshot, root.join("snapshots").join(COMMIT));
        assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), WEIGHTS);
        assert_eq!(fs::read_to_string(root.join("refs/refs/pr/1")).unwrap(), COMMIT);
        let names = fs::read_dir(root.join("blobs")).unwrap().flatten().map(|file| file.file_name());
        let mut blobs: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        let mut expected = vec![git_sha1(b"{}"), git_sha1(b"[]"), sha256(WEIGHTS)];
        blobs.sort();
        expected.sort();
        assert_eq!(blobs, expected);
        #[cfg(unix)]
        assert_eq!(
            fs::read_link(snapshot.join("config.json")).unwrap(),
            Path::new("../../blobs").join(git_sha1(b"{}"))
        );
        assert_eq!(seen.last().unwrap(), &("model.safetensors".to_string(), all, all));
        assert!(seen.windows(2).all(|two| two[0].1 <= two[1].1), "{seen:?}");

        server.forget();
        assert_eq!(cache.missing(&model), 0);
        block_on(cache.fetch(&hub, &model, &mut go_on)).unwrap();
        assert!(server.take_log().is_empty(), "nothing is fetched twice");
    }

    #[test]
    fn a_download_goes_on_and_what_is_wrong_is_not_kept() {
        let server = LoopbackHub::start(vec![repository()]);
        let (hub, dir) = (hub_with_token(&server), tempfile::tempdir().unwrap());
        let cache = Cache::new(dir.path());
        let model = look(&hub, "owner/toy");
        let blob = dir.path().join("models--owner--toy/blobs").join(sha256(WEIGHTS));
        let coming = blob.with_extension("incomplete");
        let weights = dir.path().join("models--owner--toy/snapshots").join(COMMIT).join("model.safetensors");

        // Dropped for good: what has come is kept, and nothing looks whole.
        server.fault("/xet-bridge/", Fault::CutBody(9));
        server.fault_always("/xet-bridge/", Fault::Close);
        block_on(cache.fetch(&hub, &model, &mut go_on)).unwrap_err();
        assert_eq!(fs::read(&coming).unwrap(), &WEIGHTS[..9]);
        assert!(!blob.exists() && !weights.exists() && !dir.path().join("models--owner--toy/refs").exists());
        assert_eq!(cache.missing(&model), WEIGHTS.len() as u64 - 9);

        // Wrong bytes are removed.
        server.forget();
        server.fault_always("/xet-bridge/", Fault::Flip(3));
        let problem = block_on(cache.fetch(&hub, &model, &mut go_on)).unwrap_err();
        assert!(problem.what.contains("should be"), "{problem:?}");
        assert!(!blob.exists() && !coming.exists() && !weights.exists());

        // Stopped, and gone on with.
        server.forget();
        let mut stop = |progress: &Progress| match progress.file.as_str() {
            "model.safetensors" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        assert_eq!(block_on(cache.fetch(&hub, &model, &mut stop)).unwrap_err().kind, ProblemKind::Stopped);
        fs::write(&coming, &WEIGHTS[..9]).unwrap();
        server.forget();
        block_on(cache.fetch(&hub, &model, &mut go_on)).unwrap();
        assert_eq!(fs::read(&weights).unwrap(), WEIGHTS);
        assert!(!coming.exists());
        let range = format!("bytes=9-{}", WEIGHTS.len() - 1);
        assert_eq!(server.take_log().last().unwrap().range.as_ref(), Some(&range));

        // A blob that was cut short by other hands.
        fs::write(&blob, b"short").unwrap();
        block_on(cache.fetch(&hub, &model, &mut go_on)).unwrap();
        assert_eq!(fs::read(&weights).unwrap(), WEIGHTS);
    }

    #[test]
    fn one_process_fetches_a_file() {
        let server = LoopbackHub::start(vec![repository()]);
        let (hub, dir) = (hub_with_token(&server), tempfile::tempdir().unwrap());
        let cache = Cache::new(dir.path());
        let model = look(&hub, "owner/toy");
        let lock = dir.path().join(".locks/models--owner--toy").join(format!("{}.lock", git_sha1(b"{}")));
        make_parent(&lock).unwrap();
        let held = File::create(&lock).unwrap();
        held.lock().unwrap();
        let waits = AtomicU32::new(0);
        let mut watch = |progress: &Progress| {
            if matches!(progress.stage, Stage::Waiting(..)) && waits.fetch_add(1, Ordering::Relaxed) == 2 {
                held.unlock().unwrap();
            }
            ControlFlow::Continue(())
        };
        block_on(cache.fetch(&hub, &model, &mut watch)).unwrap();
        assert_eq!(waits.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn links_lead_up_from_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let (blob, snapshot) = (dir.path().join("blobs/b"), dir.path().join("snapshots/c"));
        make_parent(&blob).unwrap();
        fs::write(&blob, "x").unwrap();
        for path in ["a", "d/a", "d/e/a"] {
            for _ in 0..2 {
                link(&blob, &snapshot, path).unwrap();
                assert_eq!(fs::read(snapshot.join(path)).unwrap(), b"x", "{path}");
            }
        }
        // What is there of another file gives way.
        fs::write(snapshot.join("old"), "old").unwrap();
        link(&blob, &snapshot, "old").unwrap();
        assert_eq!(fs::read(snapshot.join("old")).unwrap(), b"x");
        assert_eq!(fs::read_dir(&snapshot).unwrap().count(), 3, "nothing else is left");
    }
}
