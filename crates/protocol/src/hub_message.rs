//! What the page and its worker of the hub say to each other.

use serde::{Deserialize, Serialize};

use crate::{Asset, Problem};

/// What a page asks of the worker that asks the hub. Over its port each is one JSON string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubCommand {
    /// Say what is kept in the browser's storage; nothing is asked of the hub. Answer: [`HubEvent::Kept`].
    List,
    /// Look a model or a dataset up: what it is, and not a byte of its weights or rows. Answer: [`HubEvent::Found`].
    Look {
        /// The hub's address.
        endpoint: String,
        /// A token for what is gated or private; empty: none.
        token: String,
        /// An id, or the address of a page.
        name: String,
        /// Whether it is a dataset, and no model.
        dataset: bool,
    },
    /// Fetch what was looked up last. Answers: [`HubEvent::Progress`], then [`HubEvent::Files`].
    Fetch,
    /// End what is being asked or fetched. What has come is kept. Answer: [`HubEvent::Problem`] of what was ended.
    Stop,
    /// Hand out the files of something kept. Answer: [`HubEvent::Files`].
    Open {
        /// Its name, as [`KeptFiles::name`] has it.
        name: String,
    },
    /// Remove something kept. Answer: [`HubEvent::Kept`].
    Remove {
        /// Its name.
        name: String,
    },
}

/// What the worker tells the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubEvent {
    /// What there is on the hub.
    Found(HubReport),
    /// How far a download has come.
    Progress {
        /// What is being done, such as `fetching model.safetensors`.
        what: String,
        /// Bytes that are there.
        done: u64,
        /// Bytes of all.
        total: u64,
    },
    /// Files are here, whole and checked. They travel beside the message in this order.
    Files {
        /// The name that a run keeps: repository, commit and part.
        name: String,
        /// Whether they are rows, and no model.
        dataset: bool,
        /// The files.
        files: Vec<Asset>,
    },
    /// What is kept.
    Kept(Vec<KeptFiles>),
    /// Something went wrong.
    Problem(Problem),
}

/// What a model or a dataset on the hub is, before any of it is fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubReport {
    /// The name that a run keeps: repository, commit and part.
    pub name: String,
    /// Owner and name.
    pub repository: String,
    /// The hub's host, which it would come from.
    pub host: String,
    /// Whether it is a dataset, and no model.
    pub dataset: bool,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes that are not here yet.
    pub missing: u64,
    /// The licence that its page names; empty: none.
    pub licence: String,
    /// Whether its terms have to be agreed to on its page first.
    pub gated: bool,
    /// The family that its `config.json` states; empty: none.
    pub family: String,
    /// Parameters, where the hub has counted them.
    pub parameters: Option<u64>,
    /// Whether its weights are in GGUF, whose bits are kept.
    pub gguf: bool,
    /// Of a dataset what else could be named, such as `default/test`.
    pub others: Vec<String>,
}

/// What is kept in the browser's storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFiles {
    /// The name that a run keeps: repository, commit and part.
    pub name: String,
    /// Whether it is a dataset, and no model.
    pub dataset: bool,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes that are here.
    pub there: u64,
    /// Whether all files are here and checked.
    pub whole: bool,
}
