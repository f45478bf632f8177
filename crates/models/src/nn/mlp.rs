//! The feed-forward layer, gated or plain.

use burn::tensor::Tensor;
use stratune_kernels::{Activation, activation, feed_forward, swiglu};
use stratune_peft::{Linear, Parameters, Pass, Visitor};

/// `down(f(gate x) · up x)`, or `down(f(up x))` where nothing is gated.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// hidden → intermediate, through the activation; none where nothing is gated.
    pub gate_proj: Option<Linear>,
    /// hidden → intermediate.
    pub up_proj: Linear,
    /// intermediate → hidden.
    pub down_proj: Linear,
    /// f.
    pub activation: Activation,
}

impl Mlp {
    /// The output, added to `onto`, if that is given.
    ///
    /// # Shapes
    /// - `x`, `onto`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: &Tensor<3>, onto: Option<Tensor<3>>, pass: &Pass) -> Tensor<3> {
        let Self { gate_proj, up_proj, down_proj, .. } = self;
        let Some(gate_proj) = gate_proj else {
            let inner = activation(up_proj.forward(x.clone(), pass), self.activation);
            return down_proj.forward_onto(inner, onto, pass);
        };
        if self.activation == Activation::Silu
            && let Some([gate, up, down]) = Linear::plain([gate_proj, up_proj, down_proj], pass)
        {
            return feed_forward(x.clone(), gate, up, down, onto);
        }
        let [gate, up] = Linear::forward_each([gate_proj, up_proj], x, pass);
        let gated = match self.activation {
            Activation::Silu => swiglu(gate, up),
            other => activation(gate, other) * up,
        };
        down_proj.forward_onto(gated, onto, pass)
    }

    /// Puts the weights that read the same input where one dispatch can read both.
    pub fn lay_together(&mut self) {
        if let Some(gate_proj) = &mut self.gate_proj {
            Linear::lay_together([gate_proj, &mut self.up_proj]);
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
