//! The linear layer, where most of a step's arithmetic is, alone and with a low-rank update.

mod backward;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
mod tests;
mod weight;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use stratune_runtime::span;

pub(crate) use reference::LinearOps;
pub use weight::Matrix;

/// `x wᵀ`.
///
/// With a `w` that is untracked or packed the backward pass costs one product, `dy w`, and keeps nothing but `w`.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`, `weight`: `[out, in]`
/// - output: `[batch, seq, out]`
pub fn linear(x: Tensor<3>, weight: impl Into<Matrix>) -> Tensor<3> {
    linear_by_pieces(x, &[weight.into()])
}

/// `x wᵀ` for a `w` in pieces of rows, at least one.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`, each of `pieces`: `[its rows, in]`
/// - output: `[batch, seq, rows of all]`
pub fn linear_by_pieces(x: Tensor<3>, pieces: &[Matrix]) -> Tensor<3> {
    let _span = span("linear, forward");
    on_rows(x, pieces.iter().map(|piece| piece.dims()[0]).sum(), |x| products(&x, pieces))
}

/// `x wᵀ`: what each piece gives, one beside the other.
pub(crate) fn products(x: &Tensor<2>, pieces: &[Matrix]) -> Tensor<2> {
    let product = |piece: &Matrix| {
        let y = <Dispatch as LinearOps>::linear_forward(x.clone().into_dispatch(), piece.clone().into_dispatch());
        Tensor::from_dispatch(y)
    };
    match pieces {
        // Joining would copy it.
        [whole] => product(whole),
        _ => Tensor::cat(pieces.iter().map(product).collect(), 1),
    }
}

/// The gradient with respect to the rows `x`, `dy w`: the sum of what each piece gives for its columns of `dy`.
pub(crate) fn products_dx(dy: Tensor<2>, pieces: &[Matrix]) -> Option<Tensor<2>> {
    let product = |dy: Tensor<2>, piece: &Matrix| {
        let dx = <Dispatch as LinearOps>::linear_dx(dy.into_dispatch(), piece.clone().into_dispatch());
        Tensor::from_dispatch(dx)
    };
    let mut start = 0;
    let of_piece = |piece: &Matrix| {
        let columns = dy.clone().narrow(1, start, piece.dims()[0]);
        start += piece.dims()[0];
        product(columns, piece)
    };
    match pieces {
        [whole] => Some(product(dy, whole)),
        _ => pieces.iter().map(of_piece).reduce(|sum, dx| sum + dx),
    }
}

/// `x wᵀ + scale · (x aᵀ) bᵀ`, in two products forward and four back: the update's output is added where the layer's is
/// made, and is nowhere by itself.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`, `weight`: `[out, in]`, `a`: `[rank, in]`, `b`: `[out, rank]`
/// - output: `[batch, seq, out]`
pub fn low_rank_linear(x: Tensor<3>, weight: impl Into<Matrix>, a: Tensor<2>, b: Tensor<2>, scale: f32) -> Tensor<3> {
    let _span = span("linear, forward");
    let weight = weight.into();
    on_rows(x, weight.dims()[0], |x| {
        let [x, a, b] = [x, a, b].map(Tensor::into_dispatch);
        Tensor::from_dispatch(<Dispatch as LinearOps>::low_rank(x, weight.into_dispatch(), a, b, scale))
    })
}

fn on_rows(x: Tensor<3>, out: usize, layer: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Tensor<3> {
    let [batch, seq, features] = x.dims();
    layer(x.reshape([batch * seq, features])).reshape([batch, seq, out])
}
