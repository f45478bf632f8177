//! The softmax and its gradient, in the engine's own operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

/// The softmax over the last dimension of four.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait SoftmaxOps: Backend {
    /// `exp(x) / Σ exp(x)`.
    fn softmax_forward(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::softmax(x, 3)
    }
}

#[cfg(feature = "cpu")]
impl SoftmaxOps for burn::backend::Flex {}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl SoftmaxOps for burn_cubecl::CubeBackend {}

/// `y ⊙ (dy − Σ dy ⊙ y)`, for `y` the softmax.
pub fn softmax_dx<B: Backend>(dy: FloatTensor<B>, y: FloatTensor<B>) -> FloatTensor<B> {
    let weighted = B::float_mul(dy, y.clone());
    let sum = B::float_sum_dim(weighted.clone(), 3);
    B::float_sub(weighted, B::float_mul(y, sum))
}
