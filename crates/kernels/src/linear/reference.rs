//! The products of a linear layer, in plain tensor code, for every device that has no kernel of ours.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use super::weight::Weight;
use crate::packed::PackedOps;

/// A linear layer, its two gradients, and a low-rank update of it, on matrices. A default body is the definition; a
/// device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait LinearOps: PackedOps {
    /// `x wᵀ` for `x`: `[rows, in]` and `weight`: `[out, in]`.
    fn linear_forward(x: FloatTensor<Self>, #[extension_type] weight: Weight<Self>) -> FloatTensor<Self> {
        linear_forward::<Self>(x, weight)
    }

    /// The gradient with respect to `x`: `dy w`, for `dy`: `[rows, out]`.
    fn linear_dx(dy: FloatTensor<Self>, #[extension_type] weight: Weight<Self>) -> FloatTensor<Self> {
        linear_dx::<Self>(dy, weight)
    }

    /// `scale` times the gradient with respect to `w`: `dyᵀ x`.
    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        linear_dw::<Self>(dy, x, scale)
    }

    /// `x wᵀ + scale · t bᵀ`, for `t`: `[rows, rank]` and `b`: `[out, rank]`.
    fn linear_forward_plus(
        x: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
        t: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        linear_forward_plus::<Self>(x, weight, t, b, scale)
    }

    /// `dy w + scale · dt a`, for `dt`: `[rows, rank]` and `a`: `[rank, in]`.
    fn linear_dx_plus(
        dy: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
        dt: FloatTensor<Self>,
        a: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        linear_dx_plus::<Self>(dy, weight, dt, a, scale)
    }

    /// `x wᵀ + scale · (x aᵀ) bᵀ`.
    fn low_rank(
        x: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let t = Self::linear_forward(x.clone(), Weight::Floats(a));
        Self::linear_forward_plus(x, weight, t, b, scale)
    }
}

/// `x wᵀ`.
pub fn linear_forward<B: PackedOps>(x: FloatTensor<B>, weight: Weight<B>) -> FloatTensor<B> {
    B::float_matmul(x, B::float_transpose(weight.floats()))
}

/// `dy w`.
pub fn linear_dx<B: PackedOps>(dy: FloatTensor<B>, weight: Weight<B>) -> FloatTensor<B> {
    B::float_matmul(dy, weight.floats())
}

/// `scale · dyᵀ x`.
pub fn linear_dw<B: Backend>(dy: FloatTensor<B>, x: FloatTensor<B>, scale: f32) -> FloatTensor<B> {
    scaled::<B>(B::float_matmul(B::float_transpose(dy), x), scale)
}

/// `x wᵀ + scale · t bᵀ`; the small factor is scaled.
pub fn linear_forward_plus<B: LinearOps>(
    x: FloatTensor<B>,
    weight: Weight<B>,
    t: FloatTensor<B>,
    b: FloatTensor<B>,
    scale: f32,
) -> FloatTensor<B> {
    B::float_add(B::linear_forward(x, weight), B::linear_forward(scaled::<B>(t, scale), Weight::Floats(b)))
}

/// `dy w + scale · dt a`; the small factor is scaled.
pub fn linear_dx_plus<B: LinearOps>(
    dy: FloatTensor<B>,
    weight: Weight<B>,
    dt: FloatTensor<B>,
    a: FloatTensor<B>,
    scale: f32,
) -> FloatTensor<B> {
    B::float_add(B::linear_dx(dy, weight), B::linear_dx(scaled::<B>(dt, scale), Weight::Floats(a)))
}

fn scaled<B: Backend>(x: FloatTensor<B>, scale: f32) -> FloatTensor<B> {
    if scale == 1.0 { x } else { B::float_mul_scalar(x, scale.into()) }
}
