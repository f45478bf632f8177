//! The norm's gradients, from its input: nothing else is kept.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use super::reference::{RmsNormOps, dw};
use crate::tensor_list::{Outputs, TensorList, untracked};

#[derive(Debug)]
struct RmsNorm;

impl<B: RmsNormOps> Backward<B, 2> for RmsNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = span("norm, backward");
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, eps) = ops.state;
        let [to_x, to_weight] = ops.parents;
        if let Some(node) = to_weight {
            grads.register::<B>(node.id, dw::<B>(x.clone(), dy.clone(), eps));
        }
        if let Some(node) = to_x {
            grads.register::<B>(node.id, B::rms_norm_dx(x, weight, dy, eps));
        }
    }
}

#[derive(Debug)]
struct RmsNormResidual;

impl<B: RmsNormOps> Backward<B, 2> for RmsNormResidual {
    type State = (Outputs<B>, FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = span("norm, backward");
        let (outputs, x, weight, eps) = ops.state;
        let Ok([past, dy]) = <[_; 2]>::try_from(outputs.gradients(grads.consume::<B>(&ops.node))) else { return };
        let [to_x, to_weight] = ops.parents;
        if let Some(node) = to_weight {
            grads.register::<B>(node.id, dw::<B>(x.clone(), dy.clone(), eps));
        }
        if let Some(node) = to_x {
            grads.register::<B>(node.id, B::rms_norm_dx_residual(x, weight, dy, eps, past));
        }
    }
}

impl<B: RmsNormOps, C: CheckpointStrategy> RmsNormOps for Autodiff<B, C> {
    fn rms_norm_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        match RmsNorm.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x, weight) = (x.into_primitive(), weight.into_primitive());
                prep.finish((x.clone(), weight.clone(), eps), B::rms_norm_forward(x, weight, eps))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::rms_norm_forward(x.into_primitive(), weight.into_primitive(), eps))
            }
        }
    }

    fn rms_norm_residual(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> TensorList<Self> {
        let prepared = RmsNormResidual.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let both = B::rms_norm_residual(x.clone(), weight.clone(), eps);
        match prepared {
            OpsKind::Tracked(prep) => {
                let (outputs, first) = (Outputs::new(&both), both.0[0].clone());
                outputs.clone().on_graph(prep.finish((outputs, x, weight, eps), first), both)
            }
            OpsKind::UnTracked(_) => untracked(both),
        }
    }
}
