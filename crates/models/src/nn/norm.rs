//! Root-mean-square normalisation with its weight.

use burn::tensor::Tensor;
use stratune_kernels::rms_norm;
use stratune_peft::{Param, Parameters, Visitor};

/// Root-mean-square normalisation.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// Gain, `[hidden]`.
    pub weight: Param<1>,
    /// Added to the mean square.
    pub eps: f64,
}

impl RmsNorm {
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        rms_norm(x, self.weight.value.clone(), self.eps)
    }
}

impl Parameters for RmsNorm {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        visitor.visit(&format!("{path}.weight"), &mut self.weight);
    }
}
