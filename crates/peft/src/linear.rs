//! A linear layer and what a method adds to it.

use burn::tensor::Tensor;
use stratune_kernels::linear;

use crate::{Lora, Param, Parameters, Pass, Visitor};

/// What a method adds to a linear layer.
#[derive(Clone, Debug)]
pub enum Delta {
    /// A low-rank update.
    Lora(Lora),
}

/// `x Wᵀ`, plus what a method adds.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[out, in]`.
    pub weight: Param<2>,
    /// What a method adds.
    pub delta: Option<Delta>,
}

impl Linear {
    /// A layer without an addition.
    pub fn new(weight: Tensor<2>) -> Self {
        Self { weight: Param::frozen(weight), delta: None }
    }

    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.weight.value.dims()
    }

    /// # Shapes
    /// - `x`: `[batch, seq, in]`
    /// - output: `[batch, seq, out]`
    pub fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        match &self.delta {
            None => linear(x, self.weight.value.clone()),
            Some(Delta::Lora(lora)) => linear(x.clone(), self.weight.value.clone()) + lora.forward(x, pass),
        }
    }

    /// Moves the addition into W.
    pub fn merge(&mut self) {
        match self.delta.take() {
            None => {}
            Some(Delta::Lora(lora)) => self.weight.value = self.weight.value.clone() + lora.update(),
        }
    }
}

impl Parameters for Linear {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        visitor.visit(&format!("{path}.weight"), &mut self.weight);
        match &mut self.delta {
            None => {}
            Some(Delta::Lora(lora)) => lora.each(path, visitor),
        }
    }
}
