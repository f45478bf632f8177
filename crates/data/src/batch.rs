//! Rows side by side: the batch that a step reads.

use crate::Sequence;

/// Widths are multiples of this, so that few different shapes reach the device.
const WIDTH_STEP: usize = 32;

/// Some rows, padded to one width.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// rows × width tokens, row after row, padded on the right with 0.
    pub tokens: Vec<u32>,
    /// How many rows.
    pub rows: usize,
    /// How many tokens a row has, padding included.
    pub width: usize,
    /// Where each learned token is predicted from: index r × width + t − 1 for the token t of row r, ascending.
    pub positions: Vec<u32>,
    /// The learned token at each of these positions.
    pub targets: Vec<u32>,
    /// Tokens, padding left out.
    pub real_tokens: usize,
}

/// The width that a row of `length` tokens is padded to.
pub(crate) fn padded(length: usize) -> usize {
    length.div_ceil(WIDTH_STEP) * WIDTH_STEP
}

/// Puts rows side by side, as wide as the longest rounded up to a multiple of 32.
pub fn collate(rows: &[&Sequence]) -> Batch {
    let width = padded(rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0));
    let mut batch = Batch { tokens: vec![0; rows.len() * width], rows: rows.len(), width, ..Batch::default() };
    for (r, row) in rows.iter().enumerate() {
        let start = r * width;
        batch.tokens[start..start + row.tokens.len()].copy_from_slice(&row.tokens);
        batch.real_tokens += row.tokens.len();
        for (t, (&token, &learned)) in row.tokens.iter().zip(&row.learned).enumerate().skip(1) {
            if learned {
                batch.positions.push((start + t - 1) as u32);
                batch.targets.push(token);
            }
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tokens: &[u32], learned: &[usize]) -> Sequence {
        Sequence { tokens: tokens.to_vec(), learned: (0..tokens.len()).map(|t| learned.contains(&t)).collect() }
    }

    #[test]
    fn positions_point_at_the_token_before_and_padding_is_on_the_right() {
        let batch = collate(&[&row(&[1, 2, 3], &[2]), &row(&[4, 5], &[0, 1])]);
        assert_eq!((batch.rows, batch.width, batch.real_tokens), (2, 32, 5));
        assert_eq!(batch.tokens[..4], [1, 2, 3, 0]);
        assert_eq!(batch.tokens[32..35], [4, 5, 0]);
        assert_eq!(batch.positions, [1, 32]);
        assert_eq!(batch.targets, [3, 5]);
    }

    #[test]
    fn widths_round_up_to_multiples_of_32() {
        for (length, width) in [(0, 0), (1, 32), (32, 32), (33, 64)] {
            assert_eq!(collate(&[&row(&vec![9; length], &[])]).width, width);
        }
        assert_eq!(collate(&[]), Batch::default());
    }
}
