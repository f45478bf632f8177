//! Unpacks files for the engine: compressed by gzip or Zstandard, a table in Parquet, or an image.
//!
//! This is a module and a worker of its own: it is fetched when there is such a file, and a decoder that panics on a damaged
//! one ends this worker and no more.

#[cfg(target_family = "wasm")]
mod port;

fn main() {
    #[cfg(target_family = "wasm")]
    port::listen();
}
