//! The gradient of the linear layer: one product for each operand that is tracked, none for one that is not.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use super::reference::LinearOps;

#[derive(Debug)]
struct Linear;

/// What the backward pass reads again: each operand only if the other one is tracked.
#[derive(Clone, Debug)]
struct Kept {
    x: Option<NodeId>,
    weight: Option<NodeId>,
}

impl<B: LinearOps> Backward<B, 2> for Linear {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [x, weight] = ops.parents;
        if let (Some(x), Some(kept)) = (x, ops.state.weight) {
            let _span = span("linear, gradient of the input");
            let weight = checkpointer.retrieve_node_output(kept);
            grads.register::<B>(x.id, B::linear_dx(dy.clone(), weight));
        }
        if let (Some(weight), Some(kept)) = (weight, ops.state.x) {
            let _span = span("linear, gradient of the weight");
            let x = checkpointer.retrieve_node_output(kept);
            grads.register::<B>(weight.id, B::linear_dw(dy, x));
        }
    }
}

impl<B: LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match Linear.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let kept = Kept {
                    x: weight.is_tracked().then(|| prep.checkpoint(&x)),
                    weight: x.is_tracked().then(|| prep.checkpoint(&weight)),
                };
                prep.finish(kept, B::linear_forward(x.into_primitive(), weight.into_primitive()))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_forward(x.into_primitive(), weight.into_primitive())),
        }
    }
}
