//! The layer's tests, and what they share.
#![allow(clippy::unwrap_used)]

mod gradients;
#[cfg(feature = "wgpu")]
mod kernels;
#[cfg(feature = "wgpu")]
mod tiles;

use burn::tensor::{Device, Tensor};

use crate::QuantizedDtype;
use crate::testing::tensor;

const QUANTIZED: [QuantizedDtype; 3] = [QuantizedDtype::F16, QuantizedDtype::Int8, QuantizedDtype::Int4];

fn matrix(rows: usize, columns: usize, seed: u32, device: &Device) -> Tensor<2> {
    tensor([rows, columns], seed, device)
}

/// Sums of `depth` products of numbers below 1, in f32 in another order. Not a number is never close.
fn assert_close(got: &[f32], expected: &[f32], depth: usize, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let allowed = 1e-6 * depth as f32 + 1e-6;
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= allowed, "{what}: at {i} {g} instead of {e}");
    }
}
