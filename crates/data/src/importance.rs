//! Rows that are set apart from training to learn on which layers matter.

use rand::seq::SliceRandom;
use stratune_protocol::draws;

use crate::{Dataset, Sequence};

impl Dataset {
    /// Moves so many of the rows that train to [`importance`](Self::importance): drawn by the seed, in the files' order. A data
    /// set whose rows are set apart already stays as it is.
    pub fn set_apart(&mut self, count: usize, seed: u64) {
        if !self.importance.is_empty() {
            return;
        }
        let count = count.min(self.train.len());
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        order.shuffle(&mut draws(seed, "importance_rows", [0, 0]));
        let mut chosen = vec![false; self.train.len()];
        order[..count].iter().for_each(|row| chosen[*row] = true);
        let rows = std::mem::take(&mut self.train).into_iter().zip(chosen);
        let (apart, train): (Vec<(Sequence, bool)>, Vec<_>) = rows.partition(|(_, chosen)| *chosen);
        let rows = |marked: Vec<(Sequence, bool)>| marked.into_iter().map(|(row, _)| row).collect();
        (self.train, self.importance) = (rows(train), rows(apart));
        (self.report.train_rows, self.report.importance_rows) = (self.train.len(), self.importance.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: u32) -> Dataset {
        let train = (0..rows)
            .map(|r| Sequence { tokens: vec![r, r], loss_mask: vec![false, true], ..Sequence::default() })
            .collect();
        Dataset { train, ..Dataset::default() }
    }

    #[test]
    fn no_row_is_lost() {
        for (rows, apart) in [(1, 0), (2, 1), (40, 4), (640, 64)] {
            let mut dataset = of(rows);
            dataset.set_apart(apart, 7);
            assert_eq!(dataset.importance.len(), apart, "of {rows}");
            let mut all: Vec<u32> = dataset.train.iter().chain(&dataset.importance).map(|r| r.tokens[0]).collect();
            assert!(dataset.importance.windows(2).all(|pair| pair[0].tokens < pair[1].tokens), "in the files' order");
            all.sort_unstable();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
            if apart > 0 {
                assert_eq!((dataset.report.train_rows, dataset.report.importance_rows), (rows as usize - apart, apart));
            }
        }
    }

    #[test]
    fn the_seed_says_which_and_once_is_enough() {
        let drawn = |seed: u64| {
            let mut dataset = of(100);
            dataset.set_apart(8, seed);
            let once = dataset.clone();
            dataset.set_apart(8, seed + 1);
            assert_eq!(dataset, once);
            dataset.importance
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
