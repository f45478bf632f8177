//! The three products of a linear layer, in plain tensor code, for every device that has no kernel of ours.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

/// A linear layer and its two gradients on matrices. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait LinearOps: Backend {
    /// `x wᵀ` for `x`: `[rows, in]` and `weight`: `[out, in]`.
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear_forward::<Self>(x, weight)
    }

    /// The gradient with respect to `x`: `dy w`, for `dy`: `[rows, out]`.
    fn linear_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear_dx::<Self>(dy, weight)
    }

    /// The gradient with respect to `w`: `dyᵀ x`.
    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        linear_dw::<Self>(dy, x)
    }
}

/// `x wᵀ`.
pub fn linear_forward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(x, B::float_transpose(weight))
}

/// `dy w`.
pub fn linear_dx<B: Backend>(dy: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(dy, weight)
}

/// `dyᵀ x`.
pub fn linear_dw<B: Backend>(dy: FloatTensor<B>, x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(B::float_transpose(dy), x)
}
