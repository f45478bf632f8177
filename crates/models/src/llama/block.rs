//! One block of the residual stream.

use burn::tensor::Tensor;
use stratune_peft::{Bottleneck, Delta, Linear, Parameters, Pass, Place, Shared, Visitor, count_trainable};
use stratune_protocol::Target;

use crate::nn::{Attention, KvCache, Mlp, Positions, RmsNorm};

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
    /// Small networks that methods put after or beside these.
    pub adapters: Vec<Bottleneck>,
}

impl Block {
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, at: &Positions, cache: Option<&mut KvCache>, pass: &Pass) -> Tensor<3> {
        let attended = self.self_attn.forward(self.input_layernorm.forward(x.clone(), pass), at, cache, pass);
        let x = x + self.adapted(Place::AfterAttention, attended, pass);
        let inner = self.post_attention_layernorm.forward(x.clone(), pass);
        let fed = self.mlp.forward(inner.clone(), pass);
        let fed = self.at(Place::BesideMlp).fold(fed, |fed, adapter| fed + adapter.forward(inner.clone(), pass));
        x + self.adapted(Place::AfterMlp, fed, pass)
    }

    /// Whether anything in it trains, or reads something of `shared` that does.
    pub fn trains(&self, shared: &Shared) -> bool {
        let vector = shared.vector.as_ref().is_some_and(|v| v.trainable);
        let mut block = self.clone();
        let mut deltas = Target::ALL.into_iter().flat_map(|t| block.linear_mut(t).deltas.clone());
        let steered = vector && deltas.any(|d| matches!(d, Delta::Intrinsic(_)));
        drop(deltas);
        steered || count_trainable(&mut block) > 0
    }

    /// Its two norms.
    pub fn norms_mut(&mut self) -> [&mut RmsNorm; 2] {
        [&mut self.input_layernorm, &mut self.post_attention_layernorm]
    }

    fn at(&self, place: Place) -> impl Iterator<Item = &Bottleneck> {
        self.adapters.iter().filter(move |adapter| adapter.place == place)
    }

    /// `h` and what the networks after it add.
    fn adapted(&self, place: Place, h: Tensor<3>, pass: &Pass) -> Tensor<3> {
        self.at(place).fold(h, |h, adapter| h.clone() + adapter.forward(h, pass))
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
}

impl Parameters for Block {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        self.input_layernorm.each(&format!("{path}.input_layernorm"), visitor);
        self.self_attn.each(&format!("{path}.self_attn"), visitor);
        self.post_attention_layernorm.each(&format!("{path}.post_attention_layernorm"), visitor);
        self.mlp.each(&format!("{path}.mlp"), visitor);
        for adapter in &mut self.adapters {
            adapter.each(path, visitor);
        }
    }
}
