//! Attention with grouped queries: causal, or within texts.

mod backward;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod launch;
mod masked;
mod reference;
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor, TensorData};
use stratune_runtime::span;

pub use masked::{mask_between_texts, masked_attention};
pub(crate) use reference::AttentionOps;

/// How scores are made of queries and keys: `scale · q kᵀ`, and with a soft cap c, `c · tanh(scale · q kᵀ / c)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// What no score goes beyond, above 0.
    pub softcap: Option<f32>,
}

impl Scores {
    /// The usual ones, of heads of this width: `q kᵀ / sqrt(head_dim)`, without a cap.
    pub fn of(head_dim: usize) -> Self {
        Self { scale: (head_dim as f32).sqrt().recip(), softcap: None }
    }
}

/// What attention is to know beside its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Options {
    pub scores: Scores,
    /// Keys that a query attends to at most, its own among them: what is outside need not be looked at. `first` says
    /// the same.
    pub window: Option<usize>,
    /// Whether a query attends to what is behind it, too: all keys that have the same first one.
    pub bidirectional: bool,
}

/// Attention mask: each query attends to all keys from a first one to its own, or to the last of its text.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    /// Number of the first: whole, `[batch or 1, queries]`.
    first: Tensor<2>,
    /// Most keys from a first one to its query's own, if that is known.
    window: Option<usize>,
    /// Whether a query attends to all keys that have the same first one.
    bidirectional: bool,
}

impl AttentionMask {
    /// Causal: `queries` queries that attend to everything before them.
    pub fn causal(queries: usize, device: &Device) -> Self {
        Self::from_first_keys(Tensor::zeros([1, queries], device))
    }

    /// From the number of the first key that each query sees, no later than its own and never falling along a row: 0 for a text from its beginning,
    /// the position where its text begins for a query in a row of several.
    ///
    /// # Shapes
    /// - `first`: `[batch, queries]`, more than one of them
    pub fn from_first_keys(first: Tensor<2>) -> Self {
        Self { first, window: None, bidirectional: false }
    }

    /// Each query sees all of its text, before it and behind it, and nothing comes before the rows: a text is where `first`
    /// says the same.
    ///
    /// # Shapes
    /// - `first`: `[batch or 1, queries]`, as [`from_first_keys`](Self::from_first_keys) has it
    pub fn within_texts(first: Tensor<2>) -> Self {
        Self { first, window: None, bidirectional: true }
    }

    /// The same in a sliding window: each query sees at most the last `window` keys, its own among them, at least one. `past` keys
    /// come before the first query's own. No time is spent on keys outside of the window.
    pub fn sliding_window(self, window: usize, past: usize) -> Self {
        let [rows, queries] = self.first.dims();
        let window = window.max(1);
        let begins: Vec<f32> = (past + 1..=past + queries).map(|keys| keys.saturating_sub(window) as f32).collect();
        let begins = Tensor::<2>::from_data(TensorData::new(begins, [1, queries]), &self.first.device());
        Self { first: self.first.max_pair(begins.expand([rows, queries])), window: Some(window), bidirectional: false }
    }

    pub(crate) fn first(&self) -> Tensor<2> {
        self.first.clone()
    }

    pub(crate) fn options(&self, scores: Scores) -> Options {
        Options { scores, window: self.window, bidirectional: self.bidirectional }
    }
}

/// `softmax(scores) v`, each query seeing its own position and those before it, as far back as its `mask`, or all of its text.
///
/// # Shapes
/// - `q`: `[batch, heads, seq, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, past + seq, head_dim]`, where `kv_heads` divides `heads`; query head `h` reads key
///   head `h / (heads / kv_heads)`; the last `seq` are the queries' own
/// - `mask`: of `seq` queries
/// - output: `[batch, heads, seq, head_dim]`
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &AttentionMask, scores: Scores) -> Tensor<4> {
    let _span = span("attention, forward");
    // A query that is alone sees all the keys that it is given.
    let keys = k.dims()[2];
    let seen = mask.window.filter(|_| q.dims()[2] == 1).map_or(keys, |window| keys.min(window));
    let [k, v] = [k, v].map(|t| if seen == keys { t } else { t.narrow(2, keys - seen, seen) });
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    let first = if seen == keys { mask.first() } else { mask.first().zeros_like() }.into_dispatch();
    Tensor::from_dispatch(<Dispatch as AttentionOps>::attention_forward(q, k, v, first, mask.options(scores)))
}
