#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! [`families`] say what each is, as a table of modules and the switches of the parts in [`nn`]; everything else
//! here works on any of them.

mod adapt;
mod beam_search;
mod block;
mod cached_text;
mod classifier_config;
mod classify;
mod config;
pub mod families;
mod generate;
mod image_config;
mod indices;
mod ladder;
mod layout;
mod load;
mod merging;
mod mixture;
mod model;
pub mod nn;
mod seq2seq;
mod weights;

pub use beam_search::{Beam, BeamSearch, beam_search};
pub use block::Block;
pub use cached_text::{CachedText, next_logits};
pub use classifier_config::ClassifierConfig;
pub use config::ModelConfig;
pub use generate::{Sampling, generate, generate_rows, room};
pub use image_config::ImageConfig;
pub use ladder::Ladder;
pub use layout::Entry;
pub use load::{LoadedTensor, TensorLoader, Weights, pieces, quantized_dtype};
pub use merging::MergingModel;
pub use model::{Alter, ForwardOptions, Model};
pub use seq2seq::{Seq2Seq, SourceTexts, Stacks};
