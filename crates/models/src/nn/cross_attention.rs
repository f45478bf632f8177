//! A decoder's attention to what an encoder says of another text.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use stratune_kernels::masked_attention;
use stratune_peft::{ForwardContext, Linear, Parameters, Visitor};
use stratune_protocol::Role;

use super::{Norm, cache::States};

/// What decoders read of another text.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What the encoder says of it, normalised: `[batch or 1, source, hidden]`.
    pub states: Tensor<3>,
    /// What is added to the scores of its tokens, so little that padding is not seen: `[batch or 1, 1, 1, source]`.
    pub mask: Tensor<4>,
    /// The keys and values that blocks have made of it, by their numbers: a text that is continued needs them again.
    pub held: BTreeMap<usize, States>,
}

/// Attention of a decoder's states to an encoder's.
#[derive(Clone, Debug)]
pub struct CrossAttention {
    /// Of what queries are made of.
    pub norm: Norm,
    /// hidden → heads · head_dim, of the decoder's states.
    pub q_proj: Linear,
    /// The same of the encoder's: keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// heads · head_dim → hidden.
    pub o_proj: Linear,
    /// Width of a head.
    pub head_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl CrossAttention {
    /// `x` and what it reads.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, encoded: &Encoded, context: &ForwardContext) -> Tensor<3> {
        let (x, normed) = self.norm.forward_residual(x, context);
        let q = self.split(self.q_proj.forward(normed, context));
        let (k, v) = match encoded.held.get(&context.block) {
            Some(held) => held.clone(),
            None => self.states(&encoded.states, context),
        };
        let [batch, heads, seq, head_dim] = q.dims();
        // One text may be read in all rows.
        let [k, v] = [k, v].map(|t| if t.dims()[0] == batch { t } else { t.repeat_dim(0, batch) });
        let mixed = masked_attention(q, k, v, encoded.mask.clone(), self.scale);
        self.o_proj.forward_residual(mixed.swap_dims(1, 2).reshape([batch, seq, heads * head_dim]), Some(x), context)
    }

    /// Keys and values of what the encoder says.
    ///
    /// # Shapes
    /// - `states`: `[batch, source, hidden]`
    /// - output: `[batch, heads, source, head_dim]` each
    pub fn states(&self, states: &Tensor<3>, context: &ForwardContext) -> States {
        let [k, v] = Linear::forward_each([&self.k_proj, &self.v_proj], states, context);
        (self.split(k), self.split(v))
    }

    /// `[batch, seq, heads · head_dim]` to `[batch, heads, seq, head_dim]`.
    fn split(&self, t: Tensor<3>) -> Tensor<4> {
        let [batch, seq, width] = t.dims();
        t.reshape([batch, seq, width / self.head_dim, self.head_dim]).swap_dims(1, 2)
    }

    /// Its layers with their roles.
    pub fn layers_mut(&mut self) -> [(Role, &mut Linear); 4] {
        [
            (Role::CrossQuery, &mut self.q_proj),
            (Role::CrossKey, &mut self.k_proj),
            (Role::CrossValue, &mut self.v_proj),
            (Role::CrossOutput, &mut self.o_proj),
        ]
    }
}

impl Parameters for CrossAttention {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.norm.each(visitor);
        self.layers_mut().into_iter().for_each(|(_, layer)| layer.each(visitor));
    }
}
