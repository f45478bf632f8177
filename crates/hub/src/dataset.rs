//! What a dataset on the hub is: the hub's conversion of it to Parquet, or the files of its own.

use serde::Deserialize;
use stratune_protocol::{HubId, Problem, is_commit};

use crate::choose;
use crate::client::{Hub, Watch};
use crate::repository::{MAIN, RemoteFiles, Repository};
use crate::splits::{self, ChosenRows};

/// The branch with the conversion.
pub(crate) const CONVERTED: &str = "refs/convert/parquet";

/// Rows on the hub, at a commit.
#[derive(Clone, Debug)]
pub struct RemoteDataset {
    /// Which, as the hub calls it now; its revision is the one that was asked for, its file says which rows.
    pub id: HubId,
    /// Their files.
    pub remote: RemoteFiles,
    /// The licence as its page says it.
    pub licence: Option<String>,
    /// Whether its terms have to be agreed to on its page.
    pub gated: bool,
    /// Whether these are the first rows alone: the hub converts 5 GB of a dataset.
    pub partial: bool,
    /// What else of it could be named, such as `default/test`.
    pub others: Vec<String>,
}

impl RemoteDataset {
    /// The name that a run keeps: repository, commit and rows.
    pub fn pinned(&self) -> HubId {
        self.id.at_commit(&self.remote.commit)
    }
}

/// The branches of a repository.
#[derive(Deserialize)]
struct Branches {
    #[serde(default)]
    converts: Vec<Branch>,
}

#[derive(Deserialize)]
struct Branch {
    #[serde(rename = "ref", default)]
    name: String,
    #[serde(rename = "targetCommit", default)]
    commit: String,
}

impl Hub {
    /// Looks a dataset up: the hub's conversion to Parquet if there is one, and neither a revision nor a file is named.
    ///
    /// # Errors
    /// It is not there or not to be had; or it has no rows that can be chosen.
    pub async fn dataset(&self, id: &HubId, watch: &mut Watch<'_>) -> Result<RemoteDataset, Problem> {
        let revision = id.revision.as_deref().unwrap_or(MAIN);
        let said = self.said(&Repository::dataset(&id.repository), revision, watch).await?;
        let repository = Repository::dataset(&said.id);
        let place = self.about(&repository, revision, "").place();
        let at = |problem: Problem| if problem.at.is_empty() { problem.at(&place) } else { problem };
        let open = id.revision.is_none() && !id.file.as_deref().is_some_and(splits::is_file);
        let converted = if open { self.converted(&repository, watch).await? } else { None };
        let (revision, commit) = match converted {
            Some(commit) => (CONVERTED, commit),
            None => (revision, said.sha.clone()),
        };
        let entries = self.tree(&repository, &commit, watch).await?;
        let ChosenRows { name, files, partial, others } = splits::choose(&entries, id.file.as_deref()).map_err(at)?;
        let bytes = choose::bytes(&files).map_err(at)?;
        Ok(RemoteDataset {
            id: HubId::of_parts(&said.id, Some(revision), Some(&name))?,
            licence: said.licence(),
            gated: said.is_gated(),
            remote: RemoteFiles { repository, revision: revision.into(), commit, files, bytes },
            partial,
            others,
        })
    }

    /// The commit of the hub's conversion, if there is one.
    async fn converted(&self, repository: &Repository, watch: &mut Watch<'_>) -> Result<Option<String>, Problem> {
        let about = self.about(repository, MAIN, "");
        let (json, _) = self.answer(self.address(repository.api().chain(["refs"])), &about, watch).await?;
        let branches: Branches = serde_json::from_slice(&json)
            .map_err(|e| about.network(format!("the hub's list of branches cannot be read: {e}")))?;
        let found = branches.converts.into_iter().find(|branch| branch.name == CONVERTED);
        Ok(found.map(|branch| branch.commit).filter(|commit| is_commit(commit)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::ops::ControlFlow;

    use pollster::block_on;

    use super::*;
    use crate::testing::{self, COMMIT, Fault, LoopbackHub, hub_with_token, hub_without_token};
    use crate::{Cache, Progress};

    const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn go_on(_: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn repository() -> testing::Repository {
        let files: [(&str, &[u8], bool); 3] =
            [("README.md", b"# rows", false), ("train.jsonl", b"own rows", false), ("more/x.csv", b"a,b", false)];
        testing::Repository {
            former: Some("rows".into()),
            ..testing::Repository::dataset("owner/rows", COMMIT, &files)
        }
    }

    fn converted() -> testing::Repository {
        let files: [(&str, &[u8], bool); 4] = [
            ("default/train/0000.parquet", b"first", true),
            ("default/train/0001.parquet", b"second", true),
            ("default/test/0000.parquet", b"third", true),
            ("big/partial-train/0000.parquet", b"fourth", true),
        ];
        let branch = Some(CONVERTED.to_string());
        testing::Repository { branch, ..testing::Repository::dataset("owner/rows", OTHER, &files) }
    }

    fn look(hub: &Hub, id: &str) -> Result<RemoteDataset, Problem> {
        block_on(hub.dataset(&HubId::read_dataset(id).unwrap().unwrap(), &mut go_on))
    }

    #[test]
    fn the_conversion_or_the_files_are_chosen() {
        let alone = testing::Repository { id: "owner/alone".into(), former: None, ..repository() };
        let server = LoopbackHub::start(vec![repository(), converted(), alone]);
        let hub = hub_without_token(&server);
        for (id, pinned, bytes, partial) in [
            ("owner/rows", format!("owner/rows@{OTHER}:default/train"), 11, false),
            ("https://huggingface.co/datasets/rows", format!("owner/rows@{OTHER}:default/train"), 11, false),
            ("owner/rows:test", format!("owner/rows@{OTHER}:default/test"), 5, false),
            ("owner/rows:big", format!("owner/rows@{OTHER}:big/train"), 6, true),
            ("owner/rows@main", format!("owner/rows@{COMMIT}:default/train"), 8, false),
            ("owner/rows:more/x.csv", format!("owner/rows@{COMMIT}:more/x.csv"), 3, false),
            (&format!("owner/rows@{OTHER}:default/test"), format!("owner/rows@{OTHER}:default/test"), 5, false),
        ] {
            let rows = look(&hub, id).unwrap();
            assert_eq!((rows.pinned().to_string(), rows.remote.bytes, rows.partial), (pinned, bytes, partial), "{id}");
            assert_eq!((rows.licence.as_deref(), rows.gated), (Some("apache-2.0"), false));
        }
        // Without a conversion the rows are its own; of two forms one is taken.
        assert_eq!(
            look(&hub, "owner/alone").unwrap().pinned().to_string(),
            format!("owner/alone@{COMMIT}:default/train")
        );
        for (id, what) in [
            ("owner/none", "owner/none is not on the hub, or is private"),
            ("owner/rows@none", "owner/rows has no revision none"),
            ("owner/rows:nothing", "no part nothing; there are big/train, default/test, default/train"),
            ("owner/rows:none.csv", "no file none.csv"),
        ] {
            let problem = look(&hub, id).unwrap_err();
            assert!(problem.what.contains(what), "{id}: {problem:?}");
            assert!(problem.at.contains("/datasets/owner/"), "{problem:?}");
        }
    }

    #[test]
    fn rows_are_fetched_resumed_and_kept() {
        let server = LoopbackHub::start(vec![repository(), testing::Repository { gated: true, ..converted() }]);
        let (hub, dir) = (hub_with_token(&server), tempfile::tempdir().unwrap());
        let cache = Cache::new(dir.path());
        let rows = look(&hub, "owner/rows").unwrap();
        server.fault("/xet-bridge/", Fault::CutBody(2));
        server.fault_always("/xet-bridge/", Fault::Close);
        block_on(cache.fetch(&hub, &rows.remote, &mut go_on)).unwrap_err();
        assert_eq!(cache.missing(&rows.remote), 9);
        assert!(cache.kept_rows(&rows.pinned()).is_err(), "half of the rows are none");

        server.forget();
        server.fault("/xet-bridge/", Fault::Flip(1));
        block_on(cache.fetch(&hub, &rows.remote, &mut go_on)).unwrap();
        let log = server.take_log();
        assert!(log.iter().any(|asked| asked.range.as_deref() == Some("bytes=2-4")), "{log:?}");
        assert!(log.iter().all(|asked| asked.hub == asked.authorization.is_some()), "{log:?}");
        assert!(log[0].target.starts_with(&format!("/datasets/owner/rows/resolve/{OTHER}/default/")), "{log:?}");
        for id in ["owner/rows", "owner/rows:train", &rows.pinned().to_string()] {
            let kept = cache.kept_rows(&HubId::read_dataset(id).unwrap().unwrap()).unwrap();
            assert_eq!(kept.pinned, rows.pinned(), "{id}");
            let bytes: Vec<_> = kept.files.iter().map(|(_, path)| fs::read(path).unwrap()).collect();
            assert_eq!(bytes, [b"first".to_vec(), b"second".to_vec()]);
            assert_eq!(kept.files[1].0, "owner/rows/default/train/0001.parquet");
        }
        assert!(dir.path().join("datasets--owner--rows/refs/refs/convert/parquet").is_file());

        let own = look(&hub, "owner/rows:train.jsonl").unwrap();
        block_on(cache.fetch(&hub, &own.remote, &mut go_on)).unwrap();
        let kept = cache.kept_rows(&HubId::read_dataset("owner/rows:train.jsonl").unwrap().unwrap()).unwrap();
        assert_eq!(fs::read(&kept.files[0].1).unwrap(), b"own rows");
        for (id, what) in [
            ("owner/rows:test", "has not all of owner/rows"),
            ("owner/rows@v2", "owner/rows at v2 is not in the cache"),
            ("owner/other", "owner/other at main is not in the cache"),
        ] {
            let problem = cache.kept_rows(&HubId::read_dataset(id).unwrap().unwrap()).unwrap_err();
            assert!(problem.what.contains(what), "{id}: {problem:?}");
        }
    }

    #[test]
    fn gated_rows_are_told() {
        let server = LoopbackHub::start(vec![repository(), testing::Repository { gated: true, ..converted() }]);
        let (hub, dir) = (hub_without_token(&server), tempfile::tempdir().unwrap());
        let rows = look(&hub, "owner/rows").unwrap();
        let problem = block_on(Cache::new(dir.path()).fetch(&hub, &rows.remote, &mut go_on)).unwrap_err();
        assert!(
            problem.what.contains("owner/rows is gated") && problem.next.contains("/datasets/owner/rows"),
            "{problem:?}"
        );
    }
}
