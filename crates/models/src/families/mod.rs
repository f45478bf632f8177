//! The model families: each says in one file what its `config.json` means.
//!
//! A new one is a file with a [`Family`], its line in [`FAMILIES`], and a fixture (tests/fixtures/make_fixtures.py).

mod common;
mod fields;
mod llama;
mod qwen2;
mod qwen3;
mod rope;

pub use fields::{Fields, Given};

use stratune_protocol::{Module, Role};

use crate::ModelConfig;

/// A family of models.
#[derive(Debug)]
pub struct Family {
    /// `model_type` of its `config.json`.
    pub model_type: &'static str,
    /// The class that transformers loads it with.
    pub class: &'static str,
    /// Reads `config.json`; an error names the key.
    pub read: fn(&'static Family, &Fields<'_>) -> Result<ModelConfig, String>,
    /// The keys of `config.json` that give linear layers biases, and which.
    pub bias_keys: &'static [(&'static str, &'static [Role])],
}

/// The modules of a model without biases, norms of heads and an output layer.
pub(crate) fn plain_modules(config: &ModelConfig) -> Vec<Module> {
    common::modules(config, &common::Switches { bias: &|_| false, qk_norm: false, tied: true })
}

/// All of them.
pub const FAMILIES: [&Family; 3] = [&llama::FAMILY, &qwen2::FAMILY, &qwen3::FAMILY];
