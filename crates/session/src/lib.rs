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
mod engine_host;
mod eval_set;
mod export;
mod forecast;
mod gguf_adapter;
mod images;
mod immediate;
mod judge;
mod labels;
mod link;
mod open_model;
mod pace;
mod plan;
mod pretrain;
mod recorder;
mod reply;
mod rows_files;
mod run;
mod run_log;
mod samples;
mod search;
mod served;
mod starter;
mod step_time;
mod told;
mod tool_calls;
mod try_it;
mod tuned;

pub use adapter::{adapter_of, attach, merged_tensors, mix, read_adapter, sliced};
pub use answer::{answer, answer_after, answer_each};
pub use base::{Base, missing_tensors, model_config, read_model, read_tokenizer, report_of};
pub use catalogue::{catalogue, choices, page_default};
pub use choose::{open_device, test_compute};
pub use engine::Engine;
pub use engine_host::{Assets, Outbox, Outgoing};
pub use eval_set::{EvalMetrics, EvalSet};
pub use export::{
    Beside, Export, GGUF_ADAPTER, GGUF_MODEL, RunFacts, Serves, card, licence, modelfile, write_beside, write_gguf,
    write_gguf_adapter, write_licences, write_model_folder,
};
pub use forecast::{Conditions, Forecast, MemoryReport};
pub use gguf_adapter::read_gguf_adapter;
pub use images::{label_image, read_image_processor};
pub use immediate::ImmediateCommands;
pub use judge::{JudgeOptions, Judged, TaskReport, judge, judge_labels};
pub use labels::{LabelEvaluation, evaluate_labels, label_text, learns_labels, read_dataset, read_dataset_for};
pub use link::{from_link, to_link};
pub use open_model::open_model;
pub use pace::pace;
pub use plan::Known;
pub use pretrain::{BitsPerByte, bits_per_byte, learn_tokenizer};
pub use recorder::{Recorder, Saving};
pub use reply::{FinishReason, Reply, prompt_tokens};
pub use run::{data_fingerprint, hooks_for, prompts, saved_run, set_apart, trainer, watched_search, watched_trainer};
pub use run_log::{RunLog, happened_by};
pub use samples::Samples;
pub use search::{as_search, settle_search};
pub use served::{Progress, ServedBatch, ServedModels};
#[cfg(feature = "starter")]
pub use starter::starter_folder;
pub use starter::{EXAMPLE, EXAMPLE_HELD_OUT, STARTER};
pub use stratune_train::{Command, Event};
pub use tool_calls::{ToolCall, ToolCallReader};
