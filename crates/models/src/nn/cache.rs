//! Keys and values of the positions that generation has passed.

use burn::tensor::{Int, Tensor};

/// Keys and values, `[batch, kv_heads, positions, head_dim]` each.
pub type States = (Tensor<4>, Tensor<4>);

/// Positions that a cache grows by at least: growing copies all that is held.
const ROOM: usize = 64;

/// One block's keys and values so far: of the rows of a batch, whose texts are of one length; or of each row by itself.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    past: Vec<Held>,
}

/// Keys and values of some positions, in memory that has room for more: there the next ones are written, so that adding
/// one copies none of those before, where a device writes in place what nobody else holds, as the CPU does.
#[derive(Clone, Debug)]
struct Held {
    /// `[batch, kv_heads, room, head_dim]` each.
    memory: States,
    positions: usize,
}

impl KvCache {
    /// Positions held; of several texts those of the first.
    pub fn len(&self) -> usize {
        self.past.first().map_or(0, |held| held.positions)
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.past.is_empty()
    }

    /// What it holds: `[batch, kv_heads, positions, head_dim]` each.
    pub fn into_states(self) -> Option<States> {
        self.past.first().map(Held::states)
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
        for Held { memory: (k, v), .. } in &mut self.past {
            (*k, *v) = (of(k), of(v));
        }
    }

    /// Forgets what is after so many positions.
    pub fn truncate(&mut self, positions: usize) {
        if positions == 0 {
            self.past.clear();
        }
        self.past.iter_mut().for_each(|held| held.positions = held.positions.min(positions));
    }

    /// Adds the new positions and gives all of them.
    ///
    /// # Shapes
    /// - `k`, `v`: `[batch, kv_heads, new, head_dim]`
    /// - output: `[batch, kv_heads, past + new, head_dim]` each
    pub fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> States {
        let held = Held::extended(self.past.pop(), k, v);
        let all = held.states();
        self.past = vec![held];
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
            Held::extended(Some(past), k, v)
        };
        self.past = std::mem::take(&mut self.past).into_iter().enumerate().map(of_row).collect();
        self.past.iter().map(Held::states).collect()
    }
}

impl Held {
    /// What is held, which nobody may write to as long as anybody reads it.
    fn states(&self) -> States {
        let (k, v) = &self.memory;
        (k.clone().narrow(2, 0, self.positions), v.clone().narrow(2, 0, self.positions))
    }

    /// What there was and what is new.
    fn extended(past: Option<Self>, k: Tensor<4>, v: Tensor<4>) -> Self {
        let [from, new] = [past.as_ref().map_or(0, |past| past.positions), k.dims()[2]];
        let positions = from + new;
        let memory = match past {
            Some(past) if positions <= past.memory.0.dims()[2] => past.memory,
            past => {
                let room = (positions + positions / 2).next_multiple_of(ROOM);
                let larger = |new: &Tensor<4>| {
                    let [batch, heads, _, width] = new.dims();
                    Tensor::empty([batch, heads, room, width], &new.device())
                };
                let memory = (larger(&k), larger(&v));
                match past.as_ref().map(Self::states) {
                    None => memory,
                    Some((k, v)) => (written(memory.0, 0, k), written(memory.1, 0, v)),
                }
            }
        };
        Self { memory: (written(memory.0, from, k), written(memory.1, from, v)), positions }
    }
}

/// Writes positions into a memory.
fn written(memory: Tensor<4>, from: usize, t: Tensor<4>) -> Tensor<4> {
    let [batch, heads, positions, width] = t.dims();
    memory.slice_assign([0..batch, 0..heads, from..from + positions, 0..width], t)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Of one row of one head, a position's key is this number, and its value its negative.
    fn of(positions: std::ops::Range<usize>) -> States {
        let shape = [1, 1, positions.len(), 1];
        let k: Vec<f32> = positions.map(|position| position as f32).collect();
        let k = Tensor::<4>::from_data(TensorData::new(k, shape), &Device::flex());
        (k.clone(), -k)
    }

    fn numbers((k, v): States) -> [Vec<f32>; 2] {
        [k, v].map(|t| t.into_data().try_to_vec::<f32>().unwrap())
    }

    fn extended(cache: &mut KvCache, positions: std::ops::Range<usize>) -> [Vec<f32>; 2] {
        let (k, v) = of(positions);
        numbers(cache.extend(k, v))
    }

    #[test]
    fn positions_are_added_whether_there_is_room_or_not() {
        let mut cache = KvCache::default();
        for (from, to) in [(0, 5), (5, 6), (6, 64), (64, 65), (65, 300), (300, 301)] {
            assert_eq!(extended(&mut cache, from..to), numbers(of(0..to)), "{from}..{to}");
            assert_eq!(cache.len(), to);
        }
    }

    #[test]
    fn a_copy_and_what_was_given_stay_as_they_are() {
        let mut cache = KvCache::default();
        let (k, v) = of(0..3);
        let given = cache.extend(k, v);
        let mut copy = cache.clone();
        assert_eq!(extended(&mut cache, 3..5), numbers(of(0..5)));
        assert_eq!(extended(&mut copy, 9..10)[0], [0.0, 1.0, 2.0, 9.0]);
        assert_eq!(numbers(given), numbers(of(0..3)));
        assert_eq!(numbers(cache.into_states().unwrap()), numbers(of(0..5)));
    }

    #[test]
    fn what_is_forgotten_is_written_over() {
        let mut cache = KvCache::default();
        extended(&mut cache, 0..7);
        cache.truncate(9);
        assert_eq!(cache.len(), 7);
        cache.truncate(2);
        assert_eq!(extended(&mut cache, 5..7)[0], [0.0, 1.0, 5.0, 6.0]);
        cache.truncate(0);
        assert!(cache.is_empty());
        assert_eq!(extended(&mut cache, 4..5)[0], [4.0]);
    }
}
