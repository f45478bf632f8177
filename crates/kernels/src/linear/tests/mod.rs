//! The layer's tests, and what they share.
#![allow(clippy::unwrap_used)]

mod gradients;
#[cfg(feature = "wgpu")]
mod kernels;

use burn::tensor::{Device, Tensor, TensorData};

use crate::PackedDtype;

const PACKED: [PackedDtype; 3] = [PackedDtype::F16, PackedDtype::Int8, PackedDtype::Int4];

/// Numbers in −1..1 that repeat only after 2³² of them.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn matrix(rows: usize, columns: usize, seed: u32, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(noise(rows * columns, seed), [rows, columns]), device)
}

fn values_of<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Sums of `depth` products of numbers below 1, in f32 in another order. Not a number is never close.
fn assert_close(got: &[f32], expected: &[f32], depth: usize, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let allowed = 1e-6 * depth as f32 + 1e-6;
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= allowed, "{what}: at {i} {g} instead of {e}");
    }
}
