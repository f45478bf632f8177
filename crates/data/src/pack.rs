//! Which examples of a batch share a row.

use std::cmp::Reverse;

use crate::batch::{WIDTH_STEP, padded};

/// Rows are not made wider than this for examples to share them: attention's scores grow with the width.
const WIDEST: usize = 512;

/// Where the examples of a batch lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The examples of each row, one behind the other.
    pub rows: Vec<Vec<usize>>,
    /// Tokens that a row has room for.
    pub width: usize,
}

impl Layout {
    /// A row for each example of these lengths, as wide as the longest.
    pub fn apart(lengths: &[usize]) -> Self {
        let width = padded(lengths.iter().copied().max().unwrap_or(0));
        Self { rows: (0..lengths.len()).map(|example| vec![example]).collect(), width }
    }

    /// The least room that holds them all; of two that are as small, the one with the narrower rows.
    pub fn packed(lengths: &[usize]) -> Self {
        let apart = Self::apart(lengths);
        let widest = padded(lengths.iter().sum()).min(WIDEST).max(apart.width);
        let wider = (apart.width..=widest).step_by(WIDTH_STEP);
        let packed = wider.map(|width| Self { rows: first_fit(lengths, width), width }).min_by_key(Self::room);
        packed.filter(|packed| packed.room() < apart.room()).unwrap_or(apart)
    }

    /// Tokens that there is room for.
    fn room(&self) -> usize {
        self.rows.len() * self.width
    }
}

/// Puts each example, the longest first, into the first row that has room for it (first-fit decreasing). Rows, and what
/// lies in them, stay in the batch's order.
fn first_fit(lengths: &[usize], width: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|example| Reverse(lengths[*example]));
    let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
    for example in order {
        let length = lengths[example];
        match rows.iter_mut().find(|(taken, _)| taken + length <= width) {
            Some((taken, row)) => {
                *taken += length;
                row.push(example);
            }
            None => rows.push((length, vec![example])),
        }
    }
    let mut rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    rows.iter_mut().for_each(|row| row.sort_unstable());
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Into rows of 64: 60 | 40 20 | 30 30 | 10, for which none of the others has room. Into rows of 70: 60 10 | 40 30 |
    /// 30 20.
    #[test]
    fn first_fit_decreasing_by_hand() {
        let lengths = [30, 10, 60, 20, 30, 40];
        assert_eq!(first_fit(&lengths, 64), [vec![0, 4], vec![1], vec![2], vec![3, 5]]);
        assert_eq!(first_fit(&lengths, 70), [vec![0, 5], vec![1, 2], vec![3, 4]]);
    }

    /// 190 tokens take 4 rows of 64, 3 of 96 (60 30 | 40 30 20 | 10), 2 of 128 or 160, and one of 192.
    #[test]
    fn the_least_room_is_taken() {
        let layout = Layout::packed(&[30, 10, 60, 20, 30, 40]);
        assert_eq!((layout.rows, layout.width), (vec![vec![0, 1, 2, 3, 4, 5]], 192));
        // Of two rows of 64 and one of 128, the narrower.
        assert_eq!(Layout::packed(&[64, 32, 32]), Layout { rows: vec![vec![0], vec![1, 2]], width: 64 });
    }

    #[test]
    fn examples_that_fill_their_rows_stay_apart_and_none_is_too_long() {
        for lengths in [vec![], vec![5], vec![64, 64], vec![600, 590], vec![513]] {
            assert_eq!(Layout::packed(&lengths), Layout::apart(&lengths), "{lengths:?}");
        }
        let layout = Layout::packed(&[600, 300, 300]);
        assert_eq!((layout.rows, layout.width), (vec![vec![0], vec![1, 2]], 608));
    }

    #[test]
    fn every_example_lies_in_one_row_within_its_width_and_no_more_room_is_taken_than_apart() {
        let mut length = 7;
        for count in 0..40 {
            let lengths: Vec<usize> = (0..count)
                .map(|_| {
                    length = (length * 131 + 89) % 701;
                    length
                })
                .collect();
            let layout = Layout::packed(&lengths);
            let mut seen: Vec<usize> = layout.rows.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
            for row in &layout.rows {
                assert!(row.iter().map(|example| lengths[*example]).sum::<usize>() <= layout.width, "{lengths:?}");
            }
            assert!(layout.room() <= Layout::apart(&lengths).room());
        }
    }
}
