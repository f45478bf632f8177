//! The gated feed-forward layer.

use burn::tensor::Tensor;
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
        Linear::feed_forward([&self.gate_proj, &self.up_proj, &self.down_proj], x, onto, pass)
    }

    /// Puts the weights that read the same input where one dispatch can read both.
    pub fn lay_together(&mut self) {
        Linear::lay_together([&mut self.gate_proj, &mut self.up_proj]);
    }
}

impl Parameters for Mlp {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        self.gate_proj.each(&format!("{path}.gate_proj"), visitor);
        self.up_proj.each(&format!("{path}.up_proj"), visitor);
        self.down_proj.each(&format!("{path}.down_proj"), visitor);
    }
}
