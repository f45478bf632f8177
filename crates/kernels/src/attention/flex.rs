//! Attention on the CPU: one query's scores at a time, in a row that stays in the cache, and only the keys it sees.
//!
//! Keys and values of a head are turned once so that a row of scores is made of long vectors: `s += q[c] · k[c, ..]`. The
//! backward pass makes the scores again. Heads that share keys are one part, so that nothing is added up across cores.

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::reference::{self, AttentionOps};
use crate::cpu::{Part, add_scaled, dot, exp, floats, in_parts, tensor};

/// The sides of the operands.
#[derive(Clone, Copy)]
struct Sides {
    kv_heads: usize,
    /// Query heads to a key head.
    groups: usize,
    seq: usize,
    keys: usize,
    head_dim: usize,
}

impl Sides {
    fn of(q: &Shape, k: &Shape) -> Self {
        Self { kv_heads: k[1], groups: q[1] / k[1], seq: q[2], keys: k[2], head_dim: q[3] }
    }

    /// Numbers in the queries of one part, and in its keys.
    fn sizes(self) -> (usize, usize) {
        (self.groups * self.seq * self.head_dim, self.keys * self.head_dim)
    }
}

/// `[keys, head_dim]` as `[head_dim, keys]`.
#[inline(always)]
fn turned(x: &[f32], keys: usize, head_dim: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for (j, row) in x.chunks_exact(head_dim).enumerate() {
        for (c, v) in row.iter().enumerate() {
            out[c * keys + j] = *v;
        }
    }
    out
}

/// `out[j] = Σ row[c] · columns[c, j]`.
#[inline(always)]
fn times(row: &[f32], columns: &[f32], keys: usize, out: &mut [f32]) {
    out.fill(0.0);
    let n = out.len();
    let mut c = 0;
    // Four at a time: the row of sums is read and written a quarter as often.
    while c + 4 <= row.len() {
        let [a, b, d, e] = [0, 1, 2, 3].map(|i| &columns[(c + i) * keys..][..n]);
        let [p, q, r, s] = [row[c], row[c + 1], row[c + 2], row[c + 3]];
        for j in 0..n {
            out[j] += p * a[j] + q * b[j] + r * d[j] + s * e[j];
        }
        c += 4;
    }
    while c < row.len() {
        add_scaled(out, &columns[c * keys..][..n], row[c]);
        c += 1;
    }
}

/// Makes scores into shares that add up to one.
#[inline(always)]
fn softmax(scores: &mut [f32]) {
    // The largest, kept in lanes so that it is made of vectors.
    let mut lanes = [f32::MIN; 16];
    let chunks = scores.chunks_exact(16);
    let mut most = chunks.remainder().iter().copied().fold(f32::MIN, f32::max);
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    most = lanes.into_iter().fold(most, f32::max);
    for s in scores.iter_mut() {
        *s = exp(*s - most);
    }
    let mut sums = [0.0_f32; 16];
    let chunks = scores.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (sum, v) in sums.iter_mut().zip(chunk) {
            *sum += v;
        }
    }
    let inverse = (rest + sums.iter().sum::<f32>()).recip();
    scores.iter_mut().for_each(|s| *s *= inverse);
}

struct Forward<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    first: &'a [f32],
    sides: Sides,
}

impl Forward<'_> {
    /// The keys that query `row` of a part sees.
    #[inline(always)]
    fn seen(&self, part: usize, row: usize) -> Range<usize> {
        let Sides { kv_heads, seq, keys, .. } = self.sides;
        let t = row % seq;
        let last = keys - seq + t;
        // One row of firsts is every row's.
        let first = self.first[(part / kv_heads * seq + t) % self.first.len()] as usize;
        first.min(last)..last + 1
    }

    /// q scaled for query `row` of a part.
    #[inline(always)]
    fn query(&self, part: usize, row: usize, into: &mut [f32]) {
        let d = self.sides.head_dim;
        let scale = (d as f32).sqrt().recip();
        let q = &self.q[part * self.sides.sizes().0 + row * d..][..d];
        into.iter_mut().zip(q).for_each(|(to, q)| *to = q * scale);
    }
}

impl Part for Forward<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let Sides { groups, seq, keys, head_dim, .. } = self.sides;
        let of_part = |t: &[f32]| turned(&t[i * self.sides.sizes().1..][..keys * head_dim], keys, head_dim);
        let (k, v) = (of_part(self.k), of_part(self.v));
        let (mut scores, mut query) = (vec![0.0; keys], vec![0.0; head_dim]);
        for row in 0..groups * seq {
            let seen = self.seen(i, row);
            let scores = &mut scores[..seen.len()];
            self.query(i, row, &mut query);
            times(&query, &k[seen.start..], keys, scores);
            softmax(scores);
            for (c, y) in out[row * head_dim..][..head_dim].iter_mut().enumerate() {
                *y = dot(scores, &v[c * keys..][seen.clone()]);
            }
        }
    }
}

struct Gradient<'a> {
    forward: Forward<'a>,
    y: &'a [f32],
    dy: &'a [f32],
}

impl Part for Gradient<'_> {
    /// dq, dk and dv of the part, one behind the other.
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let sides @ Sides { groups, seq, keys, head_dim, .. } = self.forward.sides;
        let (queries, all_keys) = sides.sizes();
        let of_part = |t: &[f32]| turned(&t[i * all_keys..][..all_keys], keys, head_dim);
        let (k, v) = (of_part(self.forward.k), of_part(self.forward.v));
        let scale = (head_dim as f32).sqrt().recip();
        let (dq, dkv) = out.split_at_mut(queries);
        let (mut dk, mut dv) = (vec![0.0; all_keys], vec![0.0; all_keys]);
        let (mut p, mut ds, mut query) = (vec![0.0; keys], vec![0.0; keys], vec![0.0; head_dim]);
        for row in 0..groups * seq {
            let seen = self.forward.seen(i, row);
            let (p, ds) = (&mut p[..seen.len()], &mut ds[..seen.len()]);
            self.forward.query(i, row, &mut query);
            times(&query, &k[seen.start..], keys, p);
            softmax(p);
            let at = i * queries + row * head_dim;
            let (y, dy) = (&self.y[at..][..head_dim], &self.dy[at..][..head_dim]);
            times(dy, &v[seen.start..], keys, ds);
            let sum = dot(y, dy);
            ds.iter_mut().zip(&*p).for_each(|(d, p)| *d = p * (*d - sum));
            for c in 0..head_dim {
                let columns = c * keys + seen.start..c * keys + seen.end;
                dq[row * head_dim + c] = scale * dot(ds, &k[columns.clone()]);
                // The query is scaled already.
                add_scaled(&mut dk[columns.clone()], ds, query[c]);
                add_scaled(&mut dv[columns], p, dy[c]);
            }
        }
        let (to_dk, to_dv) = dkv.split_at_mut(all_keys);
        to_dk.copy_from_slice(&turned(&dk, head_dim, keys));
        to_dv.copy_from_slice(&turned(&dv, head_dim, keys));
    }
}

impl AttentionOps for Flex {
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [q, k, v, first] = [q, k, v, first].map(|t| t.to_contiguous());
        let (Some(of_q), Some(of_k), Some(of_v), Some(firsts)) = (floats(&q), floats(&k), floats(&v), floats(&first))
        else {
            return reference::forward::<Self>(q, k, v, first);
        };
        let sides = Sides::of(&q.shape(), &k.shape());
        let mut y = vec![0.0; of_q.len()];
        in_parts(&mut y, sides.sizes().0, &Forward { q: of_q, k: of_k, v: of_v, first: firsts, sides });
        tensor(y, q.shape())
    }

    fn attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v, first, y, dy] = [q, k, v, first, y, dy].map(|t| t.to_contiguous());
        let (Some(of_q), Some(of_k), Some(of_v), Some(firsts), Some(of_y), Some(of_dy)) =
            (floats(&q), floats(&k), floats(&v), floats(&first), floats(&y), floats(&dy))
        else {
            return reference::backward::<Self>(q, k, v, first, y, dy);
        };
        let sides = Sides::of(&q.shape(), &k.shape());
        let (queries, all_keys) = sides.sizes();
        let part = queries + 2 * all_keys;
        let parts = of_q.len() / queries.max(1);
        let mut made = vec![0.0; parts * part];
        let forward = Forward { q: of_q, k: of_k, v: of_v, first: firsts, sides };
        in_parts(&mut made, part, &Gradient { forward, y: of_y, dy: of_dy });
        let taken = |from: usize, size: usize, shape: Shape| {
            tensor(made.chunks_exact(part).flat_map(|p| &p[from..from + size]).copied().collect(), shape)
        };
        (
            taken(0, queries, q.shape()),
            taken(queries, all_keys, k.shape()),
            taken(queries + all_keys, all_keys, v.shape()),
        )
    }
}

#[cfg(test)]
mod tests {
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
        let cases: [(_, _, _, &[Vec<f32>], _, _); 10] = [
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
        ];
        for (batch, heads, kv_heads, rows, past, head_dim) in cases {
            let seq = rows[0].len();
            for most in [0.5, 8.0] {
                let keys = past + seq;
                let q = wave([batch, heads, seq, head_dim], 0.1, most);
                let [k, v] = [0.7, 1.9].map(|seed| wave([batch, kv_heads, keys, head_dim], seed, most));
                let dy = wave([batch, heads, seq, head_dim], 2.3, 1.0);
                let first = tensor(rows.concat(), [rows.len(), seq].into());
                let name = format!(
                    "{batch} × {heads} over {kv_heads}, {seq} after {past}, {} rows of firsts, {head_dim}, ±{most}",
                    rows.len()
                );

                let y = Flex::attention_forward(q.clone(), k.clone(), v.clone(), first.clone());
                let want = reference::forward::<Flex>(q.clone(), k.clone(), v.clone(), first.clone());
                assert_close(&y, &want, 2e-5, &name);

                let [q, k, v, first] = [&q, &k, &v, &first];
                let of = |f: fn(_, _, _, _, _, _) -> _| {
                    f(q.clone(), k.clone(), v.clone(), first.clone(), y.clone(), dy.clone())
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
}
