//! Rotary embedding, in burn's own operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::Slice;

use crate::tensor_list::TensorList;

/// Rotates the pairs `(x[i], x[i + d/2])` of `x`: `[batch, heads, seq, d]` by angles whose cosines and sines are
/// `[batch or 1, 1, seq, d/2]`. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait RotaryOps: Backend {
    /// `(x₁ cos − x₂ sin, x₂ cos + x₁ sin)`.
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        rotate::<Self>(x, cos, sin)
    }

    /// The gradient: the same angles backwards.
    fn rotate_backward(dy: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let sin = Self::float_neg(sin);
        Self::rotate(dy, cos, sin)
    }

    /// Queries and keys rotated, and values as they are, so that the gradients of all three are made at once.
    fn apply_rotary(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> TensorList<Self> {
        TensorList(vec![Self::rotate(q, cos.clone(), sin.clone()), Self::rotate(k, cos, sin), v])
    }

    /// The gradients of these.
    fn apply_rotary_backward(
        dq: FloatTensor<Self>,
        dk: FloatTensor<Self>,
        dv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> TensorList<Self> {
        TensorList(vec![Self::rotate_backward(dq, cos.clone(), sin.clone()), Self::rotate_backward(dk, cos, sin), dv])
    }
}

/// `(x₁ cos − x₂ sin, x₂ cos + x₁ sin)`.
pub fn rotate<B: Backend>(x: FloatTensor<B>, cos: FloatTensor<B>, sin: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let half = shape[3] / 2;
    let part = |from: usize| {
        let all = |n: usize| Slice::from(0..n);
        let slices = [all(shape[0]), all(shape[1]), all(shape[2]), Slice::from(from..from + half)];
        B::float_slice(x.clone(), &slices)
    };
    let (first, second) = (part(0), part(half));
    let one = B::float_sub(B::float_mul(first.clone(), cos.clone()), B::float_mul(second.clone(), sin.clone()));
    let other = B::float_add(B::float_mul(second, cos), B::float_mul(first, sin));
    B::float_cat(vec![one, other], 3)
}
