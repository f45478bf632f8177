//! Rows side by side: the batch that a step reads.

use crate::{Patches, Sequence, Target, pack::Layout};

/// Widths are multiples of this, so that few different shapes reach the device.
pub(crate) const WIDTH_STEP: usize = 32;

/// Some examples, in rows padded to one width.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// rows × width tokens, row after row, padded on the right with 0.
    pub tokens: Vec<u32>,
    /// How many rows.
    pub rows: usize,
    /// How many tokens a row has, padding included.
    pub width: usize,
    /// How many tokens the longest example has.
    pub longest: usize,
    /// rows × width: which text of a pair each token is of; empty where all are of the first.
    pub type_ids: Vec<u32>,
    /// The images of the rows, if they are such.
    pub images: Option<PatchRows>,
    /// What an encoder reads of each row, if one does.
    pub sources: Option<SourceRows>,
    /// Where each label is predicted from: index r × width + t − 1 for the token at t in row r, ascending; for the label
    /// of an example as a whole where that is read.
    pub positions: Vec<u32>,
    /// Which example each of these is of.
    pub examples: Vec<u32>,
    /// The label at each of these positions: a token or a class.
    pub targets: Vec<u32>,
    /// The numbers at these positions, where labels are numbers.
    pub values: Vec<f32>,
    /// Tokens, padding left out.
    pub real_tokens: usize,
    /// How the examples lie, if some share a row.
    pub shared: Option<PackedRows>,
}

/// What an encoder reads, beside what its decoder does: a text in each row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRows {
    /// rows × width tokens, row after row, padded on the right with 0.
    pub tokens: Vec<u32>,
    /// Tokens of each row, padding left out.
    pub lengths: Vec<usize>,
}

impl SourceRows {
    /// Of these examples, if they have such; as wide as the longest rounded up to a multiple of 32.
    fn of(examples: &[&Sequence]) -> Option<Self> {
        let lengths: Vec<usize> = examples.iter().map(|example| example.source.len()).collect();
        let width = padded(lengths.iter().copied().max().filter(|longest| *longest > 0)?);
        let mut tokens = vec![0; width * lengths.len()];
        for (row, example) in tokens.chunks_mut(width).zip(examples) {
            row[..example.source.len()].copy_from_slice(&example.source);
        }
        Some(Self { tokens, lengths })
    }
}

/// The images that stand in the places of the tokens behind the first of each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchRows {
    /// rows × patches × numbers of a patch.
    pub values: Vec<f32>,
    /// Numbers of a patch.
    pub numbers: usize,
}

/// What tells the examples of a row from each other. Each token of padding counts as an example of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedRows {
    /// rows × width: the position of each token within its example.
    pub position_ids: Vec<u32>,
    /// rows × width: the position in the row where its example begins.
    pub starts: Vec<u32>,
    /// rows × width: the index that it would have in a batch of one example a row; 0 of padding.
    pub unpacked_index: Vec<u32>,
}

/// The width that a row of `length` tokens is padded to.
pub(crate) fn padded(length: usize) -> usize {
    length.div_ceil(WIDTH_STEP) * WIDTH_STEP
}

/// Puts examples side by side, one a row, as wide as the longest rounded up to a multiple of 32; and beside them what an
/// encoder reads of each.
pub fn collate(examples: &[&Sequence]) -> Batch {
    let batch = laid(examples, &Layout::apart(&lengths(examples)));
    let sources = SourceRows::of(examples);
    let read: usize = sources.iter().flat_map(|sources| &sources.lengths).sum();
    Batch { real_tokens: batch.real_tokens + read, sources, ..batch }
}

/// Puts examples into as little room as they need, several to a row where that saves any.
pub fn pack(examples: &[&Sequence]) -> Batch {
    let lengths = lengths(examples);
    let (layout, apart) = (Layout::packed(&lengths), Layout::apart(&lengths));
    let shared = (layout != apart).then(|| shared_rows(&lengths, &layout, apart.width));
    Batch { shared, ..laid(examples, &layout) }
}

/// Puts images side by side, one a row. All have as many patches, so none is padded; their numbers are made here.
pub fn images(examples: &[&Sequence]) -> Batch {
    let lengths = lengths(examples);
    let width = lengths.iter().copied().max().unwrap_or(0);
    let layout = Layout { width, ..Layout::apart(&lengths) };
    let of_rows = || examples.iter().filter_map(|example| example.patches.as_ref());
    let numbers = of_rows().map(Patches::numbers).max().unwrap_or(0);
    let values = of_rows().flat_map(Patches::normalized).collect();
    Batch { images: Some(PatchRows { values, numbers }), ..laid(examples, &layout) }
}

impl PackedRows {
    /// Takes this token's positions away: those behind it in its text move up, and it has the one before the first, which is
    /// written as the largest number.
    pub fn without_position(&mut self, token: u32, tokens: &[u32]) {
        let mut before = 0;
        for (position, there) in self.position_ids.iter_mut().zip(tokens) {
            if *position == 0 {
                before = 0;
            }
            let taken = *there == token;
            *position = if taken { u32::MAX } else { *position - before };
            before += u32::from(taken);
        }
    }
}

/// Puts examples side by side, several to a row if they are `packed` and that saves any, and says in any case which token
/// is of which: what a model has to know whose tokens see those that come later.
pub fn delimited(examples: &[&Sequence], packed: bool) -> Batch {
    let lengths = lengths(examples);
    let apart = Layout::apart(&lengths);
    let layout = if packed { Layout::packed(&lengths) } else { apart.clone() };
    Batch { shared: Some(shared_rows(&lengths, &layout, apart.width)), ..laid(examples, &layout) }
}

fn lengths(examples: &[&Sequence]) -> Vec<usize> {
    examples.iter().map(|example| example.tokens.len()).collect()
}

/// Where each example begins: row after row.
fn starts(lengths: &[usize], layout: &Layout) -> Vec<(usize, usize)> {
    let mut starts = Vec::with_capacity(lengths.len());
    for (r, row) in layout.rows.iter().enumerate() {
        let mut start = r * layout.width;
        for &example in row {
            starts.push((example, start));
            start += lengths[example];
        }
    }
    starts
}

fn laid(examples: &[&Sequence], layout: &Layout) -> Batch {
    let (rows, width) = (layout.rows.len(), layout.width);
    let longest = lengths(examples).into_iter().max().unwrap_or(0);
    let mut batch = Batch { tokens: vec![0; rows * width], rows, width, longest, ..Batch::default() };
    if examples.iter().any(|example| !example.type_ids.is_empty()) {
        batch.type_ids = vec![0; rows * width];
    }
    for (number, start) in starts(&lengths(examples), layout) {
        let example = examples[number];
        batch.tokens[start..start + example.tokens.len()].copy_from_slice(&example.tokens);
        batch.real_tokens += example.tokens.len();
        if !example.type_ids.is_empty() {
            batch.type_ids[start..start + example.type_ids.len()].copy_from_slice(&example.type_ids);
        }
        for (t, (&token, &is_label)) in example.tokens.iter().zip(&example.loss_mask).enumerate().skip(1) {
            if is_label {
                batch.positions.push((start + t - 1) as u32);
                batch.examples.push(number as u32);
                batch.targets.push(token);
            }
        }
        if let Some(label) = example.label {
            batch.positions.push((start + label.at) as u32);
            batch.examples.push(number as u32);
            match label.target {
                Target::Class(class) => batch.targets.push(class),
                Target::Value(value) => batch.values.push(value),
            }
        }
    }
    batch
}

fn shared_rows(lengths: &[usize], layout: &Layout, width_apart: usize) -> PackedRows {
    let (count, width) = (layout.rows.len() * layout.width, layout.width);
    let mut shared = PackedRows {
        position_ids: vec![0; count],
        starts: (0..count).map(|i| (i % width) as u32).collect(),
        unpacked_index: vec![0; count],
    };
    for (example, start) in starts(lengths, layout) {
        for t in 0..lengths[example] {
            shared.position_ids[start + t] = t as u32;
            shared.starts[start + t] = (start % width) as u32;
            shared.unpacked_index[start + t] = (example * width_apart + t) as u32;
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Label;

    fn row(tokens: &[u32], labels: &[usize]) -> Sequence {
        let loss_mask = (0..tokens.len()).map(|t| labels.contains(&t)).collect();
        Sequence { tokens: tokens.to_vec(), loss_mask, ..Sequence::default() }
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

    /// Three examples, of which two share a row; each token is there once, and padding is alone.
    #[test]
    fn examples_share_rows() {
        let long: Vec<u32> = (100..131).collect();
        let rows = [row(&[1, 2, 3], &[2]), row(&long, &[30]), row(&[4, 5], &[1])];
        let batch = pack(&rows.iter().collect::<Vec<_>>());
        assert_eq!((batch.rows, batch.width, batch.real_tokens), (2, 32, 36));
        assert_eq!(batch.tokens[..6], [1, 2, 3, 4, 5, 0]);
        assert_eq!(batch.tokens[32..63], long);
        assert_eq!((batch.positions, batch.targets), (vec![1, 3, 32 + 29], vec![3, 5, 130]));
        let shared = batch.shared.unwrap_or_default();
        assert_eq!(shared.position_ids[..7], [0, 1, 2, 0, 1, 0, 0]);
        assert_eq!(shared.starts[..7], [0, 0, 0, 3, 3, 5, 6]);
        assert_eq!(shared.unpacked_index[..6], [0, 1, 2, 64, 65, 0]);
        assert_eq!((shared.position_ids[62], shared.starts[62], shared.unpacked_index[62]), (30, 0, 62));
        assert_eq!((shared.position_ids[63], shared.starts[63], shared.unpacked_index[63]), (0, 31, 0));
    }

    /// Labels of examples as a whole are read where they say, wherever the example lies; a pair's second text is known.
    #[test]
    fn examples_have_labels_as_a_whole() {
        let labelled = |length: usize, at: usize, target: Target, type_ids: &[u32]| Sequence {
            tokens: vec![7; length],
            loss_mask: vec![false; length],
            type_ids: type_ids.to_vec(),
            label: Some(Label { at, target }),
            ..Sequence::default()
        };
        let rows = [
            labelled(3, 0, Target::Class(2), &[]),
            labelled(31, 30, Target::Class(1), &[]),
            labelled(4, 0, Target::Class(0), &[0, 0, 1, 1]),
        ];
        let examples: Vec<_> = rows.iter().collect();
        let batch = delimited(&examples, true);
        assert_eq!((batch.rows, batch.width), (2, 32));
        assert_eq!((batch.positions, batch.targets), (vec![0, 3, 32 + 30], vec![2, 0, 1]));
        assert_eq!(batch.examples, [0, 2, 1]);
        assert_eq!(batch.type_ids[..8], [0, 0, 0, 0, 0, 1, 1, 0]);
        assert_eq!(batch.shared, pack(&examples).shared);
        let apart = delimited(&examples, false);
        let shared = apart.shared.clone().unwrap_or_default();
        assert_eq!((apart.rows, &apart.positions[..]), (3, &[0, 32 + 30, 64][..]));
        assert_eq!((&shared.starts[..4], &shared.position_ids[..4]), (&[0, 0, 0, 3][..], &[0, 1, 2, 0][..]));
        let values = collate(&[&labelled(2, 0, Target::Value(0.5), &[])]);
        assert_eq!((values.positions, values.targets, values.values), (vec![0], vec![], vec![0.5]));
    }

    #[test]
    fn what_an_encoder_reads_lies_beside() {
        let of = |source: &[u32], tokens: &[u32]| Sequence { source: source.to_vec(), ..row(tokens, &[1]) };
        let rows = [of(&[7; 33], &[0, 1]), of(&[5, 6], &[0, 8, 1])];
        let batch = collate(&rows.iter().collect::<Vec<_>>());
        let sources = batch.sources.unwrap_or_default();
        assert_eq!((batch.width, batch.real_tokens, sources.lengths), (32, 40, vec![33, 2]));
        assert_eq!((&sources.tokens[32..34], &sources.tokens[64..67]), (&[7, 0][..], &[5, 6, 0][..]));
        assert_eq!(sources.tokens.len(), 128);
    }

    #[test]
    fn a_token_may_take_no_position() {
        let rows = [row(&[9, 1, 8, 7], &[]), row(&[1, 6], &[]), row(&[5; 31], &[])];
        let batch = delimited(&rows.iter().collect::<Vec<_>>(), true);
        let mut shared = batch.shared.unwrap_or_default();
        shared.without_position(1, &batch.tokens);
        assert_eq!(shared.position_ids[..6], [0, u32::MAX, 1, 2, u32::MAX, 0]);
    }

    #[test]
    fn where_nothing_is_saved_packed_is_collated() {
        let rows = [row(&[9; 32], &[3]), row(&[8; 20], &[4])];
        let examples: Vec<_> = rows.iter().collect();
        assert_eq!(pack(&examples), collate(&examples));
        assert_eq!(pack(&[]), Batch::default());
    }
}
