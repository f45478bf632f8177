//! The feed-forward layer, gated or plain.

use burn::tensor::Tensor;
use stratune_kernels::{Activation, activation, feed_forward, swiglu};
use stratune_peft::{ForwardContext, Linear, Parameters, Visitor};

/// `down(f(gate x) · up x)`, or `down(f(up x))` where nothing is gated.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// hidden → intermediate, through the activation; none where nothing is gated, or `up_proj` makes it, too.
    pub gate_proj: Option<Linear>,
    /// hidden → intermediate; where it is `fused`, hidden → 2 · intermediate: the gate's half, then the other.
    pub up_proj: Linear,
    /// Whether `up_proj` makes both halves.
    pub fused: bool,
    /// intermediate → hidden.
    pub down_proj: Linear,
    /// f.
    pub activation: Activation,
}

impl Mlp {
    /// The output, added to `residual`, if that is given.
    ///
    /// # Shapes
    /// - `x`, `residual`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: &Tensor<3>, residual: Option<Tensor<3>>, context: &ForwardContext) -> Tensor<3> {
        let Self { gate_proj, up_proj, down_proj, .. } = self;
        let gated = |gate, up| match self.activation {
            Activation::Silu => swiglu(gate, up),
            other => activation(gate, other) * up,
        };
        if self.fused {
            let both = up_proj.forward(x.clone(), context);
            let half = both.dims()[2] / 2;
            let inner = gated(both.clone().narrow(2, 0, half), both.narrow(2, half, half));
            return down_proj.forward_residual(inner, residual, context);
        }
        let Some(gate_proj) = gate_proj else {
            let inner = activation(up_proj.forward(x.clone(), context), self.activation);
            return down_proj.forward_residual(inner, residual, context);
        };
        if self.activation == Activation::Silu
            && let Some([gate, up, down]) = Linear::plain([gate_proj, up_proj, down_proj], context)
        {
            return feed_forward(x.clone(), gate, up, down, residual);
        }
        let [gate, up] = Linear::forward_each([gate_proj, up_proj], x, context);
        down_proj.forward_residual(gated(gate, up), residual, context)
    }

    /// Puts the weights that read the same input where one dispatch can read both.
    pub fn group_weights(&mut self) {
        if let Some(gate_proj) = &mut self.gate_proj {
            Linear::group_weights([gate_proj, &mut self.up_proj]);
        }
    }
}

impl Parameters for Mlp {
    fn each(&mut self, visitor: &mut impl Visitor) {
        if let Some(gate_proj) = &mut self.gate_proj {
            gate_proj.each(visitor);
        }
        self.up_proj.each(visitor);
        self.down_proj.each(visitor);
    }
}
