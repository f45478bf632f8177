//! What is proven across crates.
//!
//! [`checks`] are proofs that run on any device: natively on the CPU and on wgpu, and in the browser. The folders beside
//! hold the tests that call them, and those that belong to one place alone.

pub mod checks;
pub mod families;
#[cfg(not(target_family = "wasm"))]
pub mod films;
pub mod fixtures;
pub mod runs;
mod skipped;
pub mod speed;

pub use checks::worst;
pub use skipped::skipped;
