//! Attention over one input and its gradients, of the operations that it consists of.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use stratune_runtime::span;

use super::Heads;
use crate::attention::{AttentionOps, Options};
use crate::linear::{Group, LinearOps};
use crate::rotary::RotaryOps;
use crate::several::Several;

/// Attention over queries, keys and values of one input. Heads are `[batch, heads, seq, head_dim]`, tables of angles as
/// [`RotaryOps`] has them, and `first` as [`AttentionOps`] has it. A default body is the definition; a device may have a
/// faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait SelfAttentionOps: LinearOps + RotaryOps + AttentionOps {
    /// Queries and keys, turned, and values, for `x`: `[batch, seq, hidden]`; behind them what `x` gave with each factor a
    /// there is.
    fn turned_heads(
        x: FloatTensor<Self>,
        #[extension_type] group: Group<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        head_dim: usize,
    ) -> Several<Self> {
        turned_heads::<Self>(x, group, cosines, sines, head_dim)
    }

    /// The gradients of queries and keys as they were before they were turned, and of values, as matrices of a row for each
    /// position; `operands` are q, k, v, what attention has kept, its output and the gradient of that.
    fn turned_back(
        #[extension_type] operands: Several<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        options: Options,
    ) -> Several<Self> {
        turned_back::<Self>(operands, cosines, sines, options)
    }

    /// The output, `[batch, seq, heads · head_dim]`.
    fn self_attention(
        x: FloatTensor<Self>,
        #[extension_type] group: Group<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        first: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self> {
        let Several(mut made) = Self::turned_heads(x, group, cosines, sines, heads.width);
        made.truncate(3);
        let (v, k, q) = (made.pop(), made.pop(), made.pop());
        #[allow(clippy::expect_used)] // Three of them, as it says.
        let [q, k, v] = [q, k, v].map(|made| made.expect("q, k and v"));
        side_by_side::<Self>(Self::attention_forward(q, k, v, first, heads.options))
    }
}

/// The heads of a position side by side.
pub fn side_by_side<B: Backend>(heads: FloatTensor<B>) -> FloatTensor<B> {
    let [batch, count, seq, width] = [0, 1, 2, 3].map(|side| heads.shape()[side]);
    B::float_reshape(B::float_swap_dims(heads, 1, 2), [batch, seq, count * width].into())
}

/// The same as heads, of this width.
pub fn heads<B: Backend>(rows: FloatTensor<B>, [batch, seq]: [usize; 2], head_dim: usize) -> FloatTensor<B> {
    let count = rows.shape().num_elements() / (batch * seq * head_dim).max(1);
    B::float_swap_dims(B::float_reshape(rows, [batch, seq, count, head_dim].into()), 1, 2)
}

/// A row for each position.
pub fn rows<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let [batch, seq, width] = [0, 1, 2].map(|side| x.shape()[side]);
    B::float_reshape(x, [batch * seq, width].into())
}

/// Layers, and then turning.
pub fn turned_heads<B: SelfAttentionOps>(
    x: FloatTensor<B>,
    group: Group<B>,
    cosines: FloatTensor<B>,
    sines: FloatTensor<B>,
    head_dim: usize,
) -> Several<B> {
    let sides = [0, 1].map(|side| x.shape()[side]);
    let mut made = {
        let _span = span("linear, forward");
        B::layers_forward(rows::<B>(x), group, Several(Vec::new())).0
    };
    let t = made.split_off(3);
    let _span = span("rotary, forward");
    let mut made = made.into_iter().map(|rows| heads::<B>(rows, sides, head_dim));
    #[allow(clippy::expect_used)] // Three of them, as it says.
    let [q, k, v] = std::array::from_fn(|_| made.next().expect("q, k and v"));
    let Several(turned) = B::rotate_beside(q, k, v, cosines, sines);
    Several([turned, t].concat())
}

/// Attention back, and then turning back.
pub fn turned_back<B: SelfAttentionOps>(
    Several(operands): Several<B>,
    cosines: FloatTensor<B>,
    sines: FloatTensor<B>,
    options: Options,
) -> Several<B> {
    #[allow(clippy::expect_used)] // Six of them, as it says.
    let [q, k, v, kept, y, dy] = operands.try_into().expect("six operands");
    let (dq, dk, dv) = B::attention_backward(q, k, v, kept, y, dy, options);
    let _span = span("rotary, backward");
    let Several(back) = B::rotate_beside_back(dq, dk, dv, cosines, sines);
    Several(back.into_iter().map(|heads| rows::<B>(side_by_side::<B>(heads))).collect())
}
