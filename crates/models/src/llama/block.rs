//! One block of the residual stream.

use burn::tensor::Tensor;
use stratune_peft::{Linear, Parameters, Pass, Visitor};
use stratune_protocol::Target;

use super::Positions;
use crate::nn::{Attention, KvCache, Mlp, RmsNorm};

/// Attention and feed-forward, each after a norm and added to its input.
#[derive(Clone, Debug)]
pub struct Block {
    /// Before the attention.
    pub input_layernorm: RmsNorm,
    /// The attention.
    pub self_attn: Attention,
    /// Before the feed-forward.
    pub post_attention_layernorm: RmsNorm,
    /// The feed-forward.
    pub mlp: Mlp,
}

impl Block {
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, at: &Positions, cache: Option<&mut KvCache>, pass: &Pass) -> Tensor<3> {
        let attended =
            self.self_attn.forward(self.input_layernorm.forward(x.clone()), &at.rotary, &at.mask, cache, pass);
        let x = x + attended;
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x), pass)
    }

    /// The linear layer that a target names.
    pub fn linear_mut(&mut self, target: Target) -> &mut Linear {
        match target {
            Target::QProj => &mut self.self_attn.q_proj,
            Target::KProj => &mut self.self_attn.k_proj,
            Target::VProj => &mut self.self_attn.v_proj,
            Target::OProj => &mut self.self_attn.o_proj,
            Target::GateProj => &mut self.mlp.gate_proj,
            Target::UpProj => &mut self.mlp.up_proj,
            Target::DownProj => &mut self.mlp.down_proj,
        }
    }

    /// Where a target is within a block, as the checkpoint says it.
    pub fn target_path(target: Target) -> String {
        let part = match target {
            Target::QProj | Target::KProj | Target::VProj | Target::OProj => "self_attn",
            Target::GateProj | Target::UpProj | Target::DownProj => "mlp",
        };
        format!("{part}.{}", target.name())
    }
}

impl Parameters for Block {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        self.input_layernorm.each(&format!("{path}.input_layernorm"), visitor);
        self.self_attn.each(&format!("{path}.self_attn"), visitor);
        self.post_attention_layernorm.each(&format!("{path}.post_attention_layernorm"), visitor);
        self.mlp.each(&format!("{path}.mlp"), visitor);
    }
}
