//! The gated feed-forward layer.

use burn::tensor::Tensor;
use stratune_kernels::{feed_forward, swiglu};
use stratune_peft::{Linear, Parameters, Pass, Visitor};

/// `down(silu(gate x) · up x)`.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// hidden → intermediate, gated.
    pub gate_proj: Linear,
    /// hidden → intermediate.
    pub up_proj: Linear,
    /// intermediate → hidden.
    pub down_proj: Linear,
}

impl Mlp {
    /// The output, added to `onto`, if that is given.
    ///
    /// # Shapes
    /// - `x`, `onto`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: &Tensor<3>, onto: Option<Tensor<3>>, pass: &Pass) -> Tensor<3> {
        let Self { gate_proj, up_proj, down_proj } = self;
        match Linear::plain([gate_proj, up_proj, down_proj], pass) {
            Some([gate, up, down]) => feed_forward(x.clone(), gate, up, down, onto),
            None => {
                let [gate, up] = Linear::forward_each([gate_proj, up_proj], x, pass);
                down_proj.forward_onto(swiglu(gate, up), onto, pass)
            }
        }
    }

    /// Puts the weights that read the same input where one dispatch can read both.
    pub fn lay_together(&mut self) {
        Linear::lay_together([&mut self.gate_proj, &mut self.up_proj]);
    }
}

impl Parameters for Mlp {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.gate_proj.each(visitor);
        self.up_proj.each(visitor);
        self.down_proj.each(visitor);
    }
}
