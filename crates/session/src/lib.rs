//! One run for every front end.
//!
//! The command line calls the parts: [`Base`] is a loaded model, [`trainer`] makes a run of it, [`answer`] continues a
//! prompt, [`adapter_of`] takes the result out. The page's worker drives an [`Engine`], which does the same from
//! [`Command`](stratune_train::Command)s and answers with [`Event`](stratune_train::Event)s.

mod adapter;
mod answer;
mod base;
mod catalogue;
mod choose;
mod copies;
mod engine;
mod eval_set;
mod forecast;
mod immediate;
mod link;
mod open_model;
mod pace;
mod plan;
mod pretrain;
mod recorder;
mod rows_files;
mod run;
mod run_log;
mod samples;
mod starter;
mod tuned;

pub use adapter::{adapter_of, attach, merged_tensors, mix, read_adapter, sliced};
pub use answer::{answer, answer_each, prompt_tokens};
pub use base::{Base, missing_tensors, model_config, read_model, read_tokenizer, report_of};
pub use catalogue::{catalogue, choices, page_default};
pub use choose::{open_device, test_compute};
pub use engine::{Assets, Engine, Outbox};
pub use eval_set::{EvalMetrics, EvalSet};
pub use forecast::{Conditions, Forecast, MemoryReport};
pub use immediate::ImmediateCommands;
pub use link::{from_link, to_link};
pub use open_model::open_model;
pub use pace::pace;
pub use plan::Known;
pub use pretrain::{BitsPerByte, bits_per_byte, learn_tokenizer};
pub use recorder::{Recorder, Saving};
pub use run::{data_fingerprint, hooks_for, prompts, saved_run, set_apart, trainer, watched_trainer};
pub use run_log::{RunLog, happened_by};
pub use samples::Samples;
#[cfg(feature = "starter")]
pub use starter::starter_folder;
pub use starter::{EXAMPLE, EXAMPLE_HELD_OUT, STARTER};
pub use stratune_train::{Command, Event};
