//! Model families, built from the parts in [`nn`].
//!
//! A struct's field is named as the checkpoint's path segment, so that a parameter's path is where it is in the model.

mod generate;
pub mod llama;
pub mod nn;

pub use generate::{Sampling, generate, generate_rows};
pub use llama::{Llama, LlamaConfig};
