//! Attention and its gradients, in the engine's own operations: the scores are materialised while they are used, one
//! matrix of `seq × keys` a head, and not kept.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};

/// Causal attention with grouped queries. Shapes are those of [`causal_attention`](crate::causal_attention); `mask` is 0
/// where a query may look and −∞ where it may not, `[1, 1, groups · seq, keys]`. A default body is the definition; a
/// device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait AttentionOps: Backend {
    /// `softmax(q kᵀ / sqrt(head_dim) + mask) v`.
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        forward::<Self>(q, k, v, mask)
    }

    /// The gradients with respect to q, k and v, from the output `y` and its gradient.
    fn attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        backward::<Self>(q, k, v, mask, y, dy)
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl AttentionOps for burn_cubecl::CubeBackend {}

/// Query heads that share a key head are stacked as rows, so that keys and values are never repeated.
fn grouped<B: Backend>(q: FloatTensor<B>, k: &FloatTensor<B>) -> FloatTensor<B> {
    let (shape, kv_heads) = (q.shape(), k.shape()[1]);
    B::float_reshape(q, [shape[0], kv_heads, shape[1] / kv_heads * shape[2], shape[3]].into())
}

fn scale(head_dim: usize) -> f32 {
    (head_dim as f32).sqrt().recip()
}

/// What each query takes of each value; of grouped queries.
fn shares<B: Backend>(q: FloatTensor<B>, k: FloatTensor<B>, mask: FloatTensor<B>) -> FloatTensor<B> {
    let head_dim = q.shape()[3];
    let scaled = B::float_mul_scalar(q, scale(head_dim).into());
    let scores = B::float_matmul(scaled, B::float_swap_dims(k, 2, 3));
    B::softmax(B::float_add(scores, mask), 3)
}

/// `softmax(q kᵀ / sqrt(head_dim) + mask) v`.
pub fn forward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    mask: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = q.shape();
    let q = grouped::<B>(q, &k);
    B::float_reshape(B::float_matmul(shares::<B>(q, k, mask), v), shape)
}

/// With p the shares: `dv = pᵀ dy`, `ds = p ⊙ (dy vᵀ − Σ dy ⊙ y)`, `dq = ds k / sqrt(head_dim)`, `dk = dsᵀ q / sqrt(head_dim)`.
pub fn backward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    mask: FloatTensor<B>,
    y: FloatTensor<B>,
    dy: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = q.shape();
    let (q, y, dy) = (grouped::<B>(q, &k), grouped::<B>(y, &k), grouped::<B>(dy, &k));
    let p = shares::<B>(q.clone(), k.clone(), mask);
    let dv = B::float_matmul(B::float_swap_dims(p.clone(), 2, 3), dy.clone());
    let dp = B::float_matmul(dy.clone(), B::float_swap_dims(v, 2, 3));
    let sum = B::float_sum_dim(B::float_mul(dy, y), 3);
    let ds = B::float_mul_scalar(B::float_mul(p, B::float_sub(dp, sum)), scale(shape[3]).into());
    let dq = B::float_reshape(B::float_matmul(ds.clone(), k), shape);
    let dk = B::float_matmul(B::float_swap_dims(ds, 2, 3), q);
    (dq, dk, dv)
}
