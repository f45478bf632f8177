//! The gradients of attention over one input: rotated queries and keys, values, and what attention saves, are saved.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use stratune_runtime::span;

use super::Heads;
use super::reference::{SelfAttentionOps, heads as heads_of, rows, side_by_side};
use crate::linear::{Group, LinearOps, NeedsGrad, SavedGroup, Trained, inner_group, parents};
use crate::tensor_list::TensorList;

#[derive(Debug)]
struct SelfAttention;

#[derive(Clone, Debug)]
struct Saved<B: LinearOps> {
    x: Option<FloatTensor<B>>,
    group: SavedGroup<B>,
    /// q, k, v, what attention saves, and its output.
    attention: [FloatTensor<B>; 5],
    /// q and k before their norms, and the weights of these; empty without.
    before: Vec<FloatTensor<B>>,
    weights: Vec<FloatTensor<B>>,
    cos_sin: [FloatTensor<B>; 2],
    heads: Heads,
    /// Of x.
    sides: [usize; 3],
}

/// The parents: x, and what q, k and v may train.
impl<B: SelfAttentionOps> Backward<B, 10> for SelfAttention {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 10>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Saved { x, group, attention, before, weights, cos_sin: [cosines, sines], heads, sides } = ops.state;
        let [to_x, of_layers @ ..] = ops.parents.map(|node| node.map(|node| node.id));
        let back = {
            let _span = span("attention, backward");
            let [batch, seq, _] = sides;
            let dy = heads_of::<B>(grads.consume::<B>(&ops.node), [batch, seq], heads.width);
            let operands = TensorList(attention.into_iter().chain([dy]).chain(before).collect());
            B::heads_with_rotary_backward(operands, TensorList(weights), cosines, sines, heads).0
        };
        let dt = group.back(&back, to_x, |dx| B::float_reshape(dx, sides.into()), grads);
        group.trained(back, dt, x, Trained::new(&of_layers, 3), grads);
    }
}

impl<B: SelfAttentionOps, C: CheckpointStrategy> SelfAttentionOps for Autodiff<B, C> {
    fn self_attention(
        x: FloatTensor<Self>,
        group: Group<Self>,
        weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        first: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self> {
        let needs_grad = NeedsGrad::of(&x, &group);
        // Nobody tracks this one.
        let nobody = <Self as AutodiffBackend>::from_inner(x.clone().into_primitive());
        let nodes = parents([Some(&x)], &[&group], 3, &nobody).map(|parent| parent.node());
        let prepared = SelfAttention.prepare::<C>(nodes).compute_bound().stateful();
        let (x, group) = (x.into_primitive(), inner_group(group));
        // Frozen, as it says of them.
        let weights: Vec<_> = weights.0.into_iter().map(|weight| weight.into_primitive()).collect();
        let [cosines, sines, first] = [cosines, sines, first].map(|t| t.into_primitive());
        match prepared {
            OpsKind::Tracked(prep) => {
                let sides = [0, 1, 2].map(|side| x.shape()[side]);
                let TensorList(mut made) = B::heads_with_rotary(
                    x.clone(),
                    group.clone(),
                    TensorList(weights.clone()),
                    cosines.clone(),
                    sines.clone(),
                    heads,
                );
                let mut before = made.split_off(3);
                let t = before.split_off(weights.len());
                #[allow(clippy::expect_used)] // Three of them, as it says.
                let [q, k, v] = <[_; 3]>::try_from(made).expect("q, k and v");
                let (y, saved) = B::attention_forward_saving(q.clone(), k.clone(), v.clone(), first, heads.options);
                let saved = Saved {
                    x: needs_grad.a.then(|| rows::<B>(x)),
                    group: SavedGroup::new(group, t, needs_grad),
                    attention: [q, k, v, saved, y.clone()],
                    before,
                    weights,
                    cos_sin: [cosines, sines],
                    heads,
                    sides,
                };
                prep.finish(saved, side_by_side::<B>(y))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::self_attention(x, group, TensorList(weights), cosines, sines, first, heads))
            }
        }
    }
}
