//! Numbers that tests begin with, and a comparison of those they end with.

use burn::tensor::{Device, Tensor, TensorData};

/// Numbers in −1..1 that repeat only after 2³² of them.
pub fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A tensor of noise.
pub fn tensor<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(noise(shape.iter().product(), seed), shape), device)
}

pub fn values_of<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// What an operation gave, and the gradients of its operands.
pub struct Passed {
    value: Vec<f32>,
    slopes: Vec<Option<Vec<f32>>>,
}

impl Passed {
    /// Of an output, with another gradient for each number of it. Panics if gradients are of others than those that are wanted.
    pub fn back<const D: usize>(y: Tensor<D>, operands: Vec<Tensor<2>>, wanted: &[bool], what: &str) -> Self {
        let value = values_of(y.clone());
        if !wanted.contains(&true) {
            return Self { value, slopes: Vec::new() };
        }
        let dy = tensor(y.dims(), 40, &y.device().inner());
        let tape = (y * dy).sum().backward();
        let slopes: Vec<_> = operands.into_iter().map(|operand| operand.grad(&tape).map(values_of)).collect();
        assert_eq!(slopes.iter().map(Option::is_some).collect::<Vec<_>>(), wanted, "{what}");
        Self { value, slopes }
    }

    /// Panics if it is not near what the operation's parts gave.
    pub fn is_near(&self, parts: &Self, what: &str) {
        near(&self.value, &parts.value, what);
        assert_eq!(self.slopes.len(), parts.slopes.len(), "{what}");
        for (i, (got, want)) in self.slopes.iter().zip(&parts.slopes).enumerate() {
            if let (Some(got), Some(want)) = (got, want) {
                near(got, want, &format!("{what}, gradient of operand {i}"));
            }
        }
    }
}

/// Panics if two lists differ by more than 2e-5 of the largest number, which sums of products in another order and a few
/// exponentials move numbers by. Not a number is never near.
pub fn near(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 2e-5 * largest, "{what}, {i}: {g} for {w}, of {largest}");
    }
}
