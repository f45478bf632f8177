//! The model families: each says in one file what its `config.json` means.
//!
//! A new one is a file with a [`Family`], its line in [`FAMILIES`], and a fixture (tests/fixtures/make_fixtures.py).

mod arcee;
mod bert;
mod common;
mod distilbert;
mod encoder;
mod fields;
mod gemma;
mod gemma2;
mod gemma3;
mod gemma3_multimodal;
mod gguf;
mod gpt2;
mod gpt_neox;
mod granite;
mod llama;
mod mistral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod roberta;
mod rope;
mod smollm3;
mod t5;
mod vit;

pub(crate) use common::plain_modules;
pub use fields::{Fields, Given};
pub use gguf::{GgufForm, GgufModel, Keys, ROPE_FACTORS, TENSORS_OF_CONFIG, WrittenKeys, WrittenModel};

use stratune_protocol::Role;

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
    /// How llama.cpp's files have it; none if they say that it is another.
    pub gguf: Option<&'static GgufForm>,
    /// What else the beginnings of paths are called in files: a beginning, and another one for it.
    pub file_names: &'static [(&'static str, &'static str)],
    /// What files call a tensor, where that is more than another beginning.
    pub file_name: Option<fn(&str) -> String>,
}

/// All of them.
pub const FAMILIES: [&Family; 20] = [
    &llama::FAMILY,
    &mistral::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &gemma::FAMILY,
    &gemma2::FAMILY,
    &gemma3::FAMILY,
    &gemma3_multimodal::FAMILY,
    &smollm3::FAMILY,
    &granite::FAMILY,
    &olmo2::FAMILY,
    &arcee::FAMILY,
    &phi3::FAMILY,
    &gpt2::FAMILY,
    &gpt_neox::FAMILY,
    &bert::FAMILY,
    &roberta::FAMILY,
    &distilbert::FAMILY,
    &t5::FAMILY,
    &vit::FAMILY,
];
