//! Which rows make which batch.

use std::cell::RefCell;

use rand::seq::SliceRandom;
use stratune_protocol::draws;

use crate::{Sequence, batch::padded};

/// Rows are sorted by length within this many batches: little padding, and still a shuffled epoch.
const WINDOW: usize = 16;

/// Which rows make which batch: a pure function of the rows' lengths, the batch size and the seed. A resumed run needs
/// the number of the next batch and nothing else.
#[derive(Clone, Debug)]
pub struct Plan {
    widths: Vec<usize>,
    batch_size: usize,
    seed: u64,
    /// The epoch last asked for and its batches; only there to save time.
    epoch: RefCell<Option<(u64, Vec<Vec<usize>>)>>,
}

impl Plan {
    /// The plan for these rows, `batch_size` of them at a time (at least one).
    pub fn new(rows: &[Sequence], batch_size: usize, seed: u64) -> Self {
        let widths = rows.iter().map(|row| padded(row.tokens.len())).collect();
        Self { widths, batch_size: batch_size.max(1), seed, epoch: RefCell::new(None) }
    }

    /// Batches in one pass over the rows; the last one drawn may be short.
    pub fn batches_per_epoch(&self) -> usize {
        self.widths.len().div_ceil(self.batch_size)
    }

    /// The rows of batch `k`, counted from the start of the run; none if there are no rows.
    pub fn batch(&self, k: u64) -> Vec<usize> {
        let per_epoch = self.batches_per_epoch() as u64;
        if per_epoch == 0 {
            return Vec::new();
        }
        let (epoch, place) = (k / per_epoch, (k % per_epoch) as usize);
        let mut cached = self.epoch.borrow_mut();
        match cached.as_ref() {
            Some((at, batches)) if *at == epoch => batches[place].clone(),
            _ => {
                let batches = self.order(epoch);
                let rows = batches[place].clone();
                *cached = Some((epoch, batches));
                rows
            }
        }
    }

    /// All batches of an epoch in order.
    fn order(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = draws(self.seed, "order", [epoch, 0]);
        let mut rows: Vec<usize> = (0..self.widths.len()).collect();
        rows.shuffle(&mut rng);
        for window in rows.chunks_mut(WINDOW.saturating_mul(self.batch_size)) {
            window.sort_by_key(|&row| self.widths[row]);
        }
        let mut batches: Vec<_> = rows.chunks(self.batch_size).map(<[usize]>::to_vec).collect();
        batches.shuffle(&mut rng);
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lengths: impl IntoIterator<Item = usize>) -> Vec<Sequence> {
        lengths
            .into_iter()
            .map(|n| Sequence { tokens: vec![1; n], loss_mask: vec![true; n], ..Sequence::default() })
            .collect()
    }

    #[test]
    fn every_epoch_has_each_row_once_in_another_order() {
        let plan = Plan::new(&rows((0..70).map(|n| n * 7 % 100)), 4, 3);
        assert_eq!(plan.batches_per_epoch(), 18);
        let epoch = |e: u64| -> Vec<usize> { (e * 18..(e + 1) * 18).flat_map(|k| plan.batch(k)).collect() };
        let mut seen = epoch(0);
        assert_ne!(seen, epoch(1));
        seen.sort_unstable();
        assert_eq!(seen, (0..70).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_depends_on_its_number_and_the_seed_alone() {
        let rows = rows((0..50).map(|n| n * 3));
        let (plan, other) = (Plan::new(&rows, 3, 1), Plan::new(&rows, 3, 2));
        let forward: Vec<_> = (0..40).map(|k| plan.batch(k)).collect();
        let backward: Vec<_> = (0..40).rev().map(|k| plan.clone().batch(k)).rev().collect();
        assert_eq!(forward, backward);
        assert_ne!(forward, (0..40).map(|k| other.batch(k)).collect::<Vec<_>>());
    }

    #[test]
    fn rows_of_a_width_meet() {
        // 64 rows are one window of batches of 4: two widths in equal parts never share a batch.
        let plan = Plan::new(&rows((0..64).map(|n| if n % 2 == 0 { 10 } else { 50 })), 4, 0);
        for k in 0..16 {
            let batch = plan.batch(k);
            assert!(batch.iter().all(|row| row % 2 == batch[0] % 2), "{batch:?}");
        }
    }

    #[test]
    fn no_rows_give_no_batches() {
        let plan = Plan::new(&[], 4, 0);
        assert_eq!((plan.batches_per_epoch(), plan.batch(7)), (0, Vec::new()));
    }
}
