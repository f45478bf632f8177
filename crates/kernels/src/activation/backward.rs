//! The gradient of activations, from their input: nothing else is kept.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use super::Activation;
use super::reference::ActivationOps;

#[derive(Debug)]
struct OfActivation;

impl<B: ActivationOps> Backward<B, 1> for OfActivation {
    type State = (FloatTensor<B>, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = span("activation, backward");
        let dy = grads.consume::<B>(&ops.node);
        let (x, of) = ops.state;
        let [parent] = ops.parents;
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::activation_backward(x, dy, of));
        }
    }
}

impl<B: ActivationOps, C: CheckpointStrategy> ActivationOps for Autodiff<B, C> {
    fn activation_forward(x: FloatTensor<Self>, of: Activation) -> FloatTensor<Self> {
        match OfActivation.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                prep.finish((x.clone(), of), B::activation_forward(x, of))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::activation_forward(x.into_primitive(), of)),
        }
    }
}
