//! Self-attention with grouped queries and rotary positions.

use burn::tensor::Tensor;
use stratune_kernels::{CausalMask, Rotary, causal_attention};
use stratune_peft::{Linear, Parameters, Pass, Visitor};

use super::KvCache;

/// Self-attention.
#[derive(Clone, Debug)]
pub struct Attention {
    /// hidden → heads · head_dim.
    pub q_proj: Linear,
    /// hidden → kv_heads · head_dim.
    pub k_proj: Linear,
    /// hidden → kv_heads · head_dim.
    pub v_proj: Linear,
    /// heads · head_dim → hidden.
    pub o_proj: Linear,
    /// Width of a head.
    pub head_dim: usize,
}

impl Attention {
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        rotary: &Rotary,
        mask: &CausalMask,
        cache: Option<&mut KvCache>,
        pass: &Pass,
    ) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let split = |t: Tensor<3>| {
            let heads = t.dims()[2] / self.head_dim;
            t.reshape([batch, seq, heads, self.head_dim]).swap_dims(1, 2)
        };
        let offset = cache.as_ref().map_or(0, |c| c.len());
        let q = rotary.apply(split(self.q_proj.forward(x.clone(), pass)), offset);
        let k = rotary.apply(split(self.k_proj.forward(x.clone(), pass)), offset);
        let v = split(self.v_proj.forward(x, pass));
        let (k, v) = match cache {
            None => (k, v),
            Some(cache) => cache.extend(k, v),
        };
        let mixed = causal_attention(q, k, v, mask);
        let width = mixed.dims()[1] * self.head_dim;
        self.o_proj.forward(mixed.swap_dims(1, 2).reshape([batch, seq, width]), pass)
    }
}

impl Parameters for Attention {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        self.q_proj.each(&format!("{path}.q_proj"), visitor);
        self.k_proj.each(&format!("{path}.k_proj"), visitor);
        self.v_proj.each(&format!("{path}.v_proj"), visitor);
        self.o_proj.each(&format!("{path}.o_proj"), visitor);
    }
}
