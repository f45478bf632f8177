//! The gated feed-forward layer.

use burn::tensor::Tensor;
use stratune_kernels::swiglu;
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
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let gate = self.gate_proj.forward(x.clone(), pass);
        let up = self.up_proj.forward(x, pass);
        self.down_proj.forward(swiglu(gate, up), pass)
    }
}

impl Parameters for Mlp {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        self.gate_proj.each(&format!("{path}.gate_proj"), visitor);
        self.up_proj.each(&format!("{path}.up_proj"), visitor);
        self.down_proj.each(&format!("{path}.down_proj"), visitor);
    }
}
