//! The Llama family: Llama 1 to 3, and the many models of its shape.

mod arriving;
mod block;
mod config;
mod ladder;
mod method;
mod mixture;
mod model;
mod weights;

pub use arriving::{Arriving, Stored, Weights, packed_as, pieces};
pub use block::Block;
pub use config::{LlamaConfig, RopeScaling};
pub use ladder::Ladder;
pub use model::{Alter, Llama, Walk};
