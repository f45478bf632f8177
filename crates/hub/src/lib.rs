//! x
mod choose;
mod client;
mod download;
mod entry;
mod model;
#[cfg(not(target_family = "wasm"))]
mod native;
mod part;
mod problems;
mod quantisation;
#[cfg(test)]
mod testing;
mod transport;

pub use client::{Hub, Progress, Stage, Token, Watch};
pub use entry::{Entry, Hash};
pub use model::RemoteModel;
#[cfg(not(target_family = "wasm"))]
pub use native::HttpTransport;
pub use part::Part;
pub use transport::{Body, Broken, Headers, Request, Response, Transport};
