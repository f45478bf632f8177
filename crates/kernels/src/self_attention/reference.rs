//! Attention over one input and its gradients, of the operations that it consists of.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use stratune_runtime::span;

use super::Heads;
use crate::attention::AttentionOps;
use crate::head_norm::HeadNormOps;
use crate::linear::{Group, LinearOps};
use crate::tensor_list::TensorList;

/// Attention over queries, keys and values of one input. Heads are `[batch, heads, seq, head_dim]`, tables of angles as
/// [`RotaryOps`](crate::rotary::RotaryOps) has them, `first` as [`AttentionOps`] has it, and `weights` are of no norms, or of
/// queries' and keys'. A default body is the definition; a device may have a
/// faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait SelfAttentionOps: LinearOps + HeadNormOps + AttentionOps {
    /// Queries and keys, rotated, and values, for `x`: `[batch, seq, hidden]`; behind them, where there are norms, queries
    /// and keys as they were before these, and what `x` gave with each factor a there is.
    fn heads_with_rotary(
        x: FloatTensor<Self>,
        #[extension_type] group: Group<Self>,
        #[extension_type] weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        heads: Heads,
    ) -> TensorList<Self> {
        heads_with_rotary::<Self>(x, group, weights, cosines, sines, heads)
    }

    /// The gradients of queries and keys as linear layers made them, and of values, as matrices of a row for each
    /// position; `operands` are q, k, v, what attention has saved, its output and the gradient of that, and, where there
    /// are norms, queries and keys as they were before these.
    fn heads_with_rotary_backward(
        #[extension_type] operands: TensorList<Self>,
        #[extension_type] weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        heads: Heads,
    ) -> TensorList<Self> {
        heads_with_rotary_backward::<Self>(operands, weights, cosines, sines, heads)
    }

    /// The output, `[batch, seq, heads · head_dim]`.
    fn self_attention(
        x: FloatTensor<Self>,
        #[extension_type] group: Group<Self>,
        #[extension_type] weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        first: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self> {
        let TensorList(mut made) = Self::heads_with_rotary(x, group, weights, cosines, sines, heads);
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

/// Linear layers, norms if there are some, and then rotary embedding.
pub fn heads_with_rotary<B: SelfAttentionOps>(
    x: FloatTensor<B>,
    group: Group<B>,
    weights: TensorList<B>,
    cosines: FloatTensor<B>,
    sines: FloatTensor<B>,
    Heads { width, norm, rotates, .. }: Heads,
) -> TensorList<B> {
    let sides = [0, 1].map(|side| x.shape()[side]);
    let mut made = {
        let _span = span("linear, forward");
        B::grouped_forward(rows::<B>(x), group, TensorList(Vec::new())).0
    };
    let t = made.split_off(3);
    let made: Vec<_> = made.into_iter().map(|rows| heads::<B>(rows, sides, width)).collect();
    if let Some(norm) = norm {
        let before = made[..2].to_vec();
        let TensorList(rotated) = B::norm_rotary(TensorList(made), weights, cosines, sines, norm);
        return TensorList([rotated, before, t].concat());
    }
    if !rotates {
        return TensorList([made, t].concat());
    }
    let _span = span("rotary, forward");
    #[allow(clippy::expect_used)] // Three of them, as it says.
    let [q, k, v] = <[_; 3]>::try_from(made).expect("q, k and v");
    let TensorList(rotated) = B::apply_rotary(q, k, v, cosines, sines);
    TensorList([rotated, t].concat())
}

/// Attention backward, and then rotary embedding and norms backward.
pub fn heads_with_rotary_backward<B: SelfAttentionOps>(
    TensorList(mut operands): TensorList<B>,
    weights: TensorList<B>,
    cosines: FloatTensor<B>,
    sines: FloatTensor<B>,
    Heads { options, norm, rotates, .. }: Heads,
) -> TensorList<B> {
    let mut before = operands.split_off(6);
    #[allow(clippy::expect_used)] // Six of them, as it says.
    let [q, k, v, saved, y, dy] = operands.try_into().expect("six operands");
    let (dq, dk, dv) = B::attention_backward(q, k, v, saved, y, dy, options);
    let TensorList(back) = match norm {
        Some(norm) => {
            before.extend([dq, dk, dv]);
            B::norm_rotary_backward(TensorList(before), weights, cosines, sines, norm)
        }
        None if !rotates => TensorList(vec![dq, dk, dv]),
        None => {
            let _span = span("rotary, backward");
            B::apply_rotary_backward(dq, dk, dv, cosines, sines)
        }
    };
    TensorList(back.into_iter().map(|heads| rows::<B>(side_by_side::<B>(heads))).collect())
}
