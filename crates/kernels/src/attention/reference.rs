//! Attention and its gradients, in the engine's own operations: the scores are materialised while they are used, one
//! matrix of `seq × keys` a head, and not kept.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{Slice, TensorData};

/// Causal attention with grouped queries. Shapes are those of [`causal_attention`](crate::causal_attention); `first` is
/// the number of the first key that each query sees, whole and no later than its own, `[batch or 1, seq]`; a query that is
/// alone sees every key, from 0. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait AttentionOps: Backend {
    /// `softmax(q kᵀ / sqrt(head_dim)) v`, over the keys that each query sees.
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        forward::<Self>(q, k, v, first)
    }

    /// The gradients with respect to q, k and v, from the output `y` and its gradient.
    fn attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        backward::<Self>(q, k, v, first, y, dy)
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

/// What is added to the scores: 0 where a query sees a key, and so little elsewhere that its share is 0;
/// `[batch or 1, 1, 1, seq, keys]`. Made where it is used, for it is as large as a head's scores.
fn hidden<B: Backend>(first: FloatTensor<B>, keys: usize) -> FloatTensor<B> {
    let [rows, seq] = [first.shape()[0], first.shape()[1]];
    let numbers = TensorData::new((0..keys).map(|key| key as f32).collect::<Vec<_>>(), [1, 1, 1, 1, keys]);
    let key = B::float_from_data(numbers, &first.device());
    let own = B::float_slice(key.clone(), &[0..1, 0..1, 0..1, 0..1, keys - seq..keys].map(Slice::from));
    let own = B::float_reshape(own, [1, 1, 1, seq, 1].into());
    let first = B::float_reshape(first, [rows, 1, 1, seq, 1].into());
    // Whole numbers, of which one is negative just where the key is outside of first ..= own.
    let inside = B::float_mul(B::float_sub(key.clone(), first), B::float_sub(own, key));
    B::float_mul_scalar(B::float_clamp(inside, (-1.0).into(), 0.0.into()), 1e30.into())
}

/// What each query takes of each value; of grouped queries.
fn shares<B: Backend>(q: FloatTensor<B>, k: FloatTensor<B>, first: FloatTensor<B>) -> FloatTensor<B> {
    let (shape, keys, seq) = (q.shape(), k.shape()[2], first.shape()[1]);
    let scaled = B::float_mul_scalar(q, scale(shape[3]).into());
    let scores = B::float_matmul(scaled, B::float_swap_dims(k, 2, 3));
    if seq == 1 {
        return B::softmax(scores, 3);
    }
    // The heads of a group see the same keys.
    let apart = B::float_reshape(scores, [shape[0], shape[1], shape[2] / seq, seq, keys].into());
    let seen = B::float_add(apart, hidden::<B>(first, keys));
    B::softmax(B::float_reshape(seen, [shape[0], shape[1], shape[2], keys].into()), 3)
}

/// `softmax(q kᵀ / sqrt(head_dim)) v`, over the keys that each query sees.
pub fn forward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    first: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = q.shape();
    let q = grouped::<B>(q, &k);
    B::float_reshape(B::float_matmul(shares::<B>(q, k, first), v), shape)
}

/// With p the shares: `dv = pᵀ dy`, `ds = p ⊙ (dy vᵀ − Σ dy ⊙ y)`, `dq = ds k / sqrt(head_dim)`, `dk = dsᵀ q / sqrt(head_dim)`.
pub fn backward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    first: FloatTensor<B>,
    y: FloatTensor<B>,
    dy: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = q.shape();
    let (q, y, dy) = (grouped::<B>(q, &k), grouped::<B>(y, &k), grouped::<B>(dy, &k));
    let p = shares::<B>(q.clone(), k.clone(), first);
    let dv = B::float_matmul(B::float_swap_dims(p.clone(), 2, 3), dy.clone());
    let dp = B::float_matmul(dy.clone(), B::float_swap_dims(v, 2, 3));
    let sum = B::float_sum_dim(B::float_mul(dy, y), 3);
    let ds = B::float_mul_scalar(B::float_mul(p, B::float_sub(dp, sum)), scale(shape[3]).into());
    let dq = B::float_reshape(B::float_matmul(ds.clone(), k), shape);
    let dk = B::float_matmul(B::float_swap_dims(ds, 2, 3), q);
    (dq, dk, dv)
}
