//! Norms of heads and rotary embedding, and their gradients, of these operations.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata, backend_extension};

use super::HeadNorm;
use crate::rms_norm::RmsNormOps;
use crate::rotary::RotaryOps;
use crate::tensor_list::TensorList;

/// Norms of queries and keys, and rotary embedding. Heads are `[batch, heads, seq, head_dim]`, `weights` those of queries
/// and of keys, `[head_dim]`, tables of angles as [`RotaryOps`] has them. A default body is the definition; a device may
/// have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait HeadNormOps: RmsNormOps + RotaryOps {
    /// Queries and keys normalised and rotated, and values as they are.
    fn norm_rotary(
        #[extension_type] heads: TensorList<Self>,
        #[extension_type] weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        norm: HeadNorm,
    ) -> TensorList<Self> {
        norm_rotary::<Self>(heads, weights, cosines, sines, norm)
    }

    /// The gradients of the three; `operands` are queries and keys as they were, and the gradients of the outputs.
    fn norm_rotary_backward(
        #[extension_type] operands: TensorList<Self>,
        #[extension_type] weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        norm: HeadNorm,
    ) -> TensorList<Self> {
        norm_rotary_backward::<Self>(operands, weights, cosines, sines, norm)
    }
}

/// Where it is part of an operation that is differentiated as one.
impl<B: HeadNormOps, C: CheckpointStrategy> HeadNormOps for Autodiff<B, C> {}

/// `[batch, heads, seq, head_dim]` as `[1, rows, head_dim]`, and back.
fn rows<B: Backend>(heads: FloatTensor<B>) -> FloatTensor<B> {
    let [batch, count, seq, width] = [0, 1, 2, 3].map(|side| heads.shape()[side]);
    B::float_reshape(heads, [1, batch * count * seq, width].into())
}

/// The gain of a norm: its weight, and what is added to that.
fn gain<B: Backend>(weight: FloatTensor<B>, norm: HeadNorm) -> FloatTensor<B> {
    if norm.offset == 0.0 { weight } else { B::float_add_scalar(weight, norm.offset.into()) }
}

/// Queries and keys through their norms, then rotated.
pub fn norm_rotary<B: HeadNormOps>(
    TensorList(heads): TensorList<B>,
    TensorList(weights): TensorList<B>,
    cosines: FloatTensor<B>,
    sines: FloatTensor<B>,
    norm: HeadNorm,
) -> TensorList<B> {
    let Ok([q, k, v]) = <[_; 3]>::try_from(heads) else { return TensorList(Vec::new()) };
    let mut normed = [q, k].into_iter().zip(weights).map(|(heads, weight)| {
        let shape = heads.shape();
        B::float_reshape(B::rms_norm_forward(rows::<B>(heads), gain::<B>(weight, norm), norm.eps), shape)
    });
    let (Some(q), Some(k)) = (normed.next(), normed.next()) else { return TensorList(Vec::new()) };
    B::apply_rotary(q, k, v, cosines, sines)
}

/// Rotated back, then through the norms.
pub fn norm_rotary_backward<B: HeadNormOps>(
    TensorList(operands): TensorList<B>,
    TensorList(weights): TensorList<B>,
    cosines: FloatTensor<B>,
    sines: FloatTensor<B>,
    norm: HeadNorm,
) -> TensorList<B> {
    let Ok([q, k, dq, dk, dv]) = <[_; 5]>::try_from(operands) else { return TensorList(Vec::new()) };
    let TensorList(mut back) = B::apply_rotary_backward(dq, dk, dv, cosines, sines);
    let values = back.split_off(2);
    let through = [q, k].into_iter().zip(back).zip(weights).map(|((heads, dy), weight)| {
        let shape = heads.shape();
        let dx = B::rms_norm_dx(rows::<B>(heads), gain::<B>(weight, norm), rows::<B>(dy), norm.eps);
        B::float_reshape(dx, shape)
    });
    TensorList(through.chain(values).collect())
}
