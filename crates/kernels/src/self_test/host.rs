//! Sums made on the host, and comparing them with a device's.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use stratune_runtime::read_f32;

use super::Fault;
use crate::AttentionMask;

/// The attention mask of a row in which a second text begins at the query numbered `begins`.
pub fn two_texts(seq: usize, begins: usize, device: &Device) -> AttentionMask {
    let first = (0..seq).map(|t| if t < begins { 0.0 } else { begins as f32 }).collect::<Vec<_>>();
    AttentionMask::from_first_keys(Tensor::from_data(TensorData::new(first, [1, seq]), device))
}

/// A fixed sequence between −1 and 1 without a pattern that an error could hide in.
pub fn wave(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step + (i % 11) as f32).sin()).collect()
}

/// Σ a[i] · b[i].
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The gradient of a tensor.
pub fn gradient_of<const D: usize>(of: &Tensor<D>, tape: &mut Gradients) -> Result<Tensor<D>, Fault> {
    of.grad_remove(tape).map(Tensor::inner).ok_or_else(|| Fault::Wrong("an operation gives no gradient".into()))
}

/// Fails if the numbers of a tensor are not what is expected.
pub async fn check(name: &str, got: Tensor<3>, expected: &[f32]) -> Result<(), Fault> {
    compare(name, &read_f32(got).await?, expected)
}

/// The same of numbers that were read.
pub fn compare(name: &str, got: &[f32], expected: &[f32]) -> Result<(), Fault> {
    let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    let worst = got
        .iter()
        .zip(expected)
        .map(|(g, e)| (g - e).abs())
        .fold(0.0, |m: f32, d| if d >= m || d.is_nan() { d } else { m });
    // Thousands of products in f32, in any order, leave 1e-5; a wrong kernel is off by the values themselves.
    if got.len() == expected.len() && worst <= 1e-4 * largest {
        Ok(())
    } else {
        Err(Fault::Wrong(format!("{name} is off by {worst:e} where the largest value is {largest}")))
    }
}
