//! Attention over queries, keys and values that are made of one input, as one operation: linear layers, rotary
//! embedding, attention.

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
use crate::linear::{Layer, group};
use crate::{AttentionMask, CosSin, Scores};
use reference::SelfAttentionOps;

/// What attention is to know beside its operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub width: usize,
    pub options: Options,
}

/// What heads of `head_dim` make of `x`: its queries and keys rotated by `cos_sin`, and attention as
/// [`causal_attention`](crate::causal_attention) has it, over no other keys.
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
) -> Tensor<3> {
    let _span = span("attention, forward");
    let [cosines, sines] = cos_sin.tensors().map(Tensor::into_dispatch);
    let first = mask.first().into_dispatch();
    let heads = Heads { width: head_dim, options: mask.options(scores) };
    let (x, group) = (x.into_dispatch(), group(layers));
    Tensor::from_dispatch(<Dispatch as SelfAttentionOps>::self_attention(x, group, cosines, sines, first, heads))
}
