//! Attention and its gradients, in burn's own operations, some queries at a time: their scores are materialised
//! while they are used, over the keys up to their own, and not kept. No matrix of `seq × keys` is anywhere.

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{Slice, TensorData};

use crate::activation::bounded_tanh;

use super::{Options, Scores};

/// Attention with grouped queries. Shapes are those of [`attention`](crate::attention()); `first` is
/// the number of the first key that each query sees, whole, no later than its own, and not falling along a row, `[batch or 1, seq]`; a query that is
/// alone sees every key, from 0, or from where its window begins. If it is bidirectional, there are as many keys as queries, and a query
/// sees those whose first key is its own. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait AttentionOps: Backend {
    /// `softmax(scores) v`, over the keys that each query sees.
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        options: Options,
    ) -> FloatTensor<Self> {
        forward::<Self>(q, k, v, first, options)
    }

    /// The same, and what the backward pass is to know beside the operands: `first`, or more.
    fn attention_forward_saving(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        (Self::attention_forward(q, k, v, first.clone(), options), first)
    }

    /// The gradients with respect to q, k and v, from what was saved, the output `y` and its gradient.
    fn attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        saved: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        backward::<Self>(q, k, v, saved, y, dy, options)
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

/// What is added to the scores: 0 where a query sees a key, and so little elsewhere that its share is 0;
/// `[batch or 1, 1, 1, seq, keys]`, of these keys, the last of which is the last query's own. Made where it is used, for it is as
/// large as a head's scores.
fn later_or_before<B: Backend>(first: FloatTensor<B>, keys: &Range<usize>) -> FloatTensor<B> {
    let [rows, seq, count] = [first.shape()[0], first.shape()[1], keys.len()];
    let numbers = TensorData::new(keys.clone().map(|key| key as f32).collect::<Vec<_>>(), [1, 1, 1, 1, count]);
    let key = B::float_from_data(numbers, &first.device());
    let own = B::float_reshape(part::<B>(key.clone(), 4, count - seq, count), [1, 1, 1, seq, 1].into());
    let first = B::float_reshape(first, [rows, 1, 1, seq, 1].into());
    // Whole numbers, of which one is negative just where the key is outside of first ..= own.
    let inside = B::float_mul(B::float_sub(key.clone(), first), B::float_sub(own, key));
    B::float_mul_scalar(B::float_clamp(inside, (-1.0).into(), 0.0.into()), 1e30.into())
}

/// The same where a query sees the keys whose first key is its own: of these queries and these keys.
fn of_other_texts<B: Backend>(queries: FloatTensor<B>, keys: FloatTensor<B>) -> FloatTensor<B> {
    let [rows, seq, count] = [queries.shape()[0], queries.shape()[1], keys.shape()[1]];
    let of_query = B::float_reshape(queries, [rows, 1, 1, seq, 1].into());
    let of_key = B::float_reshape(keys, [rows, 1, 1, 1, count].into());
    // Whole numbers, which differ by 1 or more.
    let apart = B::float_clamp_max(B::float_abs(B::float_sub(of_query, of_key)), 1.0.into());
    B::float_mul_scalar(apart, (-1e30).into())
}

/// Some queries, their first keys if they do not see all, and the keys from the first that their window may show to the last
/// one's own.
struct Block<B: Backend> {
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    first: Option<FloatTensor<B>>,
    /// The first keys of the keys' own queries, where these say what is of one text.
    of_keys: Option<FloatTensor<B>>,
    keys: Range<usize>,
    scores: Scores,
}

impl<B: Backend> Block<B> {
    /// Queries `from .. to`.
    fn new([q, k, v, first]: [&FloatTensor<B>; 4], [from, to]: [usize; 2], options: Options) -> Self {
        let (seq, all) = (q.shape()[2], k.shape()[2]);
        let past = all - seq;
        let keys = match options.bidirectional {
            true => 0..all,
            false => options.window.map_or(0, |window| (past + from + 1).saturating_sub(window))..past + to,
        };
        Self {
            q: grouped::<B>(part::<B>(q.clone(), 2, from, to), k),
            k: part::<B>(k.clone(), 2, keys.start, keys.end),
            v: part::<B>(v.clone(), 2, keys.start, keys.end),
            first: (seq > 1).then(|| part::<B>(first.clone(), 1, from, to)),
            of_keys: (seq > 1 && options.bidirectional).then(|| first.clone()),
            keys,
            scores: options.scores,
        }
    }

    /// The scores, and with a cap c what tanh gave them, `score / c`.
    fn scores(&self) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
        let Scores { scale, softcap } = self.scores;
        let scaled = B::float_mul_scalar(self.q.clone(), (scale / softcap.unwrap_or(1.0)).into());
        let scores = B::float_matmul(scaled, B::float_swap_dims(self.k.clone(), 2, 3));
        let Some(softcap) = softcap else { return (scores, None) };
        let bent = bounded_tanh::<B>(scores);
        (B::float_mul_scalar(bent.clone(), softcap.into()), Some(bent))
    }

    /// What each query takes of each value.
    fn shares(&self, scores: FloatTensor<B>) -> FloatTensor<B> {
        let (shape, keys) = (self.q.shape(), self.keys.len());
        let Some(first) = &self.first else { return B::softmax(scores, 3) };
        // The heads of a group see the same keys.
        let seq = first.shape()[1];
        let apart = B::float_reshape(scores, [shape[0], shape[1], shape[2] / seq, seq, keys].into());
        let hidden = match &self.of_keys {
            Some(of_keys) => of_other_texts::<B>(first.clone(), of_keys.clone()),
            None => later_or_before::<B>(first.clone(), &self.keys),
        };
        let seen = B::float_add(apart, hidden);
        B::softmax(B::float_reshape(seen, [shape[0], shape[1], shape[2], keys].into()), 3)
    }
}

/// Bounds of the blocks of `seq` queries.
fn blocks(seq: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..seq.max(1)).step_by(BLOCK).map(move |from| [from, (from + BLOCK).min(seq)])
}

/// `softmax(scores) v`, over the keys that each query sees.
pub fn forward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    first: FloatTensor<B>,
    options: Options,
) -> FloatTensor<B> {
    let shape = q.shape();
    let parts = blocks(shape[2]).map(|at| {
        let block = Block::<B>::new([&q, &k, &v, &first], at, options);
        let y = B::float_matmul(block.shares(block.scores().0), block.v);
        B::float_reshape(y, [shape[0], shape[1], at[1] - at[0], shape[3]].into())
    });
    joined::<B>(parts.collect())
}

/// Along the queries.
fn joined<B: Backend>(mut parts: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    if parts.len() == 1 { parts.remove(0) } else { B::float_cat(parts, 2) }
}

/// With p the shares: `dv = pᵀ dy`, `ds = p ⊙ (dy vᵀ − Σ dy ⊙ y)`, `dq = scale · ds k`, `dk = scale · dsᵀ q`; where scores were
/// capped, ds is multiplied by `1 − tanh²`.
pub fn backward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    first: FloatTensor<B>,
    y: FloatTensor<B>,
    dy: FloatTensor<B>,
    options: Options,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = q.shape();
    let mut dq = Vec::new();
    let [mut dk, mut dv] = [None, None];
    // From the last block, whose keys are all, unless there is a window.
    for at in blocks(shape[2]).collect::<Vec<_>>().into_iter().rev() {
        let block = Block::<B>::new([&q, &k, &v, &first], at, options);
        let rows = |t: &FloatTensor<B>| grouped::<B>(part::<B>(t.clone(), 2, at[0], at[1]), &k);
        let (y, dy) = (rows(&y), rows(&dy));
        let (scores, bent) = block.scores();
        let p = block.shares(scores);
        let of_v = B::float_matmul(B::float_swap_dims(p.clone(), 2, 3), dy.clone());
        let dp = B::float_matmul(dy.clone(), B::float_swap_dims(block.v, 2, 3));
        let sum = B::float_sum_dim(B::float_mul(dy, y), 3);
        let ds = B::float_mul_scalar(B::float_mul(p, B::float_sub(dp, sum)), options.scores.scale.into());
        let ds = match bent {
            None => ds,
            Some(bent) => B::float_sub(ds.clone(), B::float_mul(ds, B::float_mul(bent.clone(), bent))),
        };
        let of_block = B::float_matmul(ds.clone(), block.k);
        dq.push(B::float_reshape(of_block, [shape[0], shape[1], at[1] - at[0], shape[3]].into()));
        let of_k = B::float_matmul(B::float_swap_dims(ds, 2, 3), block.q);
        dk = Some(added::<B>(dk, of_k, &block.keys, &k));
        dv = Some(added::<B>(dv, of_v, &block.keys, &v));
    }
    dq.reverse();
    (joined::<B>(dq), dk.unwrap_or_else(|| zeros::<B>(&k)), dv.unwrap_or_else(|| zeros::<B>(&v)))
}

fn zeros<B: Backend>(like: &FloatTensor<B>) -> FloatTensor<B> {
    B::float_zeros(like.shape(), &like.device(), like.dtype().into())
}

/// What some keys are given, added to the `sum` of what all are, `like` whom it is.
fn added<B: Backend>(
    sum: Option<FloatTensor<B>>,
    of_keys: FloatTensor<B>,
    keys: &Range<usize>,
    like: &FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = like.shape();
    if *keys == (0..shape[2]) {
        return match sum {
            None => of_keys,
            Some(sum) => B::float_add(sum, of_keys),
        };
    }
    let sum = sum.unwrap_or_else(|| zeros::<B>(like));
    let before = part::<B>(sum.clone(), 2, keys.start, keys.end);
    let place: Vec<Slice> = (0..4).map(|d| Slice::from(if d == 2 { keys.clone() } else { 0..shape[d] })).collect();
    B::float_slice_assign(sum, &place, B::float_add(before, of_keys))
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::cpu::wave;

    /// Sliding windows cost what they show: a block's keys begin with its first query's window.
    #[test]
    fn a_block_has_the_keys_of_its_windows() {
        let (seq, past, window) = (2 * BLOCK + 9, 50, 20);
        let [q, k] = [seq, past + seq].map(|rows| wave([1, 2, rows, 4], 0.1, 1.0));
        let first = wave([1, seq], 0.0, 0.0);
        for (window, begin) in [(None, [0; 3]), (Some(window), [31, 31 + BLOCK, 31 + 2 * BLOCK])] {
            let options = Options { scores: Scores::of(4), window, bidirectional: false };
            for (at, begin) in blocks(seq).zip(begin) {
                let block = Block::<Flex>::new([&q, &k, &k, &first], at, options);
                assert_eq!(block.keys, begin..past + at[1]);
                assert_eq!(block.k.shape()[2], block.keys.len());
                assert_eq!(block.scores().0.shape()[3], block.keys.len());
            }
        }
    }
}
