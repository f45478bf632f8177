#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! A [`Hub`] asks over a [`Transport`]: [`HttpTransport`] natively, in a page one over `fetch`. [`Hub::model`] says what a model
//! is, as a [`RemoteModel`] with its files at one commit; a [`Cache`] fetches what of it is missing. A file comes into a
//! [`Part`], from which its hash is taken when it is whole: what is checked is what the disk gives back.

#[cfg(not(target_family = "wasm"))]
mod cache;
mod choose;
mod client;
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
#[cfg(not(target_family = "wasm"))]
mod settings;
#[cfg(test)]
mod testing;
mod transport;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod with_python;

#[cfg(not(target_family = "wasm"))]
pub use cache::Cache;
pub use client::{Hub, Progress, Stage, Token, Watch};
pub use entry::{Entry, Hash};
#[cfg(not(target_family = "wasm"))]
pub use kept::KeptModel;
pub use model::RemoteModel;
#[cfg(not(target_family = "wasm"))]
pub use native::HttpTransport;
pub use part::Part;
#[cfg(not(target_family = "wasm"))]
pub use settings::Settings;
pub use transport::{Body, Broken, Headers, Request, Response, Transport};
