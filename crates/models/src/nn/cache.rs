//! Keys and values of the positions that generation has passed.

use burn::tensor::{Int, Tensor};

/// Keys and values, `[batch, kv_heads, positions, head_dim]` each.
pub type States = (Tensor<4>, Tensor<4>);

/// One block's keys and values so far: of the rows of a batch, whose texts are of one length; or of each row by itself.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    past: Vec<States>,
}

impl KvCache {
    /// Positions held; of several texts those of the first.
    pub fn len(&self) -> usize {
        self.past.first().map_or(0, |(k, _)| k.dims()[2])
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.past.is_empty()
    }

    /// What it holds: `[batch, kv_heads, positions, head_dim]` each.
    pub fn into_states(self) -> Option<States> {
        self.past.into_iter().next()
    }

    /// Those of several texts of any lengths as one, in which each is a row by itself. Nothing is copied.
    pub fn of_rows(texts: impl IntoIterator<Item = Self>) -> Self {
        Self { past: texts.into_iter().flat_map(|text| text.past).collect() }
    }

    /// The texts that [`of_rows`](Self::of_rows) has put together.
    pub fn into_rows(self) -> impl Iterator<Item = Self> {
        self.past.into_iter().map(|text| Self { past: vec![text] })
    }

    /// Whether each row of the batch is a text by itself.
    pub fn is_by_row(&self) -> bool {
        self.past.len() > 1
    }

    /// Becomes the cache of other rows of its batch, in this order.
    pub fn select(&mut self, rows: &Tensor<1, Int>) {
        let of = |t: &Tensor<4>| t.clone().select(0, rows.clone());
        self.past.iter_mut().for_each(|(k, v)| (*k, *v) = (of(k), of(v)));
    }

    /// Forgets what is after so many positions.
    pub fn truncate(&mut self, positions: usize) {
        if positions == 0 {
            self.past.clear();
        } else if positions < self.len() {
            let first = |t: &Tensor<4>| own(t.clone().narrow(2, 0, positions));
            self.past.iter_mut().for_each(|(k, v)| (*k, *v) = (first(k), first(v)));
        }
    }

    /// Adds the new positions and gives all of them, in memory of their own.
    ///
    /// # Shapes
    /// - `k`, `v`: `[batch, kv_heads, new, head_dim]`
    /// - output: `[batch, kv_heads, past + new, head_dim]` each
    pub fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> States {
        let all = joined(self.past.pop(), k, v);
        self.past = vec![all.clone()];
        all
    }

    /// The same for texts that are rows by themselves: each with its row of what is new.
    ///
    /// # Shapes
    /// - `k`, `v`: `[rows, kv_heads, new, head_dim]`
    /// - output: of each row `[1, kv_heads, past + new, head_dim]`, twice
    pub fn extend_rows(&mut self, k: &Tensor<4>, v: &Tensor<4>) -> Vec<States> {
        let of_row = |(row, past)| {
            let [k, v] = [k, v].map(|t| t.clone().narrow(0, row, 1));
            joined(Some(past), k, v)
        };
        self.past = std::mem::take(&mut self.past).into_iter().enumerate().map(of_row).collect();
        self.past.clone()
    }
}

/// What there was and what is new.
fn joined(past: Option<States>, k: Tensor<4>, v: Tensor<4>) -> States {
    match past {
        None => (own(k), own(v)),
        Some((past_k, past_v)) => (Tensor::cat(vec![past_k, k], 2), Tensor::cat(vec![past_v, v], 2)),
    }
}

/// A copy: the first keys and values may be parts of a memory in which there is more, for as long as they are held.
fn own(t: Tensor<4>) -> Tensor<4> {
    let [batch, heads, positions, width] = t.dims();
    Tensor::empty([batch, heads, positions, width], &t.device())
        .slice_assign([0..batch, 0..heads, 0..positions, 0..width], t)
}
