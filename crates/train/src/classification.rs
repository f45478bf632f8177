//! What a run minimises that labels texts as a whole: the model's classifier reads one token of each.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use stratune_data::{Label, Sequence, Target};
use stratune_models::Model;
use stratune_peft::{Gradients, collect_gradients, require_grad};
use stratune_protocol::{Confusion, LabelMetrics};

use crate::objective::{labelled, spread};
use crate::{DeviceBatch, Objective};

/// Cross entropy of the class, `−w log p`, where each class may have a weight w.
#[derive(Clone, Debug, Default)]
pub struct Classification {
    /// A weight for each class; none: 1.
    pub class_weights: Option<Vec<f32>>,
}

impl Classification {
    fn loss_of(&self, logits: Tensor<2>, batch: &DeviceBatch) -> Tensor<1> {
        let classes = batch.targets.clone().unsqueeze_dim::<2>(1);
        let losses = log_softmax(logits, 1).gather(1, classes).neg();
        let losses = match &self.class_weights {
            None => losses,
            Some(weights) => {
                let weights = TensorData::new(weights.clone(), [weights.len()]);
                let of_rows = Tensor::<1>::from_data(weights, &batch.tokens.device());
                losses * of_rows.select(0, batch.targets.clone()).unsqueeze_dim::<2>(1)
            }
        };
        losses.sum()
    }
}

/// The squared difference from a number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Regression;

impl Regression {
    fn loss_of(&self, said: Tensor<2>, batch: &DeviceBatch) -> Tensor<1> {
        let off = said - batch.values.clone().unsqueeze_dim::<2>(1);
        (off.clone() * off).sum()
    }
}

impl Objective for Classification {
    fn loss(&self, model: &Model, x: Tensor<3>, batch: &DeviceBatch) -> Tensor<1> {
        said(model, &x, batch).map_or_else(|| nothing(&x), |logits| self.loss_of(logits, batch))
    }

    fn backward(
        &self,
        model: &Model,
        x: Tensor<3>,
        batch: &DeviceBatch,
        scale: f64,
        into: &mut Gradients,
    ) -> (Tensor<1>, Tensor<3>) {
        backward(model, &x, batch, scale, into, |logits| self.loss_of(logits, batch))
    }

    fn metrics(&self, said: &[Vec<f32>], rows: &[&Sequence], labels: &[String]) -> Option<LabelMetrics> {
        let mut confusion = Confusion::new(labels.to_vec());
        for (logits, row) in said.iter().zip(rows) {
            if let Some(Label { target: Target::Class(class), .. }) = row.label {
                confusion.add(class as usize, likeliest(logits));
            }
        }
        Some(LabelMetrics::Classes(confusion))
    }

    fn outputs(&self, model: &Model, x: &Tensor<3>, batch: &DeviceBatch) -> Option<Tensor<2>> {
        said(model, x, batch)
    }
}

/// The place of the largest; the first of several.
pub fn likeliest(logits: &[f32]) -> usize {
    let larger = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
    (0..logits.len()).fold(0, larger)
}

impl Objective for Regression {
    fn loss(&self, model: &Model, x: Tensor<3>, batch: &DeviceBatch) -> Tensor<1> {
        said(model, &x, batch).map_or_else(|| nothing(&x), |said| self.loss_of(said, batch))
    }

    fn backward(
        &self,
        model: &Model,
        x: Tensor<3>,
        batch: &DeviceBatch,
        scale: f64,
        into: &mut Gradients,
    ) -> (Tensor<1>, Tensor<3>) {
        backward(model, &x, batch, scale, into, |said| self.loss_of(said, batch))
    }

    fn metrics(&self, said: &[Vec<f32>], rows: &[&Sequence], _: &[String]) -> Option<LabelMetrics> {
        let pairs = said.iter().zip(rows).filter_map(|(said, row)| match row.label?.target {
            Target::Value(value) => Some((f64::from(*said.first()?), f64::from(value))),
            Target::Class(_) => None,
        });
        let (said, right): (Vec<f64>, Vec<f64>) = pairs.unzip();
        Some(LabelMetrics::of_numbers(&said, &right))
    }

    fn outputs(&self, model: &Model, x: &Tensor<3>, batch: &DeviceBatch) -> Option<Tensor<2>> {
        said(model, x, batch)
    }
}

fn nothing(x: &Tensor<3>) -> Tensor<1> {
    Tensor::zeros([1], &x.device())
}

/// What the classifier says of each text.
fn said(model: &Model, x: &Tensor<3>, batch: &DeviceBatch) -> Option<Tensor<2>> {
    model.classify(x.clone(), batch.positions.clone())
}

/// Loss and gradients through the head, which is small: by autodiff.
fn backward(
    model: &Model,
    x: &Tensor<3>,
    batch: &DeviceBatch,
    scale: f64,
    into: &mut Gradients,
    loss_of: impl Fn(Tensor<2>) -> Tensor<1>,
) -> (Tensor<1>, Tensor<3>) {
    let mut head = Model { norm: model.norm.clone(), classifier: model.classifier.clone(), ..model.clone() };
    require_grad(&mut head.norm);
    require_grad(&mut head.classifier);
    let states = labelled(x.clone(), batch).autodiff().require_grad();
    let count = states.dims()[0];
    let each = Tensor::<1, Int>::arange(0..count as i64, &x.device());
    let Some(said) = head.classify(states.clone().unsqueeze(), each) else {
        return (nothing(x), x.zeros_like());
    };
    let loss = loss_of(said);
    let mut tape = loss.clone().mul_scalar(scale).backward();
    collect_gradients(&mut head.norm, &mut tape, into);
    collect_gradients(&mut head.classifier, &mut tape, into);
    (loss.inner(), spread(states.grad_remove(&mut tape), batch, x.dims()))
}
