//! What a model on the hub is: at which commit, of which files, under which terms. Three questions to the API, and no weight.

use stratune_protocol::{HubId, Problem};

use crate::choose::{self, Chosen};
use crate::client::{Hub, Watch};
use crate::download::Download;
use crate::entry::Entry;
use crate::part::Part;
use crate::repository::{MAIN, RemoteFiles, Repository, text};

/// Bytes that an index of weights may have.
const LARGEST_INDEX: u64 = 64 << 20;

/// A model on the hub, at a commit.
#[derive(Clone, Debug)]
pub struct RemoteModel {
    /// Which, as the hub calls it now; its revision is the one that was asked for.
    pub id: HubId,
    /// Its files.
    pub remote: RemoteFiles,
    /// The licence as its page says it, such as `apache-2.0`.
    pub licence: Option<String>,
    /// Whether its terms have to be agreed to on its page.
    pub gated: bool,
    /// The family that its `config.json` states, such as `llama`.
    pub family: Option<String>,
    /// Parameters, where the hub has counted them.
    pub parameters: Option<u64>,
}

impl RemoteModel {
    /// The name that a run keeps: repository, commit and file.
    pub fn pinned(&self) -> HubId {
        self.id.at_commit(&self.remote.commit)
    }

    /// Whether it is in GGUF and not a folder.
    pub fn is_gguf(&self) -> bool {
        self.remote.files.iter().any(|file| file.path.ends_with(".gguf"))
    }
}

impl Hub {
    /// Looks a model up. `known` gives a file's bytes if they are here already.
    ///
    /// # Errors
    /// It is not there or not to be had; or it is no model that can be chosen of its files.
    pub async fn model(
        &self,
        id: &HubId,
        known: &dyn Fn(&Repository, &Entry) -> Option<Vec<u8>>,
        watch: &mut Watch<'_>,
    ) -> Result<RemoteModel, Problem> {
        let revision = id.revision.as_deref().unwrap_or(MAIN);
        let said = self.said(&Repository::model(&id.repository), revision, watch).await?;
        let id = HubId::of_parts(&said.id, id.revision.as_deref(), id.file.as_deref())?;
        let repository = Repository::model(&id.repository);
        let entries = self.tree(&repository, &said.sha, watch).await?;
        let place = self.about(&repository, revision, "").place();
        let at = |problem: Problem| if problem.at.is_empty() { problem.at(&place) } else { problem };
        let files = match choose::choose(&entries, id.file.as_deref()).map_err(at)? {
            Chosen::Files(files) => files,
            Chosen::Indexed(mut files, index) => {
                let bytes = match known(&repository, &index) {
                    Some(bytes) => bytes,
                    None => self.small(&repository, &said.sha, &index, watch).await?,
                };
                files.extend(choose::shards(&bytes, &entries).map_err(|p| p.at(format!("{place} {}", index.path)))?);
                files
            }
        };
        let bytes = choose::bytes(&files).map_err(at)?;
        Ok(RemoteModel {
            licence: said.licence(),
            gated: said.is_gated(),
            family: text(&said.config["model_type"]).or_else(|| text(&said.gguf["architecture"])),
            parameters: said.safetensors["total"].as_u64().or_else(|| said.gguf["total"].as_u64()),
            remote: RemoteFiles { repository, revision: revision.into(), commit: said.sha, files, bytes },
            id,
        })
    }

    /// A small file whole, checked.
    async fn small(
        &self,
        repository: &Repository,
        commit: &str,
        entry: &Entry,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u8>, Problem> {
        if entry.size > LARGEST_INDEX {
            return Err(Problem::input(format!("{} has {} bytes, which no index has", entry.path, entry.size))
                .at(self.about(repository, commit, "").place())
                .next("use another model"));
        }
        let mut part = InMemory(Vec::new());
        let download = Download::new(self, repository, commit, entry, &mut part);
        let mut told =
            |stage, done| watch(&crate::Progress { file: entry.path.clone(), stage, done, total: entry.size });
        download.run(&mut told).await?;
        Ok(part.0)
    }
}

/// A small file while it comes.
struct InMemory(Vec<u8>);

impl Part for InMemory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<usize, Problem> {
        let rest = usize::try_from(at).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.0.extend(bytes);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Problem> {
        self.0.clear();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::ops::ControlFlow;

    use pollster::block_on;
    use serde_json::json;

    use super::*;
    use crate::testing::{self, COMMIT, Fault, LoopbackHub, TOKEN, git_sha1, hub_with_token, hub_without_token};

    const INDEX: &[u8] =
        br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;

    fn repository() -> testing::Repository {
        let files: [(&str, &[u8], bool); 6] = [
            ("README.md", b"# toy", false),
            ("config.json", b"{}", false),
            ("model-00001-of-00002.safetensors", b"first", true),
            ("model-00002-of-00002.safetensors", b"second", true),
            ("model.safetensors.index.json", INDEX, false),
            ("tokenizer.json", b"[]", false),
        ];
        testing::Repository { former: Some("toy".into()), ..testing::Repository::new("owner/toy", COMMIT, &files) }
    }

    fn look(hub: &Hub, id: &str) -> Result<RemoteModel, Problem> {
        let id = HubId::read(id).unwrap().unwrap();
        block_on(hub.model(&id, &|_, _| None, &mut |_| ControlFlow::Continue(())))
    }

    #[test]
    fn a_model_is_looked_up_by_any_of_its_names() {
        let server = LoopbackHub::start(vec![testing::Repository { page: 2, ..repository() }]);
        let hub = hub_without_token(&server);
        for (id, revision) in [
            ("owner/toy", "main"),
            ("owner/toy@refs/pr/1", "refs/pr/1"),
            ("https://huggingface.co/toy", "main"),
            (&format!("owner/toy@{COMMIT}"), COMMIT),
        ] {
            let model = look(&hub, id).unwrap();
            assert_eq!((model.id.repository.as_str(), model.remote.revision.as_str()), ("owner/toy", revision), "{id}");
            assert_eq!(model.pinned().to_string(), format!("owner/toy@{COMMIT}"));
            assert_eq!((model.remote.files.len(), model.remote.bytes), (5, 2 + 2 + 5 + 6 + INDEX.len() as u64));
            assert_eq!((model.licence.as_deref(), model.family.as_deref()), (Some("apache-2.0"), Some("llama")));
            assert_eq!((model.gated, model.is_gguf(), model.parameters), (false, false, Some(1234)));
        }
        let pages = server.take_log().iter().filter(|asked| asked.target.contains("/tree/")).count();
        assert_eq!(pages, 4 * 4, "seven entries, two on a page");
    }

    #[test]
    fn what_is_not_to_be_had_is_told() {
        let gated = testing::Repository { id: "owner/gated".into(), gated: true, former: None, ..repository() };
        let pickled =
            testing::Repository::new("owner/pickled", COMMIT, &[("config.json", b"{}", false), ("a.bin", b"x", true)]);
        let server = LoopbackHub::start(vec![repository(), gated, pickled]);
        let (hub, with_token) = (hub_without_token(&server), hub_with_token(&server));
        let other = Hub::new(crate::testing::quick(), server.base(), crate::Token::new("hf_other").unwrap()).unwrap();
        for (hub, id, what, next) in [
            (&hub, "owner/none", "owner/none is not on the hub, or is private", "give a token"),
            (&with_token, "owner/none", "owner/none is not on the hub, or is private", "check the name"),
            (&hub, "owner/toy@none", "owner/toy has no revision none", "a branch"),
            (&hub, "owner/gated", "owner/gated is gated", "agree at http://127.0.0.1"),
            (&other, "owner/gated", "has no access yet", "ask for it"),
            (&hub, "owner/toy:Q4_0", "no GGUF file of Q4_0", "leave it out"),
            (&hub, "owner/pickled", "pickle", "safetensors"),
        ] {
            let problem = look(hub, id).unwrap_err();
            assert!(problem.what.contains(what) && problem.next.contains(next), "{id}: {problem:?}");
            assert!(problem.at.starts_with(server.base()), "{problem:?}");
        }
        assert!(look(&with_token, "owner/gated").unwrap().gated);
        assert!(server.take_log().iter().all(|asked| asked.hub || asked.authorization.is_none()));
        assert!(!format!("{:?}", with_token.has_token()).contains(TOKEN));
    }

    #[test]
    fn a_hostile_hub_is_not_trusted() {
        let oid = git_sha1(b"x");
        let entry = |path: &str| json!({ "type": "file", "path": path, "oid": oid, "size": 1 });
        let huge = json!({ "type": "file", "path": "model.safetensors", "oid": oid, "size": u64::MAX });
        let with = |id: &str, entries| testing::Repository { id: id.into(), former: None, entries, ..repository() };
        let server = LoopbackHub::start(vec![
            with("owner/climbs", vec![entry("../../.ssh/authorized_keys")]),
            with("owner/huge", vec![huge]),
            testing::Repository { endless: true, ..with("owner/endless", Vec::new()) },
            testing::Repository { commit: "../../x".into(), ..with("owner/commit", Vec::new()) },
            with("owner/elsewhere", Vec::new()),
        ]);
        let hub = hub_without_token(&server);
        for (id, what) in [
            ("owner/climbs", "cannot be trusted"),
            ("owner/huge", "sizes of the files cannot be true"),
            ("owner/endless", "more than 100 pages"),
            ("owner/commit", "it has no commit"),
        ] {
            let problem = look(&hub, id).unwrap_err();
            assert!(problem.what.contains(what), "{id}: {problem:?}");
        }
        let next = |to: &str| Fault::Status(200, vec![("Link", format!("<{to}>; rel=\"next\""))]);
        let repository = Repository::model("o/n");
        let about = hub.about(&repository, "main", "");
        for to in ["http://169.254.169.254/x", "https://huggingface.co/x", "file:///x"] {
            let Fault::Status(_, headers) = next(to) else { panic!() };
            let headers = headers.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
            assert!(hub.next_page(&headers, &about).is_err(), "{to}");
        }
        // A page for people where JSON should be, as proxies send it.
        server.fault_always("/api/models/owner/elsewhere", Fault::Status(200, Vec::new()));
        assert!(look(&hub, "owner/elsewhere").unwrap_err().what.contains("cannot be read"));
    }

    #[test]
    fn an_index_that_is_here_is_not_fetched_again() {
        let server = LoopbackHub::start(vec![repository()]);
        let hub = hub_without_token(&server);
        let id = HubId::read("owner/toy").unwrap().unwrap();
        let known = |repository: &Repository, entry: &Entry| {
            assert_eq!((repository.id.as_str(), entry.path.as_str()), ("owner/toy", "model.safetensors.index.json"));
            Some(INDEX.to_vec())
        };
        let model = block_on(hub.model(&id, &known, &mut |_| ControlFlow::Continue(()))).unwrap();
        assert_eq!(model.remote.files.len(), 5);
        assert_eq!(server.take_log().len(), 2);
    }
}
