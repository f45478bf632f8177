//! Root-mean-square normalisation with its weight.

use burn::tensor::Tensor;
use stratune_kernels::{rms_norm, rms_norm_residual};
use stratune_peft::{ForwardContext, ModuleId, Param, Parameters, Visitor};

/// Root-mean-square normalisation.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// Which module it is.
    pub id: ModuleId,
    /// Gain, `[width]`.
    pub weight: Param<1>,
    /// Whether the gain is 1 + weight.
    pub zero_centered: bool,
    /// The gain that layer-norm tuning trains in its place, `[width]`.
    pub tuned: Option<Param<1>>,
    /// Added to the mean square.
    pub eps: f64,
}

impl RmsNorm {
    /// A norm that no method enters.
    pub fn new(id: ModuleId, weight: Tensor<1>, zero_centered: bool, eps: f64) -> Self {
        Self { id, weight: Param::frozen(weight), zero_centered, tuned: None, eps }
    }

    /// How many numbers it normalises at once.
    pub fn width(&self) -> usize {
        self.weight.value.dims()[0]
    }

    /// # Shapes
    /// - `x`, output: `[batch, seq, width]`
    pub fn forward(&self, x: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        rms_norm(x, self.gain(context), self.eps)
    }

    /// What goes past it, `x` as it is, and its output: one for a residual stream and what is added to it.
    ///
    /// # Shapes
    /// - `x`, outputs: `[batch, seq, hidden]`
    pub fn forward_residual(&self, x: Tensor<3>, context: &ForwardContext) -> (Tensor<3>, Tensor<3>) {
        rms_norm_residual(x, self.gain(context), self.eps)
    }

    fn gain(&self, context: &ForwardContext) -> Tensor<1> {
        let weight = self.weight.value.clone();
        let weight = match &self.tuned {
            None => weight,
            Some(tuned) => context.damp(weight, tuned.value.clone()),
        };
        if self.zero_centered { weight.add_scalar(1.0) } else { weight }
    }

    /// Puts the tuned gain in the place of the gain.
    pub fn merge(&mut self) {
        if let Some(tuned) = self.tuned.take() {
            self.weight.value = tuned.value;
        }
    }
}

impl Parameters for RmsNorm {
    fn each(&mut self, visitor: &mut impl Visitor) {
        visitor.visit(&self.id.param("weight"), &mut self.weight);
        if let Some(tuned) = &mut self.tuned {
            visitor.visit(&self.id.param("ln_tuning_layers.weight"), tuned);
        }
    }
}
