//! Keys and values of the positions that generation has passed.

use burn::tensor::Tensor;

/// One block's keys and values so far.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    past: Option<(Tensor<4>, Tensor<4>)>,
}

impl KvCache {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.past.as_ref().map_or(0, |(k, _)| k.dims()[2])
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.past.is_none()
    }

    /// What it holds: `[batch, kv_heads, positions, head_dim]` each.
    pub fn into_states(self) -> Option<(Tensor<4>, Tensor<4>)> {
        self.past
    }

    /// Adds the new positions and gives all of them, in memory of their own.
    ///
    /// # Shapes
    /// - `k`, `v`: `[batch, kv_heads, new, head_dim]`
    /// - output: `[batch, kv_heads, past + new, head_dim]` each
    pub fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let all = match self.past.take() {
            None => (own(k), own(v)),
            Some((past_k, past_v)) => (Tensor::cat(vec![past_k, k], 2), Tensor::cat(vec![past_v, v], 2)),
        };
        self.past = Some(all.clone());
        all
    }
}

/// A copy: the first keys and values may be parts of a memory in which there is more, for as long as they are held.
fn own(t: Tensor<4>) -> Tensor<4> {
    let [batch, heads, positions, width] = t.dims();
    Tensor::empty([batch, heads, positions, width], &t.device())
        .slice_assign([0..batch, 0..heads, 0..positions, 0..width], t)
}
