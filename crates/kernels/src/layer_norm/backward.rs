//! The norm's gradients, from its input: nothing else is kept.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use super::reference::{LayerNormOps, dw, sum_of_rows};

#[derive(Debug)]
struct LayerNorm;

impl<B: LayerNormOps> Backward<B, 3> for LayerNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = span("norm, backward");
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, eps) = ops.state;
        let [to_x, to_weight, to_bias] = ops.parents;
        if let Some(node) = to_bias {
            grads.register::<B>(node.id, sum_of_rows::<B>(dy.clone()));
        }
        if let Some(node) = to_weight {
            grads.register::<B>(node.id, dw::<B>(x.clone(), dy.clone(), eps));
        }
        if let Some(node) = to_x {
            grads.register::<B>(node.id, B::layer_norm_dx(x, weight, dy, eps));
        }
    }
}

impl<B: LayerNormOps, C: CheckpointStrategy> LayerNormOps for Autodiff<B, C> {
    fn layer_norm_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let prepared = LayerNorm.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful();
        let [x, weight, bias] = [x, weight, bias].map(|t| t.into_primitive());
        let y = B::layer_norm_forward(x.clone(), weight.clone(), bias, eps);
        match prepared {
            OpsKind::Tracked(prep) => prep.finish((x, weight, eps), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
