//! The norm and its gradient, in burn's own operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};

/// A norm by mean and variance over the last of three dimensions. A default body is the definition; a device may have a
/// faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait LayerNormOps: Backend {
    /// `n w + b` with `n = (x − mean) r` and `r = 1 / sqrt(variance + eps)`.
    fn layer_norm_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        forward::<Self>(x, weight, bias, eps)
    }

    /// The gradient with respect to `x`: `r (dy w − mean(dy w) − n mean(dy w n))`.
    fn layer_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        dx::<Self>(x, weight, dy, eps)
    }
}

/// `[hidden]` as `[1, 1, hidden]`.
fn row<B: Backend>(weight: FloatTensor<B>) -> FloatTensor<B> {
    let hidden = weight.shape()[0];
    B::float_reshape(weight, [1, 1, hidden].into())
}

/// n, `[batch, seq, hidden]`, and r, `[batch, seq, 1]`.
fn normalised<B: Backend>(x: FloatTensor<B>, eps: f64) -> [FloatTensor<B>; 2] {
    let centred = B::float_sub(x.clone(), B::float_mean_dim(x, 2));
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), 2);
    let r = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, eps.into())));
    [B::float_mul(centred, r.clone()), r]
}

/// `n w + b`.
pub fn forward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    eps: f64,
) -> FloatTensor<B> {
    let [n, _] = normalised::<B>(x, eps);
    B::float_add(B::float_mul(n, row::<B>(weight)), row::<B>(bias))
}

/// `r (dy w − mean(dy w) − n mean(dy w n))`.
pub fn dx<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, dy: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let [n, r] = normalised::<B>(x, eps);
    let dyw = B::float_mul(dy, row::<B>(weight));
    let mean = B::float_mean_dim(dyw.clone(), 2);
    let pull = B::float_mean_dim(B::float_mul(dyw.clone(), n.clone()), 2);
    B::float_mul(B::float_sub(B::float_sub(dyw, mean), B::float_mul(n, pull)), r)
}

/// The gradient with respect to `w`: the sum over rows of `dy n`.
pub fn dw<B: Backend>(x: FloatTensor<B>, dy: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let [n, _] = normalised::<B>(x, eps);
    sum_of_rows::<B>(B::float_mul(dy, n))
}

/// The sum over all rows, `[hidden]`.
pub fn sum_of_rows<B: Backend>(of: FloatTensor<B>) -> FloatTensor<B> {
    let shape = of.shape();
    let (rows, hidden) = (shape[0] * shape[1], shape[2]);
    let sum = B::float_sum_dim(B::float_reshape(of, [rows, hidden].into()), 0);
    B::float_reshape(sum, [hidden].into())
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl LayerNormOps for burn_cubecl::CubeBackend {}
