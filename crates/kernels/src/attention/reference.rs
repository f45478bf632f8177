//! Attention and its gradients, in the engine's own operations, some queries at a time: their scores are materialised
//! while they are used, over the keys up to their own, and not kept. No matrix of `seq × keys` is anywhere.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{Slice, TensorData};

/// Causal attention with grouped queries. Shapes are those of [`causal_attention`](crate::causal_attention); `first` is
/// the number of the first key that each query sees, whole, no later than its own, and not falling along a row, `[batch or 1, seq]`; a query that is
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

    /// The same, and what the backward pass is to know beside the operands: `first`, or more.
    fn attention_to_keep(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        (Self::attention_forward(q, k, v, first.clone()), first)
    }

    /// The gradients with respect to q, k and v, from what was kept, the output `y` and its gradient.
    fn attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        backward::<Self>(q, k, v, kept, y, dy)
    }
}

/// Queries whose scores exist at once.
const BLOCK: usize = 256;

/// `from .. to` along one of the dimensions.
fn part<B: Backend>(x: FloatTensor<B>, dim: usize, from: usize, to: usize) -> FloatTensor<B> {
    let shape = x.shape();
    if (from, to) == (0, shape[dim]) {
        return x;
    }
    let slices: Vec<Slice> =
        (0..shape.num_dims()).map(|d| Slice::from(if d == dim { from..to } else { 0..shape[d] })).collect();
    B::float_slice(x, &slices)
}

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
    let own = B::float_reshape(part::<B>(key.clone(), 4, keys - seq, keys), [1, 1, 1, seq, 1].into());
    let first = B::float_reshape(first, [rows, 1, 1, seq, 1].into());
    // Whole numbers, of which one is negative just where the key is outside of first ..= own.
    let inside = B::float_mul(B::float_sub(key.clone(), first), B::float_sub(own, key));
    B::float_mul_scalar(B::float_clamp(inside, (-1.0).into(), 0.0.into()), 1e30.into())
}

/// Some queries, their first keys if they do not see all, and the keys up to the last one's own.
struct Block<B: Backend> {
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    first: Option<FloatTensor<B>>,
}

impl<B: Backend> Block<B> {
    /// Queries `from .. to`.
    fn new(q: &FloatTensor<B>, k: &FloatTensor<B>, v: &FloatTensor<B>, first: &FloatTensor<B>, at: [usize; 2]) -> Self {
        let [from, to] = at;
        let (seq, keys) = (q.shape()[2], k.shape()[2]);
        let upto = keys - seq + to;
        Self {
            q: grouped::<B>(part::<B>(q.clone(), 2, from, to), k),
            k: part::<B>(k.clone(), 2, 0, upto),
            v: part::<B>(v.clone(), 2, 0, upto),
            first: (seq > 1).then(|| part::<B>(first.clone(), 1, from, to)),
        }
    }

    /// What each query takes of each value.
    fn shares(&self) -> FloatTensor<B> {
        let (shape, keys) = (self.q.shape(), self.k.shape()[2]);
        let scaled = B::float_mul_scalar(self.q.clone(), scale(shape[3]).into());
        let scores = B::float_matmul(scaled, B::float_swap_dims(self.k.clone(), 2, 3));
        let Some(first) = &self.first else { return B::softmax(scores, 3) };
        // The heads of a group see the same keys.
        let seq = first.shape()[1];
        let apart = B::float_reshape(scores, [shape[0], shape[1], shape[2] / seq, seq, keys].into());
        let seen = B::float_add(apart, hidden::<B>(first.clone(), keys));
        B::softmax(B::float_reshape(seen, [shape[0], shape[1], shape[2], keys].into()), 3)
    }
}

/// Bounds of the blocks of `seq` queries.
fn blocks(seq: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..seq.max(1)).step_by(BLOCK).map(move |from| [from, (from + BLOCK).min(seq)])
}

/// `softmax(q kᵀ / sqrt(head_dim)) v`, over the keys that each query sees.
pub fn forward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    first: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = q.shape();
    let parts = blocks(shape[2]).map(|at| {
        let block = Block::<B>::new(&q, &k, &v, &first, at);
        let y = B::float_matmul(block.shares(), block.v);
        B::float_reshape(y, [shape[0], shape[1], at[1] - at[0], shape[3]].into())
    });
    joined::<B>(parts.collect())
}

/// Along the queries.
fn joined<B: Backend>(mut parts: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    if parts.len() == 1 { parts.remove(0) } else { B::float_cat(parts, 2) }
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
    let mut dq = Vec::new();
    let mut sums: Option<[FloatTensor<B>; 2]> = None;
    // From the last block, whose keys are all.
    for at in blocks(shape[2]).collect::<Vec<_>>().into_iter().rev() {
        let block = Block::<B>::new(&q, &k, &v, &first, at);
        let rows = |t: &FloatTensor<B>| grouped::<B>(part::<B>(t.clone(), 2, at[0], at[1]), &k);
        let (y, dy) = (rows(&y), rows(&dy));
        let p = block.shares();
        let dv = B::float_matmul(B::float_swap_dims(p.clone(), 2, 3), dy.clone());
        let dp = B::float_matmul(dy.clone(), B::float_swap_dims(block.v, 2, 3));
        let sum = B::float_sum_dim(B::float_mul(dy, y), 3);
        let ds = B::float_mul_scalar(B::float_mul(p, B::float_sub(dp, sum)), scale(shape[3]).into());
        let of_block = B::float_matmul(ds.clone(), block.k);
        dq.push(B::float_reshape(of_block, [shape[0], shape[1], at[1] - at[0], shape[3]].into()));
        let dk = B::float_matmul(B::float_swap_dims(ds, 2, 3), block.q);
        sums = Some(match sums {
            None => [dk, dv],
            Some([of_k, of_v]) => [added::<B>(of_k, dk), added::<B>(of_v, dv)],
        });
    }
    dq.reverse();
    let zeros = |t: &FloatTensor<B>| B::float_zeros(t.shape(), &t.device(), t.dtype().into());
    let [dk, dv] = sums.unwrap_or_else(|| [zeros(&k), zeros(&v)]);
    (joined::<B>(dq), dk, dv)
}

/// `part` added to the first positions of `sum`.
fn added<B: Backend>(sum: FloatTensor<B>, of_first: FloatTensor<B>) -> FloatTensor<B> {
    let (upto, keys) = (of_first.shape()[2], sum.shape()[2]);
    if upto == keys {
        return B::float_add(sum, of_first);
    }
    let begin = B::float_add(part::<B>(sum.clone(), 2, 0, upto), of_first);
    B::float_cat(vec![begin, part::<B>(sum, 2, upto, keys)], 2)
}
