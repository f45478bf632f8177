//! Causal attention with grouped queries.

mod reference;

use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Which keys each query may see, laid out for the grouped scores.
#[derive(Clone, Debug)]
pub struct CausalMask {
    /// True where a query may not look: `[1, 1, groups · queries, keys]`.
    hidden: Option<Tensor<4, Bool>>,
}

impl CausalMask {
    /// `queries` queries that follow `past` earlier positions, `groups` query heads to a key head.
    pub fn new(groups: usize, queries: usize, past: usize, device: &Device) -> Self {
        if queries == 1 {
            return Self { hidden: None };
        }
        let keys = past + queries;
        let hidden: Vec<bool> =
            (0..groups).flat_map(|_| (0..queries).flat_map(move |q| (0..keys).map(move |k| k > past + q))).collect();
        let data = TensorData::new(hidden, [1, 1, groups * queries, keys]);
        Self { hidden: Some(Tensor::from_data(data, device)) }
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
    reference::causal_attention(q, k, v, mask.hidden.clone())
}
