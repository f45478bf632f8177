//! The gradients of attention, from its inputs and its output: the scores are made again.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use super::Options;
use super::reference::AttentionOps;

#[derive(Debug)]
struct Attention;

#[derive(Clone, Debug)]
struct Saved<T> {
    /// q, k, v, what the backward pass is to know beside them, and output.
    tensors: [T; 5],
    options: Options,
}

impl<B: AttentionOps> Backward<B, 3> for Attention {
    type State = Saved<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = span("attention, backward");
        let dy = grads.consume::<B>(&ops.node);
        let Saved { tensors: [q, k, v, saved, y], options } = ops.state;
        let (dq, dk, dv) = B::attention_backward(q, k, v, saved, y, dy, options);
        for (node, gradient) in ops.parents.into_iter().zip([dq, dk, dv]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        options: Options,
    ) -> FloatTensor<Self> {
        let first = first.into_primitive();
        match Attention.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let [q, k, v] = [q, k, v].map(|t| t.into_primitive());
                let (y, saved) = B::attention_forward_saving(q.clone(), k.clone(), v.clone(), first, options);
                prep.finish(Saved { tensors: [q, k, v, saved, y.clone()], options }, y)
            }
            OpsKind::UnTracked(prep) => {
                let [q, k, v] = [q, k, v].map(|t| t.into_primitive());
                prep.finish(B::attention_forward(q, k, v, first, options))
            }
        }
    }
}
