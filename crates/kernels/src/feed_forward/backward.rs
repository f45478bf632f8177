//! The gradients of the feed-forward layer: what gate and up gave is kept, and what comes of it is made again.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend};
use stratune_runtime::span;

use super::reference::FeedForwardOps;
use crate::linear::{Group, LinearOps, NeedsGrad, SavedGroup, Trained, inner_group, parents, plain};
use crate::tensor_list::TensorList;

#[derive(Debug)]
struct FeedForward;

#[derive(Clone, Debug)]
struct Saved<B: LinearOps> {
    x: Option<FloatTensor<B>>,
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    inner: SavedGroup<B>,
    outer: SavedGroup<B>,
}

/// The parents: x, what the output is added to, and what gate, up and down may train.
impl<B: FeedForwardOps> Backward<B, 11> for FeedForward {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 11>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Saved { x, gate, up, inner, outer } = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_onto, of_layers @ ..] = ops.parents.map(|node| node.map(|node| node.id));
        let all = Trained::new(&of_layers, 3);
        let (to_inner, to_outer) = (all.among(0..2), all.among(2..3));
        if let Some(node) = to_onto {
            grads.register::<B>(node, dy.clone());
        }
        if to_x.is_none() && !to_inner.any() {
            let dt = outer.back(std::slice::from_ref(&dy), None, |dx| dx, grads);
            let _span = span("gated activation, forward");
            let value = to_outer.a[0].map(|_| B::swiglu_forward(gate, up));
            outer.trained(vec![dy], dt, value, to_outer, grads);
            return;
        }
        let (back, value, dt) = {
            let _span = span("linear, gradient of the input");
            let TensorList(mut made) = B::gated_back(dy.clone(), outer.group.clone(), gate, up);
            let dt = made.split_off(3);
            let value = made.pop();
            (made, value, dt)
        };
        outer.trained(vec![dy], dt, value, to_outer, grads);
        let dt = inner.back(&back, to_x, |dx| dx, grads);
        inner.trained(back, dt, x, to_inner, grads);
    }
}

impl<B: FeedForwardOps, C: CheckpointStrategy> FeedForwardOps for Autodiff<B, C> {
    fn feed_forward(
        x: FloatTensor<Self>,
        inner: Group<Self>,
        outer: Group<Self>,
        residual: TensorList<Self>,
    ) -> FloatTensor<Self> {
        let of_inner = NeedsGrad::of(&x, &inner);
        let of_outer = NeedsGrad { x: of_inner.any(), ..NeedsGrad::of(&x, &outer) };
        // Nobody tracks this one.
        let nobody = <Self as AutodiffBackend>::from_inner(x.clone().into_primitive());
        let nodes = parents([Some(&x), residual.0.first()], &[&inner, &outer], 3, &nobody).map(|parent| parent.node());
        let prepared = FeedForward.prepare::<C>(nodes).compute_bound().stateful();
        let (x, inner, outer) = (x.into_primitive(), inner_group(inner), inner_group(outer));
        let residual = plain(residual);
        match prepared {
            OpsKind::Tracked(prep) => {
                let TensorList(mut made) = B::gated_forward(x.clone(), inner.clone());
                let t_inner = made.split_off(3);
                #[allow(clippy::expect_used)] // Gate, up and the value, as it says.
                let [gate, up, value] = made.try_into().expect("three outputs");
                let TensorList(mut made) = B::grouped_forward(value, outer.clone(), residual);
                let t_outer = made.split_off(1);
                let (inner, outer) =
                    (SavedGroup::new(inner, t_inner, of_inner), SavedGroup::new(outer, t_outer, of_outer));
                prep.finish(Saved { x: of_inner.a.then_some(x), gate, up, inner, outer }, made.swap_remove(0))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::feed_forward(x, inner, outer, residual)),
        }
    }
}
