//! The Llama family: Llama 1 to 3, and the many models of its shape.

mod block;
mod config;
mod method;
mod model;
mod weights;

pub use block::Block;
pub use config::{LlamaConfig, RopeScaling};
pub use model::Llama;
pub use weights::Weights;
