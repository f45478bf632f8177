//! A linear layer and what methods add to it.

use burn::tensor::Tensor;
use stratune_kernels::{linear, low_rank_linear};

use crate::lora::Factors;
use crate::{Delta, Param, Parameters, Pass, Shared, Visitor, Weight};

/// `x Wᵀ + b`, and what methods make of it.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[out, in]`.
    pub weight: Weight,
    /// b, `[out]`, if the model has one.
    pub bias: Option<Param<1>>,
    /// What methods add, in the order in which they enter.
    pub deltas: Vec<Delta>,
}

impl Linear {
    /// A layer without a bias or an addition.
    pub fn new(weight: impl Into<Weight>) -> Self {
        Self { weight: weight.into(), bias: None, deltas: Vec::new() }
    }

    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.weight.dims()
    }

    /// # Shapes
    /// - `x`: `[batch, seq, in]`
    /// - output: `[batch, seq, out]`
    pub fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let x = self.deltas.iter().fold(x, |x, delta| delta.input(x, pass));
        let weight = self.weight.matrix();
        // A low-rank update that comes first is made along with the layer.
        let factors = self.deltas.first().and_then(|delta| delta.factors(pass));
        let alone = usize::from(factors.is_some());
        let y = match factors {
            None => linear(x.clone(), weight),
            Some(Factors { a, b, scale }) => low_rank_linear(x.clone(), weight, a, b, scale),
        };
        let y = match &self.bias {
            None => y,
            Some(bias) => y + bias.value.clone().unsqueeze(),
        };
        self.deltas.iter().skip(alone).fold(y, |y, delta| delta.output(x.clone(), y, &self.weight, pass))
    }

    /// Moves the additions into weight and bias.
    pub fn merge(&mut self, shared: &Shared) {
        for delta in std::mem::take(&mut self.deltas) {
            let bias = self.bias.take().map(|b| b.value);
            let (weight, bias) = delta.merge(self.weight.dense(), bias, shared);
            self.weight = weight.into();
            self.bias = bias.map(Param::frozen);
        }
    }
}

impl Parameters for Linear {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        self.weight.each(path, visitor);
        if let Some(bias) = &mut self.bias {
            visitor.visit(&format!("{path}.bias"), bias);
        }
        for delta in &mut self.deltas {
            delta.each(path, visitor);
        }
    }
}
