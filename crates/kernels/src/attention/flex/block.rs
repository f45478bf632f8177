//! Some queries of a head with the keys that any of them sees, and the exponentials of their scores.
//!
//! Scores are kept transposed, a row to a key, so that every product reads its operands as they lie, and the softmax
//! runs along vectors of queries without adding up within one.

use std::ops::Range;

use burn::tensor::DType;
use burn_flex::FlexTensor;

use crate::attention::Scores;
use crate::cpu::{LANES, Matrix, exp, product, tanh};

/// The sides of the operands.
#[derive(Clone, Copy)]
pub struct Sides {
    pub heads: usize,
    /// Query heads to a key head.
    pub groups: usize,
    pub seq: usize,
    pub keys: usize,
    pub head_dim: usize,
}

impl Sides {
    /// Of a tensor of queries, those in `rows` of a head; heads are counted through the batch.
    pub fn queries(self, of: &[f32], head: usize, rows: Range<usize>) -> &[f32] {
        let before = head * self.seq;
        &of[(before + rows.start) * self.head_dim..(before + rows.end) * self.head_dim]
    }

    /// Of a tensor of keys or values, those in `rows` that a head reads.
    fn keys_of<'a>(self, of: Keys<'a>, head: usize, rows: Range<usize>) -> &'a [f32] {
        let of = &of.numbers[head / self.groups * of.between..];
        &of[rows.start * self.head_dim..rows.end * self.head_dim]
    }
}

/// Keys or values, those of a key head one after another.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    pub numbers: &'a [f32],
    /// Numbers from a head's first to the next head's: more than its keys have where they are part of a larger memory.
    pub between: usize,
}

impl<'a> Keys<'a> {
    /// Those of `[batch, kv_heads, keys, head_dim]`, none if they lie otherwise or are not of f32.
    pub fn of(tensor: &'a FlexTensor) -> Option<Self> {
        let layout = tensor.layout();
        let (Some([batch, heads, _, head_dim]), Some(strides)) =
            (layout.shape().as_slice().as_array().copied(), layout.strides().as_array().copied())
        else {
            return None;
        };
        let [of_batch, of_head, of_key, of_number]: [isize; 4] = strides;
        let between = if heads == 1 { of_batch } else { of_head };
        let one_after_another = (of_key, of_number) == (head_dim as isize, 1)
            && (batch == 1 || heads == 1 || of_batch == heads as isize * of_head);
        let numbers = (one_after_another && tensor.dtype() == DType::F32).then(|| tensor.storage::<f32>())?;
        Some(Self { numbers: numbers.get(layout.start_offset()..)?, between: usize::try_from(between).ok()? })
    }
}

/// What attention is made of.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    pub q: &'a [f32],
    pub k: Keys<'a>,
    pub v: Keys<'a>,
    /// The first key that each query sees, `[batch or 1, seq]`.
    pub first: &'a [f32],
    pub sides: Sides,
    pub scores: Scores,
    /// Whether a query sees all keys whose first key is its own.
    pub bidirectional: bool,
}

impl<'a> Operands<'a> {
    /// Some queries of a head, at least one.
    pub fn block(&self, head: usize, rows: Range<usize>) -> Block<'a> {
        let Sides { heads, seq, keys: all, head_dim, .. } = self.sides;
        // One row of firsts is every row's.
        let first = |t: usize| self.first[(head / heads * seq + t) % self.first.len()] as usize;
        let seen: Vec<[usize; 2]> = rows
            .clone()
            .map(|t| {
                let own = all - seq + t;
                let begin = first(t).min(own);
                let behind = || (t + 1..seq).take_while(|u| first(*u) == begin).count();
                [begin, if self.bidirectional { own + behind() } else { own }]
            })
            .collect();
        let keys = seen[0][0]..seen[seen.len() - 1][1] + 1;
        let width = match rows.len() {
            few @ ..LANES => few.next_power_of_two(),
            many => many.next_multiple_of(LANES),
        };
        Block {
            q: Matrix::new(self.sides.queries(self.q, head, rows.clone()), [rows.len(), head_dim]),
            k: Matrix::new(self.sides.keys_of(self.k, head, keys.clone()), [keys.len(), head_dim]),
            v: Matrix::new(self.sides.keys_of(self.v, head, keys.clone()), [keys.len(), head_dim]),
            seen: seen.into_iter().map(|of| of.map(|key| key as i32 - keys.start as i32)).collect(),
            keys,
            width,
            scores: self.scores,
        }
    }
}

/// Some queries of a head, and the keys from the first that any of them sees to the last.
pub struct Block<'a> {
    pub q: Matrix<'a>,
    pub k: Matrix<'a>,
    pub v: Matrix<'a>,
    pub keys: Range<usize>,
    /// Numbers from a key's scores to the next key's: a number of whole vectors, or one that divides a vector.
    pub width: usize,
    /// The first and the last key that each query sees, counted from the block's first.
    seen: Vec<[i32; 2]>,
    scores: Scores,
}

impl Block<'_> {
    /// Room for scores, in whole vectors.
    pub fn size(&self) -> usize {
        (self.keys.len() * self.width).next_multiple_of(LANES)
    }

    /// Scores, or what was made of them, as a matrix of `[keys, queries]`.
    pub fn matrix<'b>(&self, of: &'b [f32]) -> Matrix<'b> {
        Matrix::strided(of, [self.keys.len(), self.q.sides[0]], self.width)
    }

    /// Makes scores, capped if they are to be; then `slopes` becomes what a change of each score before is of the change after,
    /// and is left as it is otherwise.
    #[inline(always)]
    pub fn scores(&self, out: &mut [f32], slopes: Option<&mut [f32]>) {
        let Scores { scale, softcap } = self.scores;
        product(out, self.width, self.k, self.q.transposed(), scale / softcap.unwrap_or(1.0), false);
        let Some(softcap) = softcap else { return };
        match slopes {
            None => out.iter_mut().for_each(|score| *score = softcap * tanh(*score)),
            Some(slopes) => {
                for (score, slope) in out.iter_mut().zip(slopes) {
                    let bent = tanh(*score);
                    *score = softcap * bent;
                    *slope = 1.0 - bent * bent;
                }
            }
        }
    }

    /// Makes the exponentials of scores, each less the largest of its query, and 0 where a query does not see a key.
    /// Returns what those of each query are to be multiplied by to add up to one; there may be more of these than queries.
    #[inline(always)]
    pub fn exponentials(&self, out: &mut [f32]) -> Vec<f32> {
        // Of few queries, a vector holds the scores of several keys.
        let (keys_together, stride) = (LANES / self.width.min(LANES), self.width.max(LANES));
        let mut inverses = Vec::with_capacity(stride);
        for at in (0..self.width).step_by(LANES) {
            let [first, last] = self.visible_keys(at);
            let seen_by_all = first.into_iter().fold(0, i32::max)..=last.into_iter().fold(i32::MAX, i32::min);
            let mut most = [f32::MIN; LANES];
            for (i, scores) in vectors(out, stride, at).enumerate() {
                let key = (i * keys_together) as i32;
                if !seen_by_all.contains(&key) {
                    for l in 0..LANES {
                        let seen = (first[l] <= key) & (key <= last[l]);
                        scores[l] = if seen { scores[l] } else { f32::MIN };
                    }
                }
                for l in 0..LANES {
                    most[l] = if scores[l] > most[l] { scores[l] } else { most[l] };
                }
            }
            let most = self.of_each_query(most, f32::max);
            let mut sum = [0.0; LANES];
            for scores in vectors(out, stride, at) {
                for l in 0..LANES {
                    let e = exp(scores[l] - most[l]);
                    scores[l] = e;
                    sum[l] += e;
                }
            }
            inverses.extend(self.of_each_query(sum, |a, b| a + b).map(f32::recip));
        }
        inverses
    }

    /// The first and the last key that the query of each lane sees, less the lane's own key, for the vector at a place of a
    /// row. Lanes after the last query are as its own.
    #[inline(always)]
    fn visible_keys(&self, at: usize) -> [[i32; LANES]; 2] {
        let queries = self.width.min(LANES);
        let of_lanes: [[i32; 2]; LANES] = std::array::from_fn(|l| {
            // The number of queries is a power of two: `l % queries` and `l / queries`.
            let (query, key) = (l & (queries - 1), l >> queries.trailing_zeros());
            self.seen[(at + query).min(self.seen.len() - 1)].map(|end| end - key as i32)
        });
        [0, 1].map(|end| of_lanes.map(|of_lane| of_lane[end]))
    }

    /// In every lane, what the lanes of its query come to together: they are as far apart as the block is wide.
    #[inline(always)]
    fn of_each_query(&self, mut lanes: [f32; LANES], together: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
        for apart in [1, 2, 4, 8] {
            if apart >= self.width {
                lanes = std::array::from_fn(|l| together(lanes[l], lanes[l ^ apart]));
            }
        }
        lanes
    }
}

/// The vectors at a place of each row.
#[inline(always)]
fn vectors(rows: &mut [f32], stride: usize, at: usize) -> impl Iterator<Item = &mut [f32; LANES]> {
    rows.as_chunks_mut().0.iter_mut().skip(at / LANES).step_by(stride / LANES)
}
