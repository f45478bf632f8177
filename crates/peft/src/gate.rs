//! Gates: how much a method adds, for each token (UniPELT: Mao et al. 2022, arXiv 2110.07577, §3.2).
//!
//! `g = σ(w·x + b)`. The authors average g over the tokens of an example; in a model that reads from left to right a
//! token would then depend on those after it, so here each token has a gate of its own. At 0 the method adds nothing,
//! at 1 what it would without a gate.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use stratune_kernels::linear;

use crate::site::{kaiming, uniform};
use crate::{Additions, MethodConfig, ModuleId, Named, Param, Visitor, show};

/// A learned gate.
#[derive(Clone, Debug)]
pub struct Gate {
    /// w, `[1, in]`.
    pub weight: Param<2>,
    /// b, `[1]`.
    pub bias: Param<1>,
}

/// Numbers of a gate for `inputs`, if the method has one: a row and a bias.
pub(crate) fn numbers(method: &MethodConfig, inputs: usize) -> usize {
    if method.gated == Some(true) { inputs + 1 } else { 0 }
}

impl Gate {
    /// A new one, about half open.
    pub fn new(inputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        Self {
            weight: Param::trainable(uniform(rng, [1, inputs], kaiming(inputs), device)),
            bias: Param::trainable(Tensor::zeros([1], device)),
        }
    }

    /// How far it is open for each token.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, in]`
    /// - output: `[batch, seq, 1]`
    pub fn open(&self, x: Tensor<3>) -> Tensor<3> {
        sigmoid(linear(x, self.weight.value.clone()) + self.bias.value.clone().unsqueeze())
    }
}

impl Gate {
    /// Its parameters by the ends of their paths.
    pub(crate) fn parameters(&mut self) -> Named<'_> {
        vec![("gate.weight", (&mut self.weight).into()), ("gate.bias", (&mut self.bias).into())]
    }
}

impl Additions for Gate {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        show(self.parameters(), of, visitor);
    }
}
