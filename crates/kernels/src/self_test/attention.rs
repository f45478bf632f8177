//! Is attention right on this device, and what it hands back?

use burn::tensor::{Device, Tensor, TensorData};
use stratune_runtime::read_f32;

use super::host::{compare, dot, gradient_of, two_texts, wave};
use super::{Fault, Sizes};
use crate::{AttentionMask, Scores, attention};

/// Queries that are compared where a row is long.
const FEW: usize = 8;

/// Longest row of which everything is compared.
const SHORT: usize = 40;

/// One row, with its gradient, on the host.
struct OnHost<'a> {
    of: &'a Sizes,
    /// `[seq, heads or kv_heads, head_dim]`, as are the others.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dy: Vec<f32>,
    sees: Sees,
}

/// What queries see, and how.
#[derive(Clone, Copy)]
pub struct Sees {
    /// Where a second text begins.
    pub begins: usize,
    /// Most keys of a query.
    pub window: Option<usize>,
    /// Whether a query sees what is behind it in its text.
    pub bidirectional: bool,
    pub scores: Scores,
}

/// What a query sees: its first key, and the shares of it and those after it that it sees.
type Shares = (usize, Vec<f64>);

impl OnHost<'_> {
    fn head<'a>(&self, all: &'a [f32], heads: usize, t: usize, h: usize) -> &'a [f32] {
        let at = (t * heads + h) * self.of.head_dim;
        &all[at..at + self.of.head_dim]
    }

    fn query(&self, t: usize, h: usize) -> &[f32] {
        self.head(&self.q, self.of.heads, t, h)
    }

    fn back(&self, t: usize, h: usize) -> &[f32] {
        self.head(&self.dy, self.of.heads, t, h)
    }

    /// Key or value of position s for query head h.
    fn shared<'a>(&self, all: &'a [f32], s: usize, h: usize) -> &'a [f32] {
        self.head(all, self.of.kv_heads, s, h * self.of.kv_heads / self.of.heads)
    }

    fn scale(&self) -> f64 {
        f64::from(self.sees.scores.scale)
    }

    /// The score of a key, and what a change of it before it is capped is of the change after.
    fn score(&self, t: usize, s: usize, h: usize) -> (f64, f64) {
        let score = dot(self.query(t, h), self.shared(&self.k, s, h)) * self.scale();
        let Some(softcap) = self.sees.scores.softcap.map(f64::from) else { return (score, 1.0) };
        let bent = (score / softcap).tanh();
        (softcap * bent, 1.0 - bent * bent)
    }

    fn shares(&self, t: usize, h: usize) -> Shares {
        let Sees { begins, window, bidirectional, .. } = self.sees;
        let [text, end] = if t < begins { [0, begins] } else { [begins, self.of.seq] };
        let first = window.map_or(text, |window| text.max((t + 1).saturating_sub(window)));
        let powers: Vec<f64> =
            (first..if bidirectional { end } else { t + 1 }).map(|s| self.score(t, s, h).0.exp()).collect();
        let total: f64 = powers.iter().sum();
        (first, powers.into_iter().map(|power| power / total).collect())
    }

    fn mixed(&self, (first, shares): &Shares, h: usize) -> Vec<f32> {
        let value = |(s, share): (usize, &f64), i: usize| share * f64::from(self.shared(&self.v, first + s, h)[i]);
        (0..self.of.head_dim).map(|i| shares.iter().enumerate().map(|p| value(p, i)).sum::<f64>() as f32).collect()
    }

    /// What the scores of a query, before they are capped, are to change by.
    fn errors(&self, t: usize, h: usize) -> Shares {
        let shares = self.shares(t, h);
        let sum = dot(self.back(t, h), &self.mixed(&shares, h));
        let (first, shares) = shares;
        let error = |(s, share): (usize, f64)| {
            let pull = dot(self.back(t, h), self.shared(&self.v, first + s, h)) - sum;
            share * pull * self.score(t, first + s, h).1
        };
        (first, shares.into_iter().enumerate().map(error).collect())
    }

    fn d_query(&self, t: usize, h: usize) -> Vec<f32> {
        let (first, errors) = self.errors(t, h);
        let pull = |i: usize, (s, error): (usize, &f64)| error * f64::from(self.shared(&self.k, first + s, h)[i]);
        let sum = |i| errors.iter().enumerate().map(|p| pull(i, p)).sum::<f64>() * self.scale();
        (0..self.of.head_dim).map(|i| sum(i) as f32).collect()
    }

    /// The gradients of key and value of position s, from the queries that see it.
    fn d_shared(&self, s: usize, kv_head: usize) -> [Vec<f32>; 2] {
        let mut sums = [0, 1].map(|_| vec![0.0_f64; self.of.head_dim]);
        let group = self.of.heads / self.of.kv_heads;
        let queries = if self.sees.bidirectional { 0..self.of.seq } else { s..self.of.seq };
        for (t, h) in queries.flat_map(|t| (kv_head * group..(kv_head + 1) * group).map(move |h| (t, h))) {
            let ((first, shares), (_, errors)) = (self.shares(t, h), self.errors(t, h));
            if !(first..first + shares.len()).contains(&s) {
                continue;
            }
            let pulls = [(errors[s - first] * self.scale(), self.query(t, h)), (shares[s - first], self.back(t, h))];
            for (sum, (by, row)) in sums.iter_mut().zip(pulls) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += by * f64::from(*x));
            }
        }
        sums.map(|sum| sum.into_iter().map(|x| x as f32).collect())
    }
}

/// One row of one or two texts: its values and the gradients, all of a short row, of a long one those of some queries and
/// of the last keys.
pub async fn attention_is_right(device: &Device, of: &Sizes, sees: Sees) -> Result<(), Fault> {
    let Sizes { heads, kv_heads, head_dim, seq, .. } = *of;
    let Sees { begins, window, scores, bidirectional } = sees;
    let name =
        format!("attention of {seq} × {heads} × {head_dim} from {begins} in {window:?} of {scores:?}, {bidirectional}");
    let numbers = |heads, step| wave(seq * heads * head_dim, step);
    let (q, k) = (numbers(heads, 0.37), numbers(kv_heads, 0.53));
    let (v, dy) = (numbers(kv_heads, 0.71), numbers(heads, 0.83));
    let host = OnHost { of, q, k, v, dy, sees };
    let there = |values: &[f32], heads| {
        let data = TensorData::new(values.to_vec(), [1, seq, heads, head_dim]);
        Tensor::<4>::from_data(data, device).swap_dims(1, 2)
    };
    let q = there(&host.q, heads).autodiff().require_grad();
    let [k, v] = [&host.k, &host.v].map(|t| there(t, kv_heads).autodiff().require_grad());
    let mask = two_texts(seq, begins, device);
    let mask = match window {
        _ if bidirectional => AttentionMask::within_texts(mask.first()),
        Some(window) => mask.sliding_window(window, 0),
        None => mask,
    };
    let y = attention(q.clone(), k.clone(), v.clone(), &mask, scores);
    let mut tape = (y.clone() * there(&host.dy, heads)).sum().backward();
    let [dq, dk, dv] = [gradient_of(&q, &mut tape)?, gradient_of(&k, &mut tape)?, gradient_of(&v, &mut tape)?];
    let mut read = Vec::new();
    for t in [y.inner(), dq, dk, dv] {
        read.push(read_f32(t.swap_dims(1, 2)).await?);
    }
    let queries: Vec<usize> = (0..seq).filter(|t| seq <= SHORT || t % (seq / FEW) == 0 || t + 2 >= seq).collect();
    let keys: Vec<usize> = (0..seq).filter(|s| seq <= SHORT || s + 2 >= seq).collect();
    let got = |read: &[f32], heads: usize, at: &[usize]| -> Vec<f32> {
        at.iter().flat_map(|t| read[t * heads * head_dim..(t + 1) * heads * head_dim].to_vec()).collect()
    };
    let of_queries = |f: &dyn Fn(usize, usize) -> Vec<f32>| -> Vec<f32> {
        queries.iter().flat_map(|t| (0..heads).flat_map(move |h| f(*t, h))).collect()
    };
    let (mut d_keys, mut d_values) = (Vec::new(), Vec::new());
    for (s, h) in keys.iter().flat_map(|s| (0..kv_heads).map(move |h| (*s, h))) {
        let [d_key, d_value] = host.d_shared(s, h);
        d_keys.extend(d_key);
        d_values.extend(d_value);
    }
    compare(&name, &got(&read[0], heads, &queries), &of_queries(&|t, h| host.mixed(&host.shares(t, h), h)))?;
    compare(
        &format!("queries' gradient of {name}"),
        &got(&read[1], heads, &queries),
        &of_queries(&|t, h| host.d_query(t, h)),
    )?;
    compare(&format!("keys' gradient of {name}"), &got(&read[2], kv_heads, &keys), &d_keys)?;
    compare(&format!("values' gradient of {name}"), &got(&read[3], kv_heads, &keys), &d_values)
}
