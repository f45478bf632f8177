//! What the page knows, and how the engine's events change it.

pub mod activity;
pub mod answers;
pub mod data_files;
pub mod engine;
mod failure;
pub mod history;
pub mod hub;
pub mod inputs;
pub mod labels;
pub mod model_files;
pub mod notices;
pub mod run;
pub mod search;
pub mod settings;
pub mod strata;
pub mod structure;
pub mod timing;
pub mod webgpu;

pub use run::{Card, Run, use_run};
