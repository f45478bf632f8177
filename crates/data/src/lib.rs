#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! [`read_rows`] turns bytes into [`Row`]s, a [`Template`] and a [`Tokenizer`] turn rows into [`Sequence`]s, [`load`]
//! does both and splits off the held-out rows, [`Plan`] says which rows make which batch, and [`pack`] or
//! [`collate`] builds it. [`load_labelled`] is [`load`] of rows that are labelled as a whole.
//! Nothing here knows a tensor, a file system, a thread or a clock.

mod batch;
mod charsmap;
mod chat;
#[cfg(feature = "unpack")]
mod compressed;
mod continuation;
mod dataset;
mod encode_text;
mod encoded;
mod fields;
mod gguf;
mod images;
mod importance;
mod jinja;
mod json;
mod label_columns;
mod labelled;
mod labels;
mod message;
mod pack;
mod packed;
#[cfg(feature = "unpack")]
mod parquet;
#[cfg(feature = "unpack")]
mod parquet_pages;
mod plain;
mod plan;
mod recognise;
mod row;
mod sentence_piece;
mod seq2seq;
mod sequence;
mod shape;
#[cfg(test)]
#[path = "../../../tests/src/skipped.rs"]
mod skipped;
mod source;
mod summary;
mod table;
mod template;
#[cfg(test)]
mod testing;
mod text_stream;
mod tokenizer;
mod tokenizer_file;
mod tools;
#[cfg(feature = "unpack")]
mod unpack;

pub use batch::{Batch, PackedRows, PatchRows, SourceRows, collate, delimited, images as image_batch, pack};
pub use continuation::continuation;
pub use dataset::{Dataset, load};
pub use encode_text::{Reads, Wanted, encode_text};
pub use gguf::{GgufTokenizer, WrittenTokenizer};
#[cfg(feature = "unpack")]
pub use images::decode;
pub use images::{
    ImageFolder, ImageProcessor, LabelledImage, Normalization, Patches, Pixels, Resample, image_folder, image_patches,
    is_image, load_images,
};
pub use labelled::load_labelled;
pub use labels::LabelKind;
pub use packed::is_packed;
pub use plan::Plan;
pub use recognise::recognise;
pub use row::{Conversation, LabelledRow, Role, Row, Turn};
pub use sentence_piece::{BesideSentencePiece, from_sentence_piece};
pub use sequence::{Label, Sequence, Target};
pub use source::{Source, SourceFile, read_rows};
pub use template::Template;
pub use text_stream::TextStream;
pub use tokenizer::Tokenizer;
#[cfg(feature = "unpack")]
pub use unpack::{contradicts_itself, unpack};
