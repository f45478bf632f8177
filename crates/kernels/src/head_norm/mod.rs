//! Norms of queries and keys, head by head, with the rotary embedding that follows: a part of
//! [`self_attention`](crate::self_attention).

#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::tensor::Tensor;

pub(crate) use reference::HeadNormOps;

/// Root-mean-square norms of each head of queries and of keys, before they are rotated; their weights are frozen.
#[derive(Clone, Debug)]
pub struct HeadNorms {
    /// Weight for queries, `[head_dim]`.
    pub q: Tensor<1>,
    /// Weight for keys, `[head_dim]`.
    pub k: Tensor<1>,
    /// What is added to weights: 1 where gains are 1 + weight, else 0.
    pub offset: f32,
    /// Added to the mean square.
    pub eps: f64,
}

/// What norms are to know beside their weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadNorm {
    pub offset: f32,
    pub eps: f64,
}
