//! The gradients of rotary embedding: the rotation backwards. Nothing but cosines and sines is kept.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use super::reference::RotaryOps;
use crate::tensor_list::{Outputs, TensorList, untracked};

#[derive(Debug)]
struct ApplyRotary;

impl<B: RotaryOps> Backward<B, 3> for ApplyRotary {
    type State = (Outputs<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = span("rotary, backward");
        let (outputs, cos, sin) = ops.state;
        let Ok([dq, dk, dv]) = <[_; 3]>::try_from(outputs.gradients(grads.consume::<B>(&ops.node))) else { return };
        let TensorList(gradients) = B::apply_rotary_backward(dq, dk, dv, cos, sin);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: RotaryOps, C: CheckpointStrategy> RotaryOps for Autodiff<B, C> {
    fn apply_rotary(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> TensorList<Self> {
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let prepared = ApplyRotary.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful();
        let [q, k, v] = [q, k, v].map(|t| t.into_primitive());
        let rotated = B::apply_rotary(q, k, v, cos.clone(), sin.clone());
        match prepared {
            OpsKind::Tracked(prep) => {
                let (outputs, first) = (Outputs::new(&rotated), rotated.0[0].clone());
                outputs.clone().on_graph(prep.finish((outputs, cos, sin), first), rotated)
            }
            OpsKind::UnTracked(_) => untracked(rotated),
        }
    }
}
