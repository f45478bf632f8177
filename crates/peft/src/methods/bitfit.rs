//! BitFit: only biases train (Ben Zaken et al. 2021, arXiv 2106.10199).
//!
//! `y' = y + b`, b zero at the start, beside a bias that the model may have.

use burn::tensor::Tensor;

use crate::delta::{Left, Nature, plus, stays};
use crate::found::Found;
use crate::{Delta, Named, Param, Pass, Site};

/// BitFit's bias, and what is left of HiWi.
#[derive(Clone, Debug)]
pub struct Bias {
    /// b, `[out]`.
    pub value: Param<1>,
}

impl Bias {
    /// A new one that changes nothing yet.
    pub fn new(site: &Site) -> Self {
        Self { value: Param::trainable(Tensor::zeros([site.shape()[0]], &site.device())) }
    }
}

impl Delta for Bias {
    fn parameters(&mut self) -> Named<'_> {
        vec![("bias_update", (&mut self.value).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn nature(&self) -> Nature {
        Nature { makes_bias: true, ..Nature::PLAIN }
    }

    fn output(&self, _: Tensor<3>, y: Tensor<3>, _: &Found<'_>, pass: &Pass) -> Tensor<3> {
        y + pass.damped(self.value.value.clone()).unsqueeze()
    }

    fn merge(&self, weight: Tensor<2>, bias: Option<Tensor<1>>, pass: &Pass) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight, plus(bias, pass.damped(self.value.value.clone())))
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn left(&self) -> Left<'_> {
        stays()
    }

    fn for_base_as_read(&mut self) {}

    fn bias(&self, pass: &Pass) -> Option<Tensor<1>> {
        Some(pass.damped(self.value.value.clone()))
    }

    fn operands(&mut self) -> Named<'_> {
        self.parameters()
    }
}
