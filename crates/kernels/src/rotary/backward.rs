//! The gradient of turning pairs: turning back. Nothing but the angles is kept.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use super::reference::RotaryOps;

#[derive(Debug)]
struct Rotate;

impl<B: RotaryOps> Backward<B, 1> for Rotate {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = span("rotary, backward");
        let dy = grads.consume::<B>(&ops.node);
        let (cos, sin) = ops.state;
        if let [Some(x)] = ops.parents {
            grads.register::<B>(x.id, B::rotate_back(dy, cos, sin));
        }
    }
}

impl<B: RotaryOps, C: CheckpointStrategy> RotaryOps for Autodiff<B, C> {
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        match Rotate.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((cos.clone(), sin.clone()), B::rotate(x.into_primitive(), cos, sin)),
            OpsKind::UnTracked(prep) => prep.finish(B::rotate(x.into_primitive(), cos, sin)),
        }
    }
}
