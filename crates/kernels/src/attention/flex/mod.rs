//! Attention on the CPU: blocks of queries, whose scores are made by the product library and stay in the cache, and only
//! the keys that a block sees.
//!
//! The backward pass makes the scores again. Heads are worked on apart, so that there is work for all cores; what heads
//! that share keys give to these is added up at the end, in the heads' order.

mod block;

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::reference::{self, AttentionOps};
use super::{Options, Scores};
use crate::cpu::{Matrix, WORTH_A_CORE, add_scaled, dot, each, floats, product, tensor, widest};
use block::{Keys, Operands, Sides};

/// Queries of a block. Every block gives up what its queries do not see of its keys, and reads all of its keys anew; from
/// 32 to 64, what one costs is what the other gains.
const QUERIES: usize = 32;

impl Sides {
    fn of(q: &Shape, k: &Shape) -> Self {
        Self { heads: q[1], groups: q[1] / k[1], seq: q[2], keys: k[2], head_dim: q[3] }
    }
}

fn forward(operands: Operands) -> Vec<f32> {
    let Sides { seq, keys, head_dim, .. } = operands.sides;
    let mut y = vec![0.0; operands.q.len()];
    let blocks = y.chunks_mut((seq * head_dim).max(1)).enumerate().flat_map(|(head, y)| {
        let blocks = y.chunks_mut(QUERIES * head_dim).enumerate();
        blocks.map(move |(i, y)| (head, i * QUERIES..i * QUERIES + y.len() / head_dim, y))
    });
    let make = |(head, rows, y): (usize, Range<usize>, &mut [f32])| {
        widest(
            #[inline(always)]
            || forward_block(&operands, head, rows, y),
        )
    };
    if operands.q.len() * keys < WORTH_A_CORE {
        blocks.for_each(make);
    } else {
        each(blocks.collect(), make);
    }
    y
}

/// The output of some queries of a head.
#[inline(always)]
fn forward_block(operands: &Operands, head: usize, rows: Range<usize>, y: &mut [f32]) {
    let head_dim = operands.sides.head_dim;
    let block = operands.block(head, rows);
    let mut p = vec![0.0; block.size()];
    block.scores(&mut p, None);
    let inverses = block.exponentials(&mut p);
    product(y, head_dim, block.matrix(&p).transposed(), block.v, 1.0, false);
    for (y, inverse) in y.chunks_exact_mut(head_dim).zip(inverses) {
        for y in y {
            *y *= inverse;
        }
    }
}

/// What the gradients are made of.
struct Given<'a> {
    operands: Operands<'a>,
    y: &'a [f32],
    dy: &'a [f32],
}

/// dq, dk and dv.
fn backward(given: &Given) -> [Vec<f32>; 3] {
    let Sides { groups, seq, keys, head_dim, .. } = given.operands.sides;
    let (queries, all_keys) = ((seq * head_dim).max(1), (keys * head_dim).max(1));
    let heads = given.y.len() / queries;
    let mut dq = vec![0.0; heads * queries];
    let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; heads * all_keys]);
    let of_keys = dk.chunks_mut(all_keys).zip(dv.chunks_mut(all_keys));
    each(dq.chunks_mut(queries).zip(of_keys).enumerate().collect(), |(head, (dq, (dk, dv)))| {
        widest(
            #[inline(always)]
            || backward_head(given, head, dq, dk, dv),
        )
    });
    [dq, added_up(dk, groups, all_keys), added_up(dv, groups, all_keys)]
}

/// The gradients of a head's queries, and what it adds to those of its keys.
#[inline(always)]
fn backward_head(Given { operands, y, dy }: &Given, head: usize, dq: &mut [f32], dk: &mut [f32], dv: &mut [f32]) {
    let sides @ Sides { keys, head_dim, .. } = operands.sides;
    let Scores { scale, softcap } = operands.scores;
    let [mut p, mut ds] = [(); 2].map(|()| vec![0.0; keys * QUERIES]);
    let mut slopes = vec![0.0; if softcap.is_some() { keys * QUERIES } else { 0 }];
    for (i, dq) in dq.chunks_mut(QUERIES * head_dim).enumerate() {
        let rows = i * QUERIES..i * QUERIES + dq.len() / head_dim;
        let block = operands.block(head, rows.clone());
        let (p, ds) = (&mut p[..block.size()], &mut ds[..block.size()]);
        let mut slopes = softcap.map(|_| &mut slopes[..block.size()]);
        block.scores(p, slopes.as_deref_mut());
        let inverses = block.exponentials(p);
        // The exponentials stay as they are: what they meet is divided by their sums.
        let mut dy = sides.queries(dy, head, rows.clone()).to_vec();
        let y = sides.queries(y, head, rows);
        let mut sums = [0.0; QUERIES];
        let of_rows = dy.chunks_exact_mut(head_dim).zip(y.chunks_exact(head_dim));
        for ((sum, inverse), (dy, y)) in sums.iter_mut().zip(inverses).zip(of_rows) {
            for dy in &mut *dy {
                *dy *= inverse;
            }
            *sum = dot(y, dy);
        }
        let dy = Matrix::new(&dy, block.q.sides);
        product(ds, block.width, block.v, dy.transposed(), 1.0, false);
        for (ds, p) in ds.chunks_exact_mut(block.width).zip(p.chunks_exact(block.width)) {
            for ((ds, p), sum) in ds.iter_mut().zip(p).zip(&sums) {
                *ds = p * (*ds - sum);
            }
        }
        if let Some(slopes) = slopes {
            ds.iter_mut().zip(slopes).for_each(|(ds, slope)| *ds *= *slope);
        }
        let (p, ds) = (block.matrix(p), block.matrix(ds));
        let [dk, dv] = [&mut *dk, &mut *dv].map(|of| &mut of[block.keys.start * head_dim..block.keys.end * head_dim]);
        product(dq, head_dim, ds.transposed(), block.k, scale, false);
        product(dk, head_dim, ds, block.q, scale, true);
        product(dv, head_dim, p, dy, 1.0, true);
    }
}

/// The sums over heads that share keys of what each adds, `size` numbers to a head.
fn added_up(of_heads: Vec<f32>, groups: usize, size: usize) -> Vec<f32> {
    if groups == 1 {
        return of_heads;
    }
    let mut sums = Vec::with_capacity(of_heads.len() / groups);
    for group in of_heads.chunks_exact(groups * size) {
        let from = sums.len();
        sums.extend_from_slice(&group[..size]);
        group.chunks_exact(size).skip(1).for_each(|head| add_scaled(&mut sums[from..], head, 1.0));
    }
    sums
}

/// Queries, keys, values and first keys as the kernels read them: none if one is not of f32.
fn operands([q, k, v, first]: [&FloatTensor<Flex>; 4], options: Options) -> Option<Operands<'_>> {
    let Options { scores, bidirectional, .. } = options;
    let sides = Sides::of(&q.shape(), &k.shape());
    let [k, v] = [Keys::of(k)?, Keys::of(v)?];
    Some(Operands { q: floats(q)?, k, v, first: floats(first)?, sides, scores, bidirectional })
}

/// Keys or values as the kernels read them: those of a cache that has room for more stay where they are.
fn one_after_another(keys: FloatTensor<Flex>) -> FloatTensor<Flex> {
    if Keys::of(&keys).is_some() { keys } else { keys.to_contiguous() }
}

impl AttentionOps for Flex {
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        options: Options,
    ) -> FloatTensor<Self> {
        let [q, first] = [q, first].map(|t| t.to_contiguous());
        let [k, v] = [k, v].map(one_after_another);
        let Some(operands) = operands([&q, &k, &v, &first], options) else {
            return reference::forward::<Self>(q, k, v, first, options);
        };
        let y = forward(operands);
        tensor(y, q.shape())
    }

    fn attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [q, first, y, dy] = [q, first, y, dy].map(|t| t.to_contiguous());
        let [k, v] = [k, v].map(one_after_another);
        let given = operands([&q, &k, &v, &first], options).zip(floats(&y)).zip(floats(&dy));
        let Some(((operands, of_y), of_dy)) = given else {
            return reference::backward::<Self>(q, k, v, first, y, dy, options);
        };
        let [dq, dk, dv] = backward(&Given { operands, y: of_y, dy: of_dy });
        (tensor(dq, q.shape()), tensor(dk, k.shape()), tensor(dv, v.shape()))
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::Slice;

    use super::*;
    use crate::cpu::{assert_close, assert_close_among, wave};

    /// Texts of these lengths, one after another: the first key of each, as many times as it has queries.
    fn texts(lengths: &[usize]) -> Vec<f32> {
        let starts = lengths.iter().scan(0, |end, length| Some(std::mem::replace(end, *end + length)));
        lengths.iter().zip(starts).flat_map(|(length, start)| std::iter::repeat_n(start as f32, *length)).collect()
    }

    /// Against the reference. Large inputs make scores of hundreds, which f32 rounds by 1e-5, and so are their exponentials.
    #[test]
    fn values_and_gradients_are_the_references() {
        // The first keys of one row, or of each row of the batch.
        let cases: [(_, _, _, &[Vec<f32>], _, _); 13] = [
            (1, 1, 1, &[texts(&[1])], 0, 1),
            (1, 2, 1, &[texts(&[1])], 6, 3),
            (2, 4, 2, &[vec![0.0; 7]], 0, 8),
            (1, 6, 2, &[vec![0.0; 13]], 5, 10),
            (3, 3, 3, &[vec![0.0; 37]], 0, 16),
            (1, 9, 3, &[vec![0.0; 65]], 4, 64),
            (2, 4, 2, &[texts(&[3, 1, 5]), texts(&[1, 1, 7])], 0, 8),
            (3, 6, 2, &[texts(&[37]), texts(&[18, 19]), texts(&[1, 35, 1])], 0, 10),
            // After earlier keys, firsts that are anywhere up to the own key.
            (2, 2, 1, &[vec![0.0, 0.0, 2.0, 5.0], vec![1.0, 3.0, 4.0, 6.0]], 3, 5),
            // Over three of the reference's blocks.
            (1, 2, 1, &[texts(&[200, 1, 312])], 2, 4),
            // One query and two, after many keys.
            (2, 4, 2, &[vec![0.0]], 200, 24),
            (1, 3, 1, &[texts(&[1, 1])], 61, 64),
            // Blocks of whole vectors of queries, one of a few at the end; texts that begin within and with a block.
            (2, 6, 2, &[texts(&[20, 12, 40, 2, 26]), texts(&[64, 36])], 0, 40),
        ];
        for (batch, heads, kv_heads, rows, past, head_dim) in cases {
            let seq = rows[0].len();
            for (most, scores, window, bidirectional) in [
                (0.5, Scores::of(head_dim), None, false),
                (8.0, Scores::of(head_dim), None, false),
                (2.0, Scores { scale: 0.3, softcap: Some(1.5) }, None, false),
                (0.5, Scores { scale: 1.1, softcap: None }, Some(9), false),
                (8.0, Scores { scale: 0.2, softcap: Some(20.0) }, Some(40), false),
                (0.5, Scores::of(head_dim), None, true),
                (8.0, Scores { scale: 0.2, softcap: Some(20.0) }, None, true),
            ] {
                if bidirectional && past > 0 {
                    continue;
                }
                let keys = past + seq;
                let q = wave([batch, heads, seq, head_dim], 0.1, most);
                // Part of a larger memory, as those of a cache.
                let [k, v] = [0.7, 1.9].map(|seed| {
                    let memory = wave([batch, kv_heads, keys + 7, head_dim], seed, most);
                    let all = |side: usize| Slice::from(0..side);
                    Flex::float_slice(memory, &[all(batch), all(kv_heads), Slice::from(2..2 + keys), all(head_dim)])
                });
                let dy = wave([batch, heads, seq, head_dim], 2.3, 1.0);
                let options = Options { scores, window, bidirectional };
                let begins = |t: usize| window.map_or(0.0, |window| (past + t + 1).saturating_sub(window) as f32);
                let firsts: Vec<f32> =
                    rows.concat().into_iter().enumerate().map(|(i, first)| begins(i % seq).max(first)).collect();
                let first = tensor(firsts, [rows.len(), seq].into());
                let name = format!(
                    "{batch} × {heads} over {kv_heads}, {seq} after {past}, {} rows of firsts, {head_dim}, ±{most}, {options:?}",
                    rows.len()
                );

                let y = Flex::attention_forward(q.clone(), k.clone(), v.clone(), first.clone(), options);
                let want = reference::forward::<Flex>(q.clone(), k.clone(), v.clone(), first.clone(), options);
                assert_close(&y, &want, 2e-5, &name);

                let [q, k, v, first] = [&q, &k, &v, &first];
                let of = |f: fn(_, _, _, _, _, _, _) -> _| {
                    f(q.clone(), k.clone(), v.clone(), first.clone(), y.clone(), dy.clone(), options)
                };
                let (dq, dk, dv) = of(Flex::attention_backward);
                let (want_q, want_k, want_v) = of(reference::backward::<Flex>);
                for (got, want, of) in [(dq, want_q, "dq"), (dk, want_k, "dk"), (dv, want_v, "dv")] {
                    // Where one key takes all, p ⊙ (dp − Σ) cancels numbers as large as dp, which then meet k and q.
                    let among = most * most * head_dim as f32 / 10.0;
                    assert_close_among(&got, &want, 5e-5, among.max(1.0), &format!("{of} of {name}"));
                }
            }
        }
    }

    /// Sliding windows cost what they show: a block works on the keys of its queries' windows, and on no others.
    #[test]
    fn a_block_has_the_keys_that_its_queries_see() {
        let (seq, past, window) = (300, 50, 20);
        let sides = Sides { heads: 1, groups: 1, seq, keys: past + seq, head_dim: 4 };
        let [q, k] = [seq, past + seq].map(|rows| vec![0.0; rows * 4]);
        let first: Vec<f32> = (0..seq).map(|t| (past + t + 1 - window) as f32).collect();
        let k = Keys { numbers: &k, between: k.len() };
        let operands = Operands { q: &q, k, v: k, first: &first, sides, scores: Scores::of(4), bidirectional: false };
        for from in (0..seq).step_by(QUERIES) {
            let to = (from + QUERIES).min(seq);
            assert_eq!(operands.block(0, from..to).keys, past + from + 1 - window..past + to);
        }
    }
}
