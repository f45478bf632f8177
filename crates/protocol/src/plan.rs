//! What a run would be, as plain data: an engine works it out, a front end shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Problem, Remedy, Verdict};

/// What a run of a configuration would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What keeps the configuration from being a run.
    pub problem: Option<Problem>,
    /// What the catalogue calls its methods: a combination's name, or the first method's.
    pub method: String,
    /// Its methods in a few words, such as `LoRA r8`.
    pub title: String,
    /// Which layers train at a step, such as `2 of 8 layers, practical`.
    pub layers: String,
    /// What settings come to, by their places in the configuration.
    pub notes: BTreeMap<String, String>,
    /// What differs from the page's own settings, as the part of an address after `#`; none if it cannot be read.
    pub link: Option<String>,
    /// Steps in all; none before there is data.
    pub steps: Option<usize>,
    /// How much it trains; none before there is a model.
    pub size: Option<RunSize>,
    /// What a search chooses from; none before there is a model, and where nothing is searched for.
    #[serde(default)]
    pub search: Option<SearchSize>,
    /// What it takes; none before there are model, data and device.
    pub memory: Option<MemoryPlan>,
}

/// How much a run trains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSize {
    /// Numbers that train.
    pub trainable: u64,
    /// Their share of the model's.
    pub share: f64,
    /// Bytes of the adapter as a file, about.
    pub adapter_bytes: u64,
    /// The linear layers of a block that its methods enter, each once; empty if they enter none.
    pub targets: Vec<String>,
    /// Whether these are all that there are.
    pub all_targets: bool,
}

/// What a search chooses from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchSize {
    /// Modules.
    pub modules: usize,
    /// Numbers of all of them, at their largest sizes.
    pub all: u64,
    /// Numbers of the smallest.
    pub least: u64,
    /// Bytes of a number of the adapter's file.
    pub number_bytes: u64,
}

/// The memory of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// The most bytes that are held at once.
    pub bytes: u64,
    /// Of what, in the order of a step.
    pub parts: Vec<(String, u64)>,
    /// Whether it fits.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub sentence: String,
    /// What would help, the mildest first.
    pub remedies: Vec<Remedy>,
    /// What would spare a fifth, whatever the device told.
    pub savings: Vec<Remedy>,
}
