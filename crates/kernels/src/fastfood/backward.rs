//! The gradient: the map is linear and fixed, so it is the adjoint's, and nothing but the map is kept.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use stratune_runtime::span;

use super::reference::{FastfoodOps, Map};

#[derive(Debug)]
struct Spread;

impl<B: FastfoodOps> Backward<B, 1> for Spread {
    type State = (Map<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = span("fastfood, backward");
        let dy = grads.consume::<B>(&ops.node);
        let ([to_v], (map, dimension)) = (ops.parents, ops.state);
        if let Some(node) = to_v {
            grads.register::<B>(node.id, B::spread_back(dy, map, dimension));
        }
    }
}

impl<B: FastfoodOps, C: CheckpointStrategy> FastfoodOps for Autodiff<B, C> {
    fn spread(v: FloatTensor<Self>, map: Map<Self>, count: usize) -> FloatTensor<Self> {
        let map = Map::<B> { signs: map.signs.into_primitive(), order: map.order, gains: map.gains.into_primitive() };
        match Spread.prepare::<C>([v.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let v = v.into_primitive();
                prep.finish((map.clone(), v.shape().num_elements()), B::spread(v, map, count))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::spread(v.into_primitive(), map, count)),
        }
    }
}
