//! x
mod client;
mod download;
mod entry;
#[cfg(not(target_family = "wasm"))]
mod native;
mod part;
mod problems;
#[cfg(test)]
mod testing;
mod transport;

pub use client::{Hub, Progress, Stage, Token, Watch};
pub use entry::{Entry, Hash};
#[cfg(not(target_family = "wasm"))]
pub use native::HttpTransport;
pub use part::Part;
pub use transport::{Body, Broken, Headers, Request, Response, Transport};
