//! What is kept of the hub in the browser's storage: a directory for each, with its files and a manifest.

use stratune_hub::{Entry, Part, RemoteFiles};
use stratune_protocol::{Asset, KeptFiles, Problem, ProblemKind};
use stratune_store::{OpfsFiles, OpfsPart};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, StorageEstimate};

use crate::manifest::{KeptFile, Manifest, PREFIX, directory};
use crate::port::scope;

/// The name of the manifest in its directory.
const MANIFEST: &str = "kept.json";
/// Bytes that are left free beside a download.
const MARGIN: u64 = 64 << 20;

/// A directory that is being filled.
pub struct Shelf {
    files: OpfsFiles,
    manifest: Manifest,
}

impl Shelf {
    /// The directory of what is called `name`, for these files.
    pub async fn open(name: &str, dataset: bool, remote: &RemoteFiles) -> Result<Self, Problem> {
        let files = OpfsFiles::open(&directory(name)).await?;
        let there = read(&files).await?.unwrap_or_default();
        let file = |entry: &Entry| {
            let name = file_name(&entry.path);
            let whole = there.files.iter().any(|file| file.whole && file.name == name && file.bytes == entry.size);
            KeptFile { name: name.into(), bytes: entry.size, whole }
        };
        let manifest = Manifest { name: name.into(), dataset, files: remote.files.iter().map(file).collect() };
        let shelf = Self { files, manifest };
        shelf.write().await?;
        Ok(shelf)
    }

    /// Whether a file is here, checked.
    pub async fn has(&self, entry: &Entry) -> Result<bool, Problem> {
        let name = file_name(&entry.path);
        let whole = self.manifest.files.iter().any(|file| file.whole && file.name == name);
        Ok(whole && size(&self.files, name).await? == entry.size)
    }

    /// Where a file comes to.
    pub async fn part(&self, entry: &Entry) -> Result<StoredPart, Problem> {
        Ok(StoredPart(OpfsPart::open(&self.files, file_name(&entry.path)).await?))
    }

    /// Writes down that a file is whole. Its part is closed by now.
    pub async fn is_whole(&mut self, entry: &Entry) -> Result<(), Problem> {
        let name = file_name(&entry.path);
        self.manifest.files.iter_mut().filter(|file| file.name == name).for_each(|file| file.whole = true);
        self.write().await
    }

    async fn write(&self) -> Result<(), Problem> {
        let json = serde_json::to_vec(&self.manifest).map_err(|e| {
            Problem::new(ProblemKind::Internal, format!("the list of kept files cannot be written: {e}"))
                .next("please report this")
        })?;
        self.files.put(MANIFEST, &json).await
    }
}

/// A file in the browser's storage while it comes.
pub struct StoredPart(pub OpfsPart);

impl Part for StoredPart {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<usize, Problem> {
        self.0.read(at, bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.0.append(bytes)
    }

    fn clear(&mut self) -> Result<(), Problem> {
        self.0.clear()
    }
}

/// All that is kept, half downloads among them.
pub async fn kept() -> Result<Vec<KeptFiles>, Problem> {
    let mut all = Vec::new();
    for name in OpfsFiles::directories(PREFIX).await? {
        let files = OpfsFiles::open(&name).await?;
        match read(&files).await? {
            Some(manifest) => all.push(manifest.kept(&sizes(&files, &manifest).await?)),
            // Its manifest was cut short. What is there is looked at again when it is fetched, or can be removed.
            None => {
                let mut there = 0;
                for file in files.names().await? {
                    there += size(&files, &file).await?;
                }
                let name = name.trim_start_matches(PREFIX).to_string();
                all.push(KeptFiles { name, dataset: false, bytes: there, there, whole: false });
            }
        }
    }
    Ok(all)
}

/// Bytes that are here of what is to be kept under a name.
pub async fn there(name: &str) -> Result<u64, Problem> {
    Ok(kept().await?.into_iter().find(|kept| kept.name == name).map_or(0, |kept| kept.there))
}

/// The files of something kept, whole.
pub async fn files(name: &str) -> Result<(bool, Vec<Asset>, Vec<File>), Problem> {
    let directory = OpfsFiles::open(&directory(name)).await?;
    let manifest = read(&directory).await?.unwrap_or_default();
    let kept = manifest.kept(&sizes(&directory, &manifest).await?);
    if !kept.whole || manifest.files.is_empty() {
        return Err(Problem::new(ProblemKind::Storage, "not all of it is in the browser's storage")
            .at(name)
            .next("fetch it again: what is there is kept"));
    }
    let (mut assets, mut files) = (Vec::new(), Vec::new());
    for KeptFile { name, bytes, .. } in manifest.files {
        files.extend(directory.file(&name).await?);
        assets.push(Asset { name, bytes });
    }
    Ok((manifest.dataset, assets, files))
}

/// Removes what is kept under a name.
pub async fn remove(name: &str) -> Result<(), Problem> {
    OpfsFiles::remove_directory(&directory(name)).await
}

/// Refuses a download that the browser's storage has no room for.
pub async fn check_room(bytes: u64) -> Result<(), Problem> {
    let Ok(asked) = scope().navigator().storage().estimate() else { return Ok(()) };
    let Ok(estimate) = JsFuture::from(asked).await else { return Ok(()) };
    let estimate: StorageEstimate = estimate.unchecked_into();
    let (Some(quota), Some(usage)) = (estimate.get_quota(), estimate.get_usage()) else { return Ok(()) };
    let free = (quota - usage).max(0.0) as u64;
    if bytes.saturating_add(MARGIN) <= free {
        return Ok(());
    }
    let what = format!(
        "it needs {} and the browser's storage has {} left for this page",
        stratune_protocol::Bytes(bytes),
        stratune_protocol::Bytes(free)
    );
    Err(Problem::new(ProblemKind::Storage, what)
        .next("remove something kept, free space on this device, or use a window that is not private"))
}

/// The manifest of a directory; one that cannot be read is none.
async fn read(files: &OpfsFiles) -> Result<Option<Manifest>, Problem> {
    Ok(files.get(MANIFEST).await?.and_then(|json| serde_json::from_slice(&json).ok()))
}

async fn sizes(files: &OpfsFiles, manifest: &Manifest) -> Result<Vec<u64>, Problem> {
    let mut sizes = Vec::new();
    for file in &manifest.files {
        sizes.push(size(files, &file.name).await?);
    }
    Ok(sizes)
}

async fn size(files: &OpfsFiles, name: &str) -> Result<u64, Problem> {
    Ok(files.file(name).await?.map_or(0, |file| file.size() as u64))
}

/// What a file of a repository is called in a directory without folders.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
