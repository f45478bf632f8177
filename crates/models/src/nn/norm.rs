//! Normalisation by the root mean square or by mean and variance, with its weight and its bias.

use burn::tensor::Tensor;
use stratune_kernels::{layer_norm, rms_norm, rms_norm_residual};
use stratune_peft::{ForwardContext, ModuleId, Param, Parameters, Visitor};

/// RMSNorm; or LayerNorm, which is the same of what is left when the mean is taken off, and a bias.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Which module it is.
    pub id: ModuleId,
    /// Gain, `[width]`.
    pub weight: Param<1>,
    /// What is added, `[width]`, if the model has it.
    pub bias: Option<Param<1>>,
    /// Whether the mean is taken off first.
    pub centring: bool,
    /// Whether the gain is 1 + weight.
    pub zero_centered: bool,
    /// The gain that layer-norm tuning trains in its place, `[width]`.
    pub tuned: Option<Param<1>>,
    /// The bias that it trains in the bias's place, `[width]`.
    pub tuned_bias: Option<Param<1>>,
    /// Added to the mean square.
    pub eps: f64,
}

impl Norm {
    /// An RMSNorm that no method enters.
    pub fn new(id: ModuleId, weight: Tensor<1>, zero_centered: bool, eps: f64) -> Self {
        let (bias, centring, tuned, tuned_bias) = (None, false, None, None);
        Self { id, weight: Param::frozen(weight), bias, centring, zero_centered, tuned, tuned_bias, eps }
    }

    /// How many numbers it normalises at once.
    pub fn width(&self) -> usize {
        self.weight.value.dims()[0]
    }

    /// # Shapes
    /// - `x`, output: `[batch, seq, width]`
    pub fn forward(&self, x: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        match (self.centring, self.shift(context)) {
            (false, None) => rms_norm(x, self.gain(context), self.eps),
            (false, Some(bias)) => rms_norm(x, self.gain(context), self.eps) + bias.unsqueeze(),
            (true, bias) => {
                let gain = self.gain(context);
                let bias = bias.unwrap_or_else(|| gain.zeros_like());
                layer_norm(x, gain, bias, self.eps)
            }
        }
    }

    /// What goes past it, `x` as it is, and its output: one for a residual stream and what is added to it.
    ///
    /// # Shapes
    /// - `x`, outputs: `[batch, seq, hidden]`
    pub fn forward_residual(&self, x: Tensor<3>, context: &ForwardContext) -> (Tensor<3>, Tensor<3>) {
        if self.centring {
            return (x.clone(), self.forward(x, context));
        }
        let (x, normed) = rms_norm_residual(x, self.gain(context), self.eps);
        (x, self.shift(context).map_or(normed.clone(), |bias| normed + bias.unsqueeze()))
    }

    /// What is added in the end.
    fn shift(&self, context: &ForwardContext) -> Option<Tensor<1>> {
        let bias = self.bias.as_ref()?.value.clone();
        Some(match &self.tuned_bias {
            None => bias,
            Some(tuned) => context.damp(bias, tuned.value.clone()),
        })
    }

    fn gain(&self, context: &ForwardContext) -> Tensor<1> {
        let weight = self.weight.value.clone();
        let weight = match &self.tuned {
            None => weight,
            Some(tuned) => context.damp(weight, tuned.value.clone()),
        };
        if self.zero_centered { weight.add_scalar(1.0) } else { weight }
    }

    /// Trains a copy of the gain, and of the bias.
    pub fn tune(&mut self) {
        self.tuned = Some(Param::trainable(self.weight.value.clone()));
        self.tuned_bias = self.bias.as_ref().map(|bias| Param::trainable(bias.value.clone()));
    }

    /// Puts the tuned gain in the place of the gain, and the bias in that of the bias.
    pub fn merge(&mut self) {
        if let Some(tuned) = self.tuned.take() {
            self.weight.value = tuned.value;
        }
        if let (Some(tuned), Some(bias)) = (self.tuned_bias.take(), &mut self.bias) {
            bias.value = tuned.value;
        }
    }
}

impl Parameters for Norm {
    fn each(&mut self, visitor: &mut impl Visitor) {
        visitor.visit(&self.id.param("weight"), &mut self.weight);
        if let Some(bias) = &mut self.bias {
            visitor.visit(&self.id.param("bias"), bias);
        }
        if let Some(tuned) = &mut self.tuned {
            visitor.visit(&self.id.param("ln_tuning_layers.weight"), tuned);
        }
        if let Some(tuned) = &mut self.tuned_bias {
            visitor.visit(&self.id.param("ln_tuning_layers.bias"), tuned);
        }
    }
}
