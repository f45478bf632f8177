//! What a model on the hub is: at which commit, of which files, under which terms. Three questions to the API, and no weight.

use serde::Deserialize;
use serde_json::Value;
use stratune_protocol::{HubId, Problem, is_commit};

use crate::choose::{self, Chosen};
use crate::client::{Hub, Watch};
use crate::download::Download;
use crate::entry::Entry;
use crate::part::Part;

/// The branch that is meant when none is named.
const MAIN: &str = "main";
/// Pages of a listing that are read, of a thousand files each.
const MOST_PAGES: usize = 100;
/// Bytes that an index of weights may have.
const LARGEST_INDEX: u64 = 64 << 20;

/// A model on the hub, at a commit.
#[derive(Clone, Debug)]
pub struct RemoteModel {
    /// Which, as the hub calls it now; its revision is the one that was asked for.
    pub id: HubId,
    /// The commit that the revision is.
    pub commit: String,
    /// Its files: all that are wanted and no other.
    pub files: Vec<Entry>,
    /// Bytes of all files.
    pub bytes: u64,
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
    /// The revision that was asked for.
    pub fn revision(&self) -> &str {
        self.id.revision.as_deref().unwrap_or(MAIN)
    }

    /// The name that a run keeps: repository, commit and file.
    pub fn pinned(&self) -> HubId {
        self.id.at_commit(&self.commit)
    }

    /// Whether it is in GGUF and not a folder.
    pub fn is_gguf(&self) -> bool {
        self.files.iter().any(|file| file.path.ends_with(".gguf"))
    }
}

/// What the API says of a model.
#[derive(Deserialize)]
struct About {
    id: String,
    sha: String,
    #[serde(default)]
    gated: Value,
    #[serde(default)]
    disabled: bool,
    #[serde(default, rename = "cardData")]
    card: Value,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    safetensors: Value,
}

impl Hub {
    /// Looks a model up. `known` gives a file's bytes if they are here already.
    ///
    /// # Errors
    /// It is not there or not to be had; or it is no model that can be chosen of its files.
    pub async fn model(
        &self,
        id: &HubId,
        known: &dyn Fn(&str, &Entry) -> Option<Vec<u8>>,
        watch: &mut Watch<'_>,
    ) -> Result<RemoteModel, Problem> {
        let revision = id.revision.as_deref().unwrap_or(MAIN);
        let about = self.about(&id.repository, revision, "");
        let place = about.place();
        let url =
            self.address(["api", "models"].into_iter().chain(id.repository.split('/')).chain(["revision", revision]));
        let (json, _) = self.answer(url, &about, watch).await?;
        let unread =
            |why: String| about.network(format!("what the hub says of {} cannot be read: {why}", id.repository));
        let said: About = serde_json::from_slice(&json).map_err(|e| unread(e.to_string()))?;
        let id = HubId::of_parts(&said.id, id.revision.as_deref(), id.file.as_deref()).map_err(|p| unread(p.what))?;
        if !is_commit(&said.sha) {
            return Err(unread("it has no commit".into()));
        }
        if said.disabled {
            return Err(Problem::input(format!("the hub has disabled {}", id.repository))
                .at(place)
                .next("use another model"));
        }
        let entries = self.tree(&id.repository, &said.sha, watch).await?;
        let at = |problem: Problem| if problem.at.is_empty() { problem.at(&place) } else { problem };
        let files = match choose::choose(&entries, id.file.as_deref()).map_err(at)? {
            Chosen::Files(files) => files,
            Chosen::Indexed(mut files, index) => {
                let bytes = match known(&id.repository, &index) {
                    Some(bytes) => bytes,
                    None => self.small(&id.repository, &said.sha, &index, watch).await?,
                };
                files.extend(choose::shards(&bytes, &entries).map_err(|p| p.at(format!("{place} {}", index.path)))?);
                files
            }
        };
        let bytes = choose::bytes(&files).map_err(at)?;
        let text = |value: &Value| value.as_str().filter(|text| !text.contains(char::is_control)).map(str::to_owned);
        // The name of one that is none of the hub's list.
        let licence = text(&said.card["license_name"]).or_else(|| text(&said.card["license"]));
        Ok(RemoteModel {
            id,
            commit: said.sha,
            files,
            bytes,
            licence,
            gated: !matches!(said.gated, Value::Null | Value::Bool(false)),
            family: text(&said.config["model_type"]),
            parameters: said.safetensors["total"].as_u64(),
        })
    }

    /// All files of a repository at a commit.
    async fn tree(&self, repository: &str, commit: &str, watch: &mut Watch<'_>) -> Result<Vec<Entry>, Problem> {
        let about = self.about(repository, commit, "");
        let mut url = self.address(["api", "models"].into_iter().chain(repository.split('/')).chain(["tree", commit]));
        url.set_query(Some("recursive=true"));
        let mut entries = Vec::new();
        for _ in 0..MOST_PAGES {
            let (json, headers) = self.answer(url, &about, watch).await?;
            entries.extend(Entry::page(&json).map_err(|problem| problem.at(about.place()))?);
            match self.next_page(&headers, &about)? {
                Some(next) => url = next,
                None => return Ok(entries),
            }
        }
        Err(Problem::input(format!("the hub's list of files has more than {MOST_PAGES} pages"))
            .at(about.place())
            .next("use a repository with fewer files"))
    }

    /// A small file whole, checked.
    async fn small(
        &self,
        repository: &str,
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
    use crate::testing::{COMMIT, Fault, LoopbackHub, Repository, TOKEN, git_sha1, hub_with_token, hub_without_token};

    const INDEX: &[u8] =
        br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;

    fn repository() -> Repository {
        let files: [(&str, &[u8], bool); 6] = [
            ("README.md", b"# toy", false),
            ("config.json", b"{}", false),
            ("model-00001-of-00002.safetensors", b"first", true),
            ("model-00002-of-00002.safetensors", b"second", true),
            ("model.safetensors.index.json", INDEX, false),
            ("tokenizer.json", b"[]", false),
        ];
        Repository { former: Some("toy".into()), ..Repository::new("owner/toy", COMMIT, &files) }
    }

    fn look(hub: &Hub, id: &str) -> Result<RemoteModel, Problem> {
        let id = HubId::read(id).unwrap().unwrap();
        block_on(hub.model(&id, &|_, _| None, &mut |_| ControlFlow::Continue(())))
    }

    #[test]
    fn a_model_is_looked_up_by_any_of_its_names() {
        let server = LoopbackHub::start(vec![Repository { page: 2, ..repository() }]);
        let hub = hub_without_token(&server);
        for (id, revision) in [
            ("owner/toy", "main"),
            ("owner/toy@refs/pr/1", "refs/pr/1"),
            ("https://huggingface.co/toy", "main"),
            (&format!("owner/toy@{COMMIT}"), COMMIT),
        ] {
            let model = look(&hub, id).unwrap();
            assert_eq!((model.id.repository.as_str(), model.revision()), ("owner/toy", revision), "{id}");
            assert_eq!(model.pinned().to_string(), format!("owner/toy@{COMMIT}"));
            assert_eq!((model.files.len(), model.bytes), (5, 2 + 2 + 5 + 6 + INDEX.len() as u64));
            assert_eq!((model.licence.as_deref(), model.family.as_deref()), (Some("apache-2.0"), Some("llama")));
            assert_eq!((model.gated, model.is_gguf(), model.parameters), (false, false, Some(1234)));
        }
        let pages = server.take_log().iter().filter(|asked| asked.target.contains("/tree/")).count();
        assert_eq!(pages, 4 * 4, "seven entries, two on a page");
    }

    #[test]
    fn what_is_not_to_be_had_is_told() {
        let gated = Repository { id: "owner/gated".into(), gated: true, former: None, ..repository() };
        let pickled = Repository::new("owner/pickled", COMMIT, &[("config.json", b"{}", false), ("a.bin", b"x", true)]);
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
        let with = |id: &str, entries| Repository { id: id.into(), former: None, entries, ..repository() };
        let server = LoopbackHub::start(vec![
            with("owner/climbs", vec![entry("../../.ssh/authorized_keys")]),
            with("owner/huge", vec![huge]),
            Repository { endless: true, ..with("owner/endless", Vec::new()) },
            Repository { commit: "../../x".into(), ..with("owner/commit", Vec::new()) },
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
        let about = hub.about("o/n", "main", "");
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
        let known = |repository: &str, entry: &Entry| {
            assert_eq!((repository, entry.path.as_str()), ("owner/toy", "model.safetensors.index.json"));
            Some(INDEX.to_vec())
        };
        let model = block_on(hub.model(&id, &known, &mut |_| ControlFlow::Continue(()))).unwrap();
        assert_eq!(model.files.len(), 5);
        assert_eq!(server.take_log().len(), 2);
    }
}
