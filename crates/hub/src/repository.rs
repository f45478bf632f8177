//! A repository of the hub, and files of it at one commit: what is fetched, whatever it is of.

use serde::Deserialize;
use serde_json::Value;
use stratune_protocol::{HubId, Problem, is_commit};

use crate::client::{Hub, Watch};
use crate::entry::Entry;

/// The branch that is meant when none is named.
pub(crate) const MAIN: &str = "main";
/// Pages of a listing that are read, of a thousand files each.
const MOST_PAGES: usize = 100;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// Rows to learn from.
    Dataset,
}

impl Kind {
    /// Its name in addresses of the API and in the cache.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A repository of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// What it holds.
    pub kind: Kind,
    /// `owner/name`, or a name alone for the oldest.
    pub id: String,
}

impl Repository {
    /// A model's.
    pub fn model(id: &str) -> Self {
        Self { kind: Kind::Model, id: id.into() }
    }

    /// A dataset's.
    pub fn dataset(id: &str) -> Self {
        Self { kind: Kind::Dataset, id: id.into() }
    }

    /// The segments of its page's address.
    pub(crate) fn page(&self) -> impl Iterator<Item = &str> {
        let prefix = (self.kind == Kind::Dataset).then_some("datasets");
        prefix.into_iter().chain(self.id.split('/'))
    }

    /// The segments of its address in the API.
    pub(crate) fn api(&self) -> impl Iterator<Item = &str> {
        ["api", self.kind.plural()].into_iter().chain(self.id.split('/'))
    }
}

/// Files of a repository at a commit: all that are wanted and no other.
#[derive(Clone, Debug)]
pub struct RemoteFiles {
    /// Where they are, as the hub calls it now.
    pub repository: Repository,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that it is.
    pub commit: String,
    /// The files.
    pub files: Vec<Entry>,
    /// Bytes of all files.
    pub bytes: u64,
}

/// What the API says of a repository at a revision.
#[derive(Deserialize)]
pub(crate) struct Said {
    /// What it is called now.
    pub id: String,
    /// The commit.
    pub sha: String,
    #[serde(default)]
    gated: Value,
    #[serde(default)]
    disabled: bool,
    #[serde(default, rename = "cardData")]
    card: Value,
    #[serde(default)]
    pub config: Value,
    #[serde(default)]
    pub safetensors: Value,
    #[serde(default)]
    pub gguf: Value,
}

impl Said {
    /// Whether its terms have to be agreed to on its page.
    pub fn is_gated(&self) -> bool {
        !matches!(self.gated, Value::Null | Value::Bool(false))
    }

    /// The licence as its page says it, such as `apache-2.0`; the name of one that is none of the hub's list.
    pub fn licence(&self) -> Option<String> {
        text(&self.card["license_name"]).or_else(|| text(&self.card["license"]))
    }
}

/// A word that can be printed.
pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.contains(char::is_control)).map(str::to_owned)
}

impl Hub {
    /// What the API says of a repository at a revision.
    ///
    /// # Errors
    /// It is not there or not to be had.
    pub(crate) async fn said(
        &self,
        repository: &Repository,
        revision: &str,
        watch: &mut Watch<'_>,
    ) -> Result<Said, Problem> {
        let about = self.about(repository, revision, "");
        let url = self.address(repository.api().chain(["revision", revision]));
        let (json, _) = self.answer(url, &about, watch).await?;
        let unread =
            |why: String| about.network(format!("what the hub says of {} cannot be read: {why}", repository.id));
        let said: Said = serde_json::from_slice(&json).map_err(|e| unread(e.to_string()))?;
        // Names of files are made of both.
        HubId::of_parts(&said.id, None, None).map_err(|problem| unread(problem.what))?;
        if !is_commit(&said.sha) {
            return Err(unread("it has no commit".into()));
        }
        if said.disabled {
            return Err(Problem::input(format!("the hub has disabled {}", repository.id))
                .at(about.place())
                .next("use another"));
        }
        Ok(said)
    }

    /// All files of a repository at a commit.
    pub(crate) async fn tree(
        &self,
        repository: &Repository,
        commit: &str,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Entry>, Problem> {
        let about = self.about(repository, commit, "");
        let mut url = self.address(repository.api().chain(["tree", commit]));
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
}
