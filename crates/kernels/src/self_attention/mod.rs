//! Attention over queries, keys and values that are made of one input, as one operation: linear layers, norms of heads
//! where there are some, rotary embedding, attention.

mod backward;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use stratune_runtime::span;

use crate::attention::Options;
use crate::head_norm::{HeadNorm, HeadNorms};
use crate::linear::{Layer, group};
use crate::{AttentionMask, CosSin, Scores};
use reference::SelfAttentionOps;

/// What attention is to know beside its operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub width: usize,
    pub options: Options,
    pub norm: Option<HeadNorm>,
    /// Whether queries and keys are rotated.
    pub rotates: bool,
}

/// What heads of `head_dim` make of `x`: its queries and keys through `norms`, if there are some, and rotated by
/// `cos_sin`, and attention as
/// [`attention`](crate::attention()) has it, over no other keys.
///
/// # Shapes
/// - `x`: `[batch, seq, hidden]`, the layers of `[q, k, v]`: `[heads · head_dim, hidden]`, and of `kv_heads`
/// - `cos_sin`, `mask`: of `seq` positions
/// - output: `[batch, seq, heads · head_dim]`
pub fn self_attention(
    x: Tensor<3>,
    layers: &[Layer; 3],
    head_dim: usize,
    cos_sin: &CosSin,
    mask: &AttentionMask,
    scores: Scores,
    norms: Option<HeadNorms>,
) -> Tensor<3> {
    let _span = span("attention, forward");
    let [cosines, sines] = cos_sin.tensors().map(Tensor::into_dispatch);
    let first = mask.first().into_dispatch();
    let norm = norms.as_ref().map(|HeadNorms { offset, eps, .. }| HeadNorm { offset: *offset, eps: *eps });
    let heads = Heads { width: head_dim, options: mask.options(scores), norm, rotates: cos_sin.rotates() };
    let weights = norms.into_iter().flat_map(|HeadNorms { q, k, .. }| [q, k]).collect::<Vec<_>>().into();
    let (x, group) = (x.into_dispatch(), group(layers));
    Tensor::from_dispatch(<Dispatch as SelfAttentionOps>::self_attention(
        x, group, weights, cosines, sines, first, heads,
    ))
}
