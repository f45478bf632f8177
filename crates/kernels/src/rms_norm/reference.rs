//! The norm and its two gradients, in burn's own operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};

use crate::tensor_list::TensorList;

/// A root-mean-square norm over the last of three dimensions. A default body is the definition; a device may have a
/// faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait RmsNormOps: Backend {
    /// `x r w` with `r = 1 / sqrt(mean(x²) + eps)`.
    fn rms_norm_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        forward::<Self>(x, weight, eps)
    }

    /// The gradient with respect to `x`: `r (dy w − x r² mean(dy w x))`.
    fn rms_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        dx::<Self>(x, weight, dy, eps)
    }

    /// The same added to `residual`.
    fn rms_norm_dx_residual(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::float_add(residual, Self::rms_norm_dx(x, weight, dy, eps))
    }

    /// `x` as it is, and its norm: together, because their gradients meet.
    fn rms_norm_residual(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> TensorList<Self> {
        let y = Self::rms_norm_forward(x.clone(), weight, eps);
        TensorList(vec![x, y])
    }
}

/// `[hidden]` as `[1, 1, hidden]`.
fn row<B: Backend>(weight: FloatTensor<B>) -> FloatTensor<B> {
    let hidden = weight.shape()[0];
    B::float_reshape(weight, [1, 1, hidden].into())
}

/// r, `[batch, seq, 1]`.
fn inverse_root<B: Backend>(x: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x), 2);
    B::float_recip(B::float_sqrt(B::float_add_scalar(mean, eps.into())))
}

/// `x r w`.
pub fn forward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let r = inverse_root::<B>(x.clone(), eps);
    B::float_mul(B::float_mul(x, r), row::<B>(weight))
}

/// `r (dy w − x r² mean(dy w x))`.
pub fn dx<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, dy: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let r = inverse_root::<B>(x.clone(), eps);
    let dyw = B::float_mul(dy, row::<B>(weight));
    let mean = B::float_mean_dim(B::float_mul(dyw.clone(), x.clone()), 2);
    let pull = B::float_mul(B::float_mul(r.clone(), r.clone()), mean);
    B::float_mul(B::float_sub(dyw, B::float_mul(x, pull)), r)
}

/// The gradient with respect to `w`: the sum over rows of `dy x r`.
pub fn dw<B: Backend>(x: FloatTensor<B>, dy: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let r = inverse_root::<B>(x.clone(), eps);
    let shape = x.shape();
    let (rows, hidden) = (shape[0] * shape[1], shape[2]);
    let each = B::float_mul(dy, B::float_mul(x, r));
    let sum = B::float_sum_dim(B::float_reshape(each, [rows, hidden].into()), 0);
    B::float_reshape(sum, [hidden].into())
}
