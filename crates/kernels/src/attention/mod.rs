//! Causal attention with grouped queries.

mod backward;
#[cfg(feature = "cpu")]
mod flex;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor, TensorData};
use stratune_runtime::span;

use reference::AttentionOps;

/// Which keys each query may see, laid out for the grouped scores.
#[derive(Clone, Debug)]
pub struct CausalMask {
    /// −∞ where a query may not look, else 0: `[1, 1, groups · queries, keys]`; a single zero for a single query.
    hidden: Tensor<4>,
}

impl CausalMask {
    /// `queries` queries that follow `past` earlier positions, `groups` query heads to a key head.
    pub fn new(groups: usize, queries: usize, past: usize, device: &Device) -> Self {
        if queries == 1 {
            return Self { hidden: Tensor::zeros([1, 1, 1, 1], device) };
        }
        let keys = past + queries;
        let sight = move |q: usize, k: usize| if k > past + q { f32::NEG_INFINITY } else { 0.0 };
        let hidden: Vec<f32> =
            (0..groups).flat_map(|_| (0..queries).flat_map(move |q| (0..keys).map(move |k| sight(q, k)))).collect();
        let data = TensorData::new(hidden, [1, 1, groups * queries, keys]);
        Self { hidden: Tensor::from_data(data, device) }
    }
}

/// `softmax(q kᵀ / sqrt(head_dim)) v`, each query seeing its own position and the earlier ones.
///
/// # Shapes
/// - `q`: `[batch, heads, seq, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, past + seq, head_dim]`, where `kv_heads` divides `heads`; query head `h` reads key
///   head `h / (heads / kv_heads)`
/// - `mask`: made for `heads / kv_heads` groups, `seq` queries and `past`
/// - output: `[batch, heads, seq, head_dim]`
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &CausalMask) -> Tensor<4> {
    let _span = span("attention, forward");
    let [q, k, v, hidden] = [q, k, v, mask.hidden.clone()].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as AttentionOps>::attention_forward(q, k, v, hidden))
}
