//! The gradients of the feed-forward layer: what gate and up gave is kept, and what comes of it is made again.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend};
use stratune_runtime::span;

use super::reference::FeedForwardOps;
use crate::linear::{Group, KeptGroup, LinearOps, Wanted, any_tracked, inner_group, plain};
use crate::several::Several;

#[derive(Debug)]
struct FeedForward;

#[derive(Clone, Debug)]
struct Kept<B: LinearOps> {
    x: Option<FloatTensor<B>>,
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    inner: KeptGroup<B>,
    outer: KeptGroup<B>,
}

/// The parents: x, what the output is added to, and a and b of gate, up and down.
impl<B: FeedForwardOps> Backward<B, 8> for FeedForward {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Self::State, 8>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Kept { x, gate, up, inner, outer } = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_onto, of_factors @ ..] = ops.parents.map(|node| node.map(|node| node.id));
        let (to_a, to_b) = of_factors.split_at(3);
        if let Some(node) = to_onto {
            grads.register::<B>(node, dy.clone());
        }
        let within = to_x.is_some() || [to_a, to_b].iter().any(|nodes| nodes[..2].iter().any(Option::is_some));
        if !within {
            let dt = outer.back(std::slice::from_ref(&dy), None, |dx| dx, grads);
            let _span = span("gated activation, forward");
            let value = to_a[2].map(|_| B::swiglu_forward(gate, up));
            outer.factors(vec![dy], dt, value, [&to_a[2..], &to_b[2..]], grads);
            return;
        }
        let (back, value, dt) = {
            let _span = span("linear, gradient of the input");
            let Several(mut made) = B::gated_back(dy.clone(), outer.group.clone(), gate, up);
            let dt = made.split_off(3);
            let value = made.pop();
            (made, value, dt)
        };
        outer.factors(vec![dy], dt, value, [&to_a[2..], &to_b[2..]], grads);
        let dt = inner.back(&back, to_x, |dx| dx, grads);
        inner.factors(back, dt, x, [&to_a[..2], &to_b[..2]], grads);
    }
}

impl<B: FeedForwardOps, C: CheckpointStrategy> FeedForwardOps for Autodiff<B, C> {
    fn feed_forward(
        x: FloatTensor<Self>,
        inner: Group<Self>,
        outer: Group<Self>,
        onto: Several<Self>,
    ) -> FloatTensor<Self> {
        let of_inner = Wanted { x: x.is_tracked(), a: any_tracked(&inner.a), b: any_tracked(&inner.b) };
        let within = of_inner.x || of_inner.a || of_inner.b;
        let of_outer = Wanted { x: within, a: any_tracked(&outer.a), b: any_tracked(&outer.b) };
        // Nobody tracks this one, which stands for what is not there.
        let nobody = <Self as AutodiffBackend>::from_inner(x.clone().into_primitive());
        let node = |of: &Several<Self>, i: usize| of.0.get(i).unwrap_or(&nobody).node();
        let factors = |of_inner: &Several<Self>, of_outer: &Several<Self>| {
            [node(of_inner, 0), node(of_inner, 1), node(of_outer, 0)]
        };
        let [[a0, a1, a2], [b0, b1, b2]] = [factors(&inner.a, &outer.a), factors(&inner.b, &outer.b)];
        let nodes = [x.node(), node(&onto, 0), a0, a1, a2, b0, b1, b2];
        let prepared = FeedForward.prepare::<C>(nodes).compute_bound().stateful();
        let (x, inner, outer) = (x.into_primitive(), inner_group(inner), inner_group(outer));
        let onto = plain(onto);
        match prepared {
            OpsKind::Tracked(prep) => {
                let Several(mut made) = B::gated_forward(x.clone(), inner.clone());
                let t_inner = made.split_off(3);
                #[allow(clippy::expect_used)] // Gate, up and the value, as it says.
                let [gate, up, value] = made.try_into().expect("three outputs");
                let Several(mut made) = B::layers_forward(value, outer.clone(), onto);
                let t_outer = made.split_off(1);
                let (inner, outer) =
                    (KeptGroup::new(inner, t_inner, of_inner), KeptGroup::new(outer, t_outer, of_outer));
                prep.finish(Kept { x: of_inner.a.then_some(x), gate, up, inner, outer }, made.swap_remove(0))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::feed_forward(x, inner, outer, onto)),
        }
    }
}
