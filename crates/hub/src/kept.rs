//! What is in the cache, found without asking anyone.

use std::fs;
use std::path::{Path, PathBuf};

use stratune_protocol::{HubId, Problem, is_commit};

use crate::cache::Cache;
use crate::choose::{self, Chosen};
use crate::dataset::CONVERTED;
use crate::entry::{Entry, Hash};
use crate::repository::{MAIN, Repository};
use crate::splits;

/// Folders below a snapshot that are looked into.
const DEPTH: usize = 4;
/// Files of a snapshot that are looked at.
const MOST_FILES: usize = 100_000;

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptModel {
    /// Its name with the commit, as a run keeps it.
    pub pinned: HubId,
    /// Its folder, or the GGUF file, of several pieces the first.
    pub path: PathBuf,
}

/// Rows in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRows {
    /// Their name with the commit, as a run keeps it.
    pub pinned: HubId,
    /// Their files in order: what each is called, and where it is.
    pub files: Vec<(String, PathBuf)>,
}

impl Cache {
    /// Finds a model that was fetched earlier, by whatever tool, if its weights are all there.
    ///
    /// # Errors
    /// It is not there, or not whole.
    pub fn kept(&self, id: &HubId) -> Result<KeptModel, Problem> {
        let repository = Repository::model(&id.repository);
        let commit = self.commit(&repository, &[id.revision.as_deref().unwrap_or(MAIN)])?;
        let snapshot = self.snapshot(&repository, &commit);
        let entries = files_below(&snapshot);
        let not_whole = |problem: Problem| self.not_whole(&repository, &problem);
        let files = match choose::choose(&entries, id.file.as_deref()).map_err(not_whole)? {
            Chosen::Files(files) => files,
            Chosen::Indexed(mut files, index) => {
                let bytes = fs::read(snapshot.join(&index.path)).unwrap_or_default();
                files.extend(choose::shards(&bytes, &entries).map_err(not_whole)?);
                files
            }
        };
        let gguf = files.iter().find(|file| file.path.ends_with(".gguf"));
        let path = gguf.map_or_else(|| snapshot.clone(), |file| snapshot.join(&file.path));
        let pinned = id.at_commit(&commit);
        // The repository may have other weights, which are not here: what is taken is named.
        let file = pinned.file.clone().or_else(|| gguf.map(|file| file.path.clone()));
        Ok(KeptModel { pinned: HubId { file, ..pinned }, path })
    }

    /// Finds rows that were fetched earlier, if none of their files is missing.
    ///
    /// # Errors
    /// They are not there, or not whole.
    pub fn kept_rows(&self, id: &HubId) -> Result<KeptRows, Problem> {
        let repository = Repository::dataset(&id.repository);
        let revisions = match (&id.revision, &id.file) {
            (Some(revision), _) => vec![revision.as_str()],
            (None, Some(file)) if splits::is_file(file) => vec![MAIN],
            (None, _) => vec![CONVERTED, MAIN],
        };
        let commit = self.commit(&repository, &revisions)?;
        let snapshot = self.snapshot(&repository, &commit);
        let chosen = splits::choose(&files_below(&snapshot), id.file.as_deref());
        let chosen = chosen.and_then(|chosen| {
            // A file that is named is whole by itself.
            let named = chosen.files.iter().any(|file| file.path == chosen.name);
            if named { Ok(chosen) } else { splits::check_numbers(&chosen.files).map(|()| chosen) }
        });
        let chosen = chosen.map_err(|problem| self.not_whole(&repository, &problem))?;
        let file = |entry: &Entry| (format!("{}/{}", repository.id, entry.path), snapshot.join(&entry.path));
        let pinned = HubId { file: Some(chosen.name), ..id.at_commit(&commit) };
        Ok(KeptRows { pinned, files: chosen.files.iter().map(file).collect() })
    }

    /// The commit that the first of these revisions was which is known here.
    fn commit(&self, repository: &Repository, revisions: &[&str]) -> Result<String, Problem> {
        let known = |revision: &&str| {
            let refs = || fs::read_to_string(self.repository(repository).join("refs").join(revision)).ok();
            let commit = if is_commit(revision) { Some((*revision).into()) } else { refs() };
            commit.map(|text: String| text.trim().to_string()).filter(|text| is_commit(text))
        };
        let last = revisions.last().copied().unwrap_or(MAIN);
        let none = || self.none(repository, format!("{} at {last} is not in the cache", repository.id));
        revisions.iter().find_map(known).ok_or_else(none)
    }

    fn not_whole(&self, repository: &Repository, problem: &Problem) -> Problem {
        self.none(repository, format!("the cache has not all of {}: {}", repository.id, problem.what))
    }

    fn none(&self, repository: &Repository, what: String) -> Problem {
        Problem::input(what)
            .at(self.repository(repository).display().to_string())
            .next("fetch it with a connection, and without HF_HUB_OFFLINE")
    }
}

/// The files of a snapshot.
fn files_below(snapshot: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    walk(snapshot, "", DEPTH, &mut entries);
    entries
}

/// The files below a folder, through links; one whose link leads nowhere is not there.
fn walk(folder: &Path, prefix: &str, depth: usize, entries: &mut Vec<Entry>) {
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (Ok(meta), Ok(name)) = (fs::metadata(file.path()), file.file_name().into_string()) else { continue };
        if entries.len() >= MOST_FILES {
            return;
        }
        let path = format!("{prefix}{name}");
        if meta.is_file() {
            // Its hash was looked at when it came.
            entries.push(Entry { path, size: meta.len(), hash: Hash::Git(String::new()) });
        } else if depth > 0 {
            walk(&file.path(), &format!("{path}/"), depth - 1, entries);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::COMMIT;

    fn cache(files: &[&str]) -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("models--owner--toy");
        fs::create_dir_all(root.join("refs")).unwrap();
        fs::write(root.join("refs/main"), format!("{COMMIT}\n")).unwrap();
        for file in files {
            let path = root.join("snapshots").join(COMMIT).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
            fs::write(path, if file.ends_with("index.json") { index } else { "x" }).unwrap();
        }
        let cache = Cache::new(dir.path());
        (dir, cache)
    }

    fn kept(cache: &Cache, id: &str) -> Result<KeptModel, Problem> {
        cache.kept(&HubId::read(id).unwrap().unwrap())
    }

    #[test]
    fn a_whole_model_is_found() {
        let (_dir, one) = cache(&["config.json", "model.safetensors", "gguf/a-Q8_0.gguf"]);
        let snapshot = one.snapshot(&Repository::model("owner/toy"), COMMIT);
        for id in ["owner/toy".to_string(), "owner/toy@main".into(), format!("owner/toy@{COMMIT}")] {
            let kept = kept(&one, &id).unwrap();
            assert_eq!((kept.pinned.to_string(), kept.path), (format!("owner/toy@{COMMIT}"), snapshot.clone()));
        }
        let file = kept(&one, "owner/toy:Q8_0").unwrap();
        assert_eq!(file.path, snapshot.join("gguf/a-Q8_0.gguf"));
        assert_eq!(file.pinned.to_string(), format!("owner/toy@{COMMIT}:Q8_0"));
        let names = ["config.json", "model.safetensors.index.json", "1.safetensors", "2.safetensors"];
        let (_dir, several) = cache(&names);
        assert_eq!(
            kept(&several, "owner/toy").unwrap().path,
            several.snapshot(&Repository::model("owner/toy"), COMMIT)
        );
    }

    #[test]
    fn half_a_model_is_none() {
        for (files, id, what) in [
            (vec!["config.json"], "owner/toy", "has not all of owner/toy"),
            (vec!["config.json", "model.safetensors.index.json", "1.safetensors"], "owner/toy", "does not have"),
            (vec!["config.json", "model.safetensors"], "owner/toy@v2", "owner/toy at v2 is not in the cache"),
            (vec![], "owner/other", "owner/other at main is not in the cache"),
            (vec!["a-Q4_0.gguf"], "owner/toy:Q8_0", "no GGUF file of Q8_0"),
        ] {
            let (_dir, cache) = cache(&files);
            let problem = kept(&cache, id).unwrap_err();
            assert!(problem.what.contains(what) && problem.next.contains("HF_HUB_OFFLINE"), "{id}: {problem:?}");
        }
    }
}
