//! Text that says earlier passages again.
//!
//! Prose seldom repeats itself word for word, so a small model that reads only prose takes very long to learn to copy
//! from its context. Rows in which passages stand twice teach it that early.

use rand::RngExt;
use stratune_protocol::draws;

use crate::Sequence;

/// Shortest and longest passage that is said again, in tokens.
const PASSAGE: std::ops::RangeInclusive<usize> = 4..=48;

/// Passages said again in a row.
const PASSAGES: usize = 3;

/// Overwrites passages of a `share` of the rows with earlier passages of the same row. Rows of which a part is not
/// learned, such as a prompt, stay as they are, and so do rows too short for the shortest passage twice.
pub(crate) fn repeat_passages(rows: &mut [Sequence], share: f32, seed: u64) {
    for (index, row) in rows.iter_mut().enumerate() {
        let mut rng = draws(seed, "repeat", [index as u64, 0]);
        let text = row.learned.iter().skip(1).all(|&learned| learned);
        if rng.random::<f32>() >= share || !text {
            continue;
        }
        for _ in 0..PASSAGES {
            let longest = (*PASSAGE.end()).min(row.tokens.len() / 2);
            if longest < *PASSAGE.start() {
                break;
            }
            let length = rng.random_range(*PASSAGE.start()..=longest);
            let from = rng.random_range(0..=row.tokens.len() - 2 * length);
            let to = rng.random_range(from + length..=row.tokens.len() - length);
            row.tokens.copy_within(from..from + length, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lengths: &[usize]) -> Vec<Sequence> {
        let row = |&n: &usize| Sequence { tokens: (0..n as u32).collect(), learned: vec![true; n] };
        lengths.iter().map(row).collect()
    }

    #[test]
    fn a_share_of_the_rows_says_something_again() {
        let plain = rows(&[100; 400]);
        let mut woven = plain.clone();
        repeat_passages(&mut woven, 0.25, 7);
        let changed = plain.iter().zip(&woven).filter(|(a, b)| a != b).count();
        assert!((70..=130).contains(&changed), "{changed} of 400");
        for row in &woven {
            assert_eq!((row.tokens.len(), row.learned_count()), (100, 100));
            // A token that is not where it was stands further right than its first place, and its neighbour with it.
            for (place, &token) in row.tokens.iter().enumerate() {
                assert!(token as usize <= place);
            }
        }
        let mut again = plain.clone();
        repeat_passages(&mut again, 0.25, 7);
        assert_eq!(again, woven);
    }

    #[test]
    fn a_prompt_stays_as_it_is() {
        let mut prompted = rows(&[40]);
        prompted[0].learned[..9].fill(false);
        let before = prompted.clone();
        repeat_passages(&mut prompted, 1.0, 1);
        assert_eq!(prompted, before);
    }

    #[test]
    fn short_rows_and_a_share_of_nothing_change_nothing() {
        for (lengths, share) in [(&[7, 2, 3][..], 1.0), (&[100, 50][..], 0.0)] {
            let mut woven = rows(lengths);
            repeat_passages(&mut woven, share, 1);
            assert_eq!(woven, rows(lengths));
        }
    }
}
