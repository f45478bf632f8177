//! Bytes in and out: model folders, adapter folders, checkpoints; disk, memory and the browser's private files.
//!
//! Nothing here knows a tensor library or a model: numbers come and go as [`HostTensor`]s, files as bytes.

mod adapter;
mod archive;
#[cfg(target_family = "wasm")]
mod browser;
mod checkpoint;
mod checkpoint_store;
#[cfg(not(target_family = "wasm"))]
mod disk;
#[cfg(not(target_family = "wasm"))]
mod disk_checkpoints;
#[cfg(not(target_family = "wasm"))]
mod disk_sink;
mod folder;
mod gguf;
mod header;
mod model_files;
mod model_folder;
#[cfg(target_family = "wasm")]
mod opfs;
#[cfg(target_family = "wasm")]
mod opfs_checkpoints;
#[cfg(target_family = "wasm")]
mod opfs_part;
mod quantized;
mod safetensors;
mod sink;
#[cfg(any(target_family = "wasm", test))]
mod slot;
mod tensor;

pub use adapter::AdapterFiles;
pub use archive::{WriteSeek, ZipSink, unzip, zip};
#[cfg(target_family = "wasm")]
pub use browser::BrowserFolder;
pub use checkpoint::Checkpoint;
pub use checkpoint_store::{CheckpointStore, EventLog, MemoryCheckpoints};
#[cfg(not(target_family = "wasm"))]
pub use disk::{DiskFolder, write_files};
#[cfg(not(target_family = "wasm"))]
pub use disk_checkpoints::DiskCheckpoints;
#[cfg(not(target_family = "wasm"))]
pub use disk_sink::DiskSink;
pub use folder::{Folder, MemoryFolder};
pub use gguf::{
    BlockForm, BlockType, Blocks, Element, Ftype, Gguf, GgufFolder, GgufMetadata, GgufTensor, GgufValue, GgufWriter,
    RowOrder, TABLE_FP4, TABLE_IQ4, View, gguf_files, quantize,
};
pub use model_files::{changed_config, config_bytes, model_files};
pub use model_folder::ModelFolder;
#[cfg(target_family = "wasm")]
pub use opfs::{OpfsFiles, OpfsWriter};
#[cfg(target_family = "wasm")]
pub use opfs_checkpoints::OpfsCheckpoints;
#[cfg(target_family = "wasm")]
pub use opfs_part::OpfsPart;
pub use safetensors::{SafetensorsWriter, Tensors, read_safetensors, write_safetensors};
pub use sink::{MemorySink, Sink, write_whole};
pub use tensor::{HostTensor, Stored};
