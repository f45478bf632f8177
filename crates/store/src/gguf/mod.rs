//! GGUF, the file format of llama.cpp: metadata, a vocabulary, and tensors in blocks of few bits.
//!
//! Nothing here knows what the metadata mean, nor which tensor is which: who knows the families says so with [`View`]s.

mod block_type;
mod blocks;
mod file;
mod ftype;
mod header;
mod names;
mod quantize;
mod reader;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod value;
mod view;
#[cfg(test)]
mod write;
mod writer;

pub use block_type::BlockType;
pub use blocks::{BlockForm, Blocks, TABLE_FP4, TABLE_IQ4};
pub use file::Gguf;
pub use ftype::Ftype;
pub use names::{GgufFolder, gguf_files};
pub use quantize::quantize;
pub use value::{Element, GgufValue};
pub use view::{RowOrder, View};
pub use writer::{GgufMetadata, GgufTensor, GgufWriter};
