//! What a run minimises.

use burn::tensor::{IndexingUpdateOp, Tensor};
use stratune_data::Sequence;
use stratune_kernels::backward_from;
use stratune_kernels::cross_entropy::{CrossEntropy, NeedsGrad, linear_cross_entropy, linear_cross_entropy_rows};
use stratune_models::Model;
use stratune_peft::{Gradients, ParamId, collect_gradients, require_grad};
use stratune_protocol::LabelMetrics;

use crate::DeviceBatch;

/// A loss over what leaves a model's last block. Training, MeZO, evaluation, IST and the ladder ask it and nothing else.
pub trait Objective {
    /// The loss of a batch, summed over what it is a mean of, `[1]`; `x`: `[rows, width, hidden_size]`.
    fn loss(&self, model: &Model, x: Tensor<3>, batch: &DeviceBatch) -> Tensor<1>;

    /// The same, with the gradients of `scale` times it: those of what trains above the blocks are added to `into`, that with
    /// respect to `x` is given.
    fn backward(
        &self,
        model: &Model,
        x: Tensor<3>,
        batch: &DeviceBatch,
        scale: f64,
        into: &mut Gradients,
    ) -> (Tensor<1>, Tensor<3>);

    /// How well rows with a label as a whole are labelled, by the [outputs](Self::outputs) of each; none of other rows.
    fn metrics(&self, _: &[Vec<f32>], _: &[&Sequence], _: &[String]) -> Option<LabelMetrics> {
        None
    }

    /// What the model says of each label, `[labels, outputs]`, where a person wants to know more of it than the loss.
    fn outputs(&self, _: &Model, _: &Tensor<3>, _: &DeviceBatch) -> Option<Tensor<2>> {
        None
    }
}

/// The next token: cross entropy at the positions whose next token is a label, and nowhere else.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextToken;

impl NextToken {
    /// The loss at each label by itself, `[labels]`; `x`: `[rows, width, hidden_size]`.
    pub(crate) fn losses(&self, model: &Model, x: Tensor<3>, batch: &DeviceBatch) -> Tensor<1> {
        let normed = model.final_norm(labelled(x, batch).unsqueeze()).squeeze_dim(0);
        let (head, cap) = (model.head().matrices(), model.config.final_logit_softcapping);
        linear_cross_entropy_rows(normed, &head, cap, batch.targets.clone(), model.compute)
    }
}

impl Objective for NextToken {
    fn loss(&self, model: &Model, x: Tensor<3>, batch: &DeviceBatch) -> Tensor<1> {
        let normed = model.final_norm(labelled(x, batch).unsqueeze());
        entropy(model, normed, batch, 1.0, NeedsGrad::None).loss
    }

    fn backward(
        &self,
        model: &Model,
        x: Tensor<3>,
        batch: &DeviceBatch,
        scale: f64,
        into: &mut Gradients,
    ) -> (Tensor<1>, Tensor<3>) {
        let shape = x.dims();
        let mut norm = model.norm.clone();
        require_grad(&mut norm);
        let states = labelled(x, batch).autodiff().require_grad();
        let normed = model.final_norm_by(norm.as_ref(), states.clone().unsqueeze());

        let head = model.head();
        let needs_grad = if head.trains() { NeedsGrad::HiddenAndHead } else { NeedsGrad::Hidden };
        let CrossEntropy { loss, d_hidden, d_head } = entropy(model, normed.clone().inner(), batch, scale, needs_grad);
        if let Some(d_head) = d_head {
            add(into, &head.id.param("weight"), d_head);
        }
        let d_states = d_hidden.and_then(|d_normed| {
            let mut tape = backward_from(normed, d_normed.unsqueeze());
            collect_gradients(&mut norm, &mut tape, into);
            states.grad_remove(&mut tape)
        });
        (loss, spread(d_states, batch, shape))
    }
}

/// The gradient with respect to all that leaves the last block, from that of what stands at the positions of labels.
pub(crate) fn spread(d_states: Option<Tensor<2>>, batch: &DeviceBatch, [rows, width, hidden]: [usize; 3]) -> Tensor<3> {
    let dx = Tensor::<2>::zeros([rows * width, hidden], &batch.tokens.device());
    let dx = match d_states {
        None => dx,
        Some(of) => dx.select_assign(0, batch.positions.clone(), of.inner(), IndexingUpdateOp::Add),
    };
    dx.reshape([rows, width, hidden])
}

/// What stands at the positions that predict a label, `[labels, hidden_size]`.
pub(crate) fn labelled(x: Tensor<3>, batch: &DeviceBatch) -> Tensor<2> {
    let [rows, width, hidden] = x.dims();
    x.reshape([rows * width, hidden]).select(0, batch.positions.clone())
}

fn entropy(model: &Model, normed: Tensor<3>, batch: &DeviceBatch, scale: f64, needs_grad: NeedsGrad) -> CrossEntropy {
    let [_, labels, hidden] = normed.dims();
    let normed = normed.reshape([labels, hidden]);
    let (head, cap) = (model.head().matrices(), model.config.final_logit_softcapping);
    linear_cross_entropy(normed, &head, cap, batch.targets.clone(), scale, needs_grad, model.compute)
}

/// Adds a gradient to what there is of its parameter.
pub(crate) fn add(into: &mut Gradients, ParamId { path, .. }: &ParamId, gradient: Tensor<2>) {
    let count = gradient.shape().num_elements();
    let flat = gradient.reshape([count]);
    let sum = match into.remove(path) {
        Some(there) => there + flat,
        None => flat,
    };
    into.insert(path.clone(), sum);
}
