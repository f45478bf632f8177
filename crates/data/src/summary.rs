//! What the data is, counted before anything trains on it.

use stratune_protocol::{PreviewRow, PreviewToken};

use crate::{LabelKind, Sequence, Tokenizer, batch::padded};

/// Bins of equal width in the histogram; beyond them each bin is twice as wide as all before.
const EQUAL_BINS: usize = 16;

/// How many rows are previewed, and how many tokens of each.
const PREVIEW_ROWS: usize = 5;
const PREVIEW_TOKENS: usize = 400;

/// Rows by length: (upper bound in tokens, rows), up to the longest.
pub(crate) fn histogram(rows: &[Sequence]) -> Vec<(usize, usize)> {
    let longest = rows.iter().map(Sequence::width).max().unwrap_or(0);
    let step = padded(1);
    let mut bins = Vec::new();
    let mut bound = 0;
    while bound < longest {
        bound = if bins.len() < EQUAL_BINS { bound + step } else { bound * 2 };
        bins.push((bound, 0));
    }
    for row in rows {
        let bin = bins.partition_point(|&(bound, _)| bound < row.width());
        if let Some((_, count)) = bins.get_mut(bin) {
            *count += 1;
        }
    }
    bins
}

/// The first rows, token by token, with their labels as a whole, and as `raw` has the rows of their numbers.
pub(crate) fn preview(
    rows: &[Sequence],
    raw: impl Fn(usize) -> String,
    labels: Option<&LabelKind>,
    tokenizer: &Tokenizer,
) -> Vec<PreviewRow> {
    let token = |(&token, &is_label): (&u32, &bool)| PreviewToken { text: tokenizer.token_text(token), is_label };
    let row = |(r, row): (usize, &Sequence)| PreviewRow {
        // What an encoder reads comes first.
        tokens: (row.source.iter().map(|read| (read, &false)).chain(row.tokens.iter().zip(&row.loss_mask)))
            .take(PREVIEW_TOKENS)
            .map(token)
            .collect(),
        raw: raw(r),
        label: labels.zip(row.label).map(|(kind, label)| kind.shown(label.target)).unwrap_or_default(),
    };
    rows.iter().take(PREVIEW_ROWS).enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_bins_that_double_beyond_512() {
        let rows = |lengths: &[usize]| -> Vec<Sequence> {
            lengths
                .iter()
                .map(|&n| Sequence { tokens: vec![0; n], loss_mask: vec![false; n], ..Sequence::default() })
                .collect()
        };
        assert_eq!(histogram(&[]), []);
        assert_eq!(histogram(&rows(&[2, 32, 33, 70])), [(32, 2), (64, 1), (96, 1)]);
        let long = histogram(&rows(&[512, 513, 1024, 1025]));
        assert_eq!(long.len(), 18);
        assert_eq!(long[15..], [(512, 1), (1024, 2), (2048, 1)]);
    }
}
