#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! A [`Hub`] asks over a [`Transport`]: [`HttpTransport`] natively, in a page one over `fetch`. [`Hub::model`] and
//! [`Hub::dataset`] say what there is, with its [`RemoteFiles`] at one commit; natively a [`Cache`] fetches what of them is
//! missing, in a page [`Hub::fetch_file`] does. A file comes into a [`Part`], from which its hash is taken when it is whole:
//! what is checked is what the disk gives back.

#[cfg(not(target_family = "wasm"))]
mod cache;
mod choose;
mod client;
mod dataset;
#[cfg(not(target_family = "wasm"))]
mod disk_part;
mod download;
mod entry;
#[cfg(not(target_family = "wasm"))]
mod kept;
mod model;
#[cfg(not(target_family = "wasm"))]
mod native;
mod part;
mod problems;
mod quantisation;
mod repository;
#[cfg(not(target_family = "wasm"))]
mod settings;
mod splits;
#[cfg(test)]
mod testing;
mod transport;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod with_python;

#[cfg(not(target_family = "wasm"))]
pub use cache::Cache;
pub use client::{Hub, Progress, Stage, Token, Watch};
pub use dataset::RemoteDataset;
pub use download::FileWatch;
pub use entry::{Entry, Hash};
#[cfg(not(target_family = "wasm"))]
pub use kept::{KeptModel, KeptRows};
pub use model::RemoteModel;
#[cfg(not(target_family = "wasm"))]
pub use native::HttpTransport;
pub use part::Part;
pub use repository::{Kind, RemoteFiles, Repository};
#[cfg(not(target_family = "wasm"))]
pub use settings::Settings;
pub use transport::{Body, Broken, Headers, Request, Response, Transport};
