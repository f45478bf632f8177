//! Causal attention with grouped queries.

mod backward;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor};
use stratune_runtime::span;

pub(crate) use reference::AttentionOps;

/// Which keys each query sees: all from a first one to its own.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Number of the first: whole, `[batch or 1, queries]`.
    first: Tensor<2>,
}

impl Sight {
    /// Of `queries` queries that see everything before them.
    pub fn whole(queries: usize, device: &Device) -> Self {
        Self { first: Tensor::zeros([1, queries], device) }
    }

    /// From the number of the first key that each query sees, no later than its own and never falling along a row: 0 for a text from its beginning,
    /// the place where its text begins for a query in a row of several.
    ///
    /// # Shapes
    /// - `first`: `[batch, queries]`, more than one of them
    pub fn since(first: Tensor<2>) -> Self {
        Self { first }
    }

    pub(crate) fn first(&self) -> Tensor<2> {
        self.first.clone()
    }
}

/// `softmax(q kᵀ / sqrt(head_dim)) v`, each query seeing its own position and those before it, as far back as its `sight`.
///
/// # Shapes
/// - `q`: `[batch, heads, seq, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, past + seq, head_dim]`, where `kv_heads` divides `heads`; query head `h` reads key
///   head `h / (heads / kv_heads)`; the last `seq` are the queries' own
/// - `sight`: of `seq` queries
/// - output: `[batch, heads, seq, head_dim]`
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, sight: &Sight) -> Tensor<4> {
    let _span = span("attention, forward");
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    let first = sight.first.clone().into_dispatch();
    Tensor::from_dispatch(<Dispatch as AttentionOps>::attention_forward(q, k, v, first))
}
