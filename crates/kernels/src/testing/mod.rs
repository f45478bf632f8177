//! What tests share.

#[cfg(feature = "wgpu")]
mod adapter;
mod host;
#[cfg(feature = "wgpu")]
#[path = "../../../../tests/src/skipped.rs"]
mod skipped;

#[cfg(feature = "wgpu")]
pub use adapter::{assert_close, kinds, numbers, of_kind, of_values, on_device, tiles, wgpu};
pub use host::{Passed, near, noise, tensor, values_of};
