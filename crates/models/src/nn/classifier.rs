//! The head that classifies a text by what the model says at one of its tokens.

use burn::tensor::Tensor;
use burn::tensor::activation::{relu, tanh};
use stratune_peft::{ForwardContext, Linear, Parameters, Visitor};

/// `out(f(dense x))`, or `out(x)` where there is no layer between.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// hidden → hidden, with its activation.
    pub dense: Option<(Linear, ClassifierActivation)>,
    /// hidden → labels.
    pub out: Linear,
    /// Whether the checkpoint has none of them, and they are drawn.
    pub drawn: [bool; 2],
}

/// What is between the layers of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassifierActivation {
    /// `tanh(x)`.
    Tanh,
    /// `max(x, 0)`.
    Relu,
}

impl Classifier {
    /// # Shapes
    /// - `x`: `[texts, hidden]`: what the model says at the token of each that is read
    /// - output: `[texts, labels]`
    pub fn forward(&self, x: Tensor<2>, context: &ForwardContext) -> Tensor<2> {
        let x = x.unsqueeze::<3>();
        let x = match &self.dense {
            None => x,
            Some((dense, ClassifierActivation::Tanh)) => tanh(dense.forward(x, context)),
            Some((dense, ClassifierActivation::Relu)) => relu(dense.forward(x, context)),
        };
        self.out.forward(x, context).squeeze_dim(0)
    }

    /// Its layers.
    pub fn layers_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.dense.as_mut().map(|(dense, _)| dense).into_iter().chain([&mut self.out])
    }
}

impl Parameters for Classifier {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.layers_mut().for_each(|layer| layer.each(visitor));
    }
}
