//! The linear layer, where most of a step's arithmetic is, alone and with others that read the same input, with low-rank
//! updates or without.

mod backward;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod bind;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod encode;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod engine;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod epilogue;
#[cfg(feature = "cpu")]
mod flex;
mod group;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod plan;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod products;
mod reference;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod size;
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
mod tests;
pub(crate) mod weight;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use stratune_runtime::span;

pub(crate) use backward::{NeedsGrad, SavedGroup, Trained, inner_group, parents, plain};
pub(crate) use group::{Group, PerLayer};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) use launch::{backward as products_back, forward as products_of};
pub(crate) use reference::LinearOps;
pub use weight::Matrix;
use weight::Weights;

use crate::Compute;
use crate::tensor_list::TensorList;

/// `x wᵀ`, in f32.
///
/// With a `w` that is untracked or quantized the backward pass costs one product, `dy w`, and keeps nothing but `w`.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`, `weight`: `[out, in]`
/// - output: `[batch, seq, out]`
pub fn linear(x: Tensor<3>, weight: impl Into<Matrix>) -> Tensor<3> {
    linear_by_pieces(x, &[weight.into()], Compute::default())
}

/// `x wᵀ` for a `w` in pieces of rows, at least one.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`, each of `pieces`: `[its rows, in]`
/// - output: `[batch, seq, rows of all]`
pub fn linear_by_pieces(x: Tensor<3>, pieces: &[Matrix], compute: Compute) -> Tensor<3> {
    let _span = span("linear, forward");
    on_rows(x, pieces.iter().map(|piece| piece.dims()[0]).sum(), |x| products(&x, pieces, compute))
}

/// `x wᵀ`: what each piece gives, one beside the other.
pub(crate) fn products(x: &Tensor<2>, pieces: &[Matrix], compute: Compute) -> Tensor<2> {
    let product = |piece: &Matrix| {
        let (x, weight) = (x.clone().into_dispatch(), piece.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as LinearOps>::linear_forward(x, weight, compute))
    };
    match pieces {
        // Joining would copy it.
        [whole] => product(whole),
        _ => Tensor::cat(pieces.iter().map(product).collect(), 1),
    }
}

/// The gradient with respect to the rows `x`, `dy w`: the sum of what each piece gives for its columns of `dy`.
pub(crate) fn products_dx(dy: Tensor<2>, pieces: &[Matrix], compute: Compute) -> Option<Tensor<2>> {
    let product = |dy: Tensor<2>, piece: &Matrix| {
        let (dy, weight) = (dy.into_dispatch(), piece.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as LinearOps>::linear_dx(dy, weight, compute))
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

/// An update that is a product of two matrices: `scale · b a`.
#[derive(Clone, Debug)]
pub struct Factors {
    /// `[rank, in]`.
    pub a: Tensor<2>,
    /// `[out, rank]`.
    pub b: Tensor<2>,
    /// What the product is multiplied by.
    pub scale: f32,
}

/// A layer whose weight nobody wants a gradient of.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `[out, in]`.
    pub weight: Matrix,
    /// What is added to it.
    pub update: Option<Factors>,
    /// What is added to its output, `[out]`.
    pub bias: Option<Tensor<1>>,
    /// What it multiplies in: the same for layers that are made at once.
    pub compute: Compute,
}

/// `x wᵀ + scale · (x aᵀ) bᵀ + bias` of layers that read one input, at least one: two products forward and four back, each
/// of all layers together where they are at most three. What an update gives is added where the layer's output is made, and
/// is nowhere by itself; so are the bias and `residual`, which one layer alone can be added to.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`
/// - outputs, `residual`: `[batch, seq, out]`
pub fn grouped_linear<const N: usize>(x: Tensor<3>, layers: [Layer; N], residual: Option<Tensor<3>>) -> [Tensor<3>; N] {
    debug_assert!(residual.is_none() || N == 1, "one layer's output can be added to something");
    let _span = span("linear, forward");
    let [batch, seq, features] = x.dims();
    let rows = |t: Tensor<3>| {
        let [_, _, width] = t.dims();
        t.reshape([batch * seq, width])
    };
    let (x, residual) = (x.reshape([batch * seq, features]), residual.map(rows));
    let mut outputs = layers.chunks(backward::MAX).flat_map(|some| grouped_chunk(&x, some, residual.clone()));
    std::array::from_fn(|_| {
        #[allow(clippy::expect_used)] // One of each.
        let y: Tensor<2> = outputs.next().expect("an output of each layer");
        let [_, out] = y.dims();
        y.reshape([batch, seq, out])
    })
}

/// At most [`backward::MAX`] of them.
fn grouped_chunk(x: &Tensor<2>, layers: &[Layer], residual: Option<Tensor<2>>) -> Vec<Tensor<2>> {
    let outputs =
        <Dispatch as LinearOps>::grouped_linear(x.clone().into_dispatch(), group(layers), tensor_list(residual));
    outputs.0.into_iter().map(Tensor::from_dispatch).collect()
}

/// The same, as a backend has it.
pub(crate) fn group(layers: &[Layer]) -> Group<Dispatch> {
    let weights = layers.iter().map(|layer| layer.weight.clone().into_dispatch()).collect();
    let of_update = |of: fn(&Factors) -> &Tensor<2>| {
        PerLayer(layers.iter().map(|layer| Some(of(layer.update.as_ref()?).clone().into_dispatch())).collect())
    };
    let bias = |layer: &Layer| layer.bias.clone().map(Tensor::into_dispatch);
    Group {
        weights: Weights(weights),
        a: of_update(|update| &update.a),
        b: of_update(|update| &update.b),
        scales: layers.iter().map(|layer| layer.update.as_ref().map_or(1.0, |update| update.scale)).collect(),
        bias: PerLayer(layers.iter().map(bias).collect()),
        compute: layers.first().map_or(Compute::default(), |layer| layer.compute),
    }
}

pub(crate) fn tensor_list(of: impl IntoIterator<Item = Tensor<2>>) -> TensorList<Dispatch> {
    TensorList(of.into_iter().map(Tensor::into_dispatch).collect())
}

/// The same matrices, where one dispatch can read all of them, if the device knows such places and they are of one kind.
pub fn group_weights(matrices: Vec<Matrix>) -> Vec<Matrix> {
    if matrices.len() < 2 {
        return matrices;
    }
    let weights = matrices.into_iter().map(Matrix::into_dispatch).collect();
    let Weights(laid) = <Dispatch as LinearOps>::group_weights(Weights(weights));
    laid.into_iter().map(Matrix::from_dispatch).collect()
}

fn on_rows(x: Tensor<3>, out: usize, layer: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Tensor<3> {
    let [batch, seq, features] = x.dims();
    layer(x.reshape([batch * seq, features])).reshape([batch, seq, out])
}
