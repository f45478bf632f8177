//! Self-attention with grouped queries and rotary positions.

use burn::tensor::Tensor;
use stratune_kernels::{Scores, causal_attention, self_attention};
use stratune_peft::{Linear, Parameters, Pass, Prefix, Visitor};

use super::{KvCache, Positions, Standing};

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
    /// Learned keys and values before the text.
    pub prefix: Option<Prefix>,
}

impl Attention {
    /// The output, added to `onto`, if that is given.
    ///
    /// # Shapes
    /// - `x`, `onto`, output: `[batch, seq, hidden]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        onto: Option<Tensor<3>>,
        at: &Positions,
        cache: Option<&mut KvCache>,
        pass: &Pass,
    ) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        // Positions that the text follows: those of the cache, which has the prefix among them, or the prefix.
        let prefix = self.prefix.as_ref();
        let cached = cache.as_ref().map_or(0, |c| c.len());
        let offset = if cached > 0 { cached } else { prefix.map_or(0, Prefix::length) };
        let standing = at.after(offset);
        if prefix.is_none()
            && cache.is_none()
            && let Some(mixed) = self.of_the_text_alone(&x, standing, pass)
        {
            return self.o_proj.forward_onto(mixed, onto, pass);
        }
        let projections = Linear::forward_each([&self.q_proj, &self.k_proj, &self.v_proj], &x, pass);
        let [q, k, v] = projections.map(|t| self.split(t));
        let [q, k, v] = standing.angles.turn_beside(q, k, v);
        let (k, v) = match prefix.filter(|_| cached == 0) {
            None => (k, v),
            Some(prefix) => {
                let (keys, values) = prefix.states(&pass.shared);
                let before = |t: Tensor<2>| {
                    let [length, width] = t.dims();
                    self.split(t.unsqueeze::<3>().expand([batch, length, width]))
                };
                (Tensor::cat(vec![before(keys), k], 2), Tensor::cat(vec![before(values), v], 2))
            }
        };
        let (k, v) = match cache {
            None => (k, v),
            Some(cache) => cache.extend(k, v),
        };
        let scores = Scores::of(self.head_dim);
        let mixed = causal_attention(q.clone(), k.clone(), v.clone(), &standing.sight, scores);
        let mixed = match prefix.filter(|prefix| pass.damping != 1.0 || prefix.gate.is_some()) {
            None => mixed,
            Some(prefix) => {
                let text = k.dims()[2] - prefix.length();
                let of_text = |t: Tensor<4>| t.narrow(2, prefix.length(), text);
                let without = causal_attention(q, of_text(k), of_text(v), &at.after(text - seq).sight, scores);
                prefix.admit(x, without, mixed, pass)
            }
        };
        let width = mixed.dims()[1] * self.head_dim;
        self.o_proj.forward_onto(mixed.swap_dims(1, 2).reshape([batch, seq, width]), onto, pass)
    }

    /// What the heads give over nothing but `x`, if no method does more than update the layers
    /// that read it, or give them biases.
    fn of_the_text_alone(&self, x: &Tensor<3>, standing: &Standing, pass: &Pass) -> Option<Tensor<3>> {
        let layers = Linear::plain([&self.q_proj, &self.k_proj, &self.v_proj], pass)?;
        let scores = Scores::of(self.head_dim);
        Some(self_attention(x.clone(), &layers, self.head_dim, &standing.angles, &standing.sight, scores))
    }

    /// Puts the weights that read the same input where one dispatch can read all of them.
    pub fn lay_together(&mut self) {
        Linear::lay_together([&mut self.q_proj, &mut self.k_proj, &mut self.v_proj]);
    }

    /// `[batch, seq, heads · head_dim]` to `[batch, heads, seq, head_dim]`.
    fn split(&self, t: Tensor<3>) -> Tensor<4> {
        let [batch, seq, width] = t.dims();
        t.reshape([batch, seq, width / self.head_dim, self.head_dim]).swap_dims(1, 2)
    }
}

impl Parameters for Attention {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        self.q_proj.each(&format!("{path}.q_proj"), visitor);
        self.k_proj.each(&format!("{path}.k_proj"), visitor);
        self.v_proj.each(&format!("{path}.v_proj"), visitor);
        self.o_proj.each(&format!("{path}.o_proj"), visitor);
        if let Some(prefix) = &mut self.prefix {
            prefix.each(path, visitor);
        }
    }
}
