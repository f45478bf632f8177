//! A row as the model sees it: tokens, and what is learned of them.

use crate::Patches;

/// A row as the model sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequence {
    /// Its tokens in order.
    pub tokens: Vec<u32>,
    /// The loss mask: whether each token is a label, predicted from those before it. Never so for the first. Of a row
    /// with a [label](Self::label) no token is.
    pub loss_mask: Vec<bool>,
    /// Which text of a pair each token is of, 0 or 1, for models that are told; empty where all are of the first.
    pub type_ids: Vec<u32>,
    /// What an encoder reads, for models that have one beside a decoder, whose tokens are the others; else empty.
    pub source: Vec<u32>,
    /// The image that stands in the places of the tokens behind the first, for models that read such.
    pub patches: Option<Patches>,
    /// What the row as a whole is labelled with.
    pub label: Option<Label>,
}

/// The label of a row as a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// The token that the classifier reads: the first for encoders, the last for decoders.
    pub at: usize,
    /// What is to be read there.
    pub target: Target,
}

/// What a classifier is to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A class, by its number.
    Class(u32),
    /// A number.
    Value(f32),
}

impl Sequence {
    /// The row of an image: a token that the classifier reads, and a place for each patch.
    pub fn of_image(patches: Patches) -> Self {
        let places = 1 + patches.count();
        Self { tokens: vec![0; places], loss_mask: vec![false; places], patches: Some(patches), ..Self::default() }
    }

    /// Appends tokens, all of them labels or none.
    pub(crate) fn extend(&mut self, tokens: impl IntoIterator<Item = u32>, is_label: bool) {
        for token in tokens {
            // The first token has nothing before it to be predicted from.
            self.loss_mask.push(is_label && !self.tokens.is_empty());
            self.tokens.push(token);
        }
    }

    /// Cuts on the right, of a source all but its last token, which ends it; true if anything was cut.
    pub fn cut(&mut self, limit: usize) -> bool {
        let cut = self.tokens.len() > limit || self.source.len() > limit;
        if self.source.len() > limit {
            let end = self.source.pop();
            self.source.truncate(limit.saturating_sub(1));
            self.source.extend(end);
        }
        self.tokens.truncate(limit);
        self.loss_mask.truncate(limit);
        self.type_ids.truncate(limit);
        if let Some(label) = &mut self.label {
            label.at = label.at.min(limit.saturating_sub(1));
        }
        cut
    }

    /// Positions that it needs: of its tokens, or of its source.
    pub fn width(&self) -> usize {
        self.tokens.len().max(self.source.len())
    }

    /// How many labels it has: tokens, or itself as a whole.
    pub fn label_count(&self) -> usize {
        self.loss_mask.iter().filter(|&&is_label| is_label).count() + usize::from(self.label.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_never_a_label_and_a_cut_keeps_the_left() {
        let mut sequence = Sequence::default();
        sequence.extend([5, 6], true);
        sequence.extend([7], false);
        sequence.extend([8], true);
        assert_eq!(sequence.loss_mask, [false, true, false, true]);
        assert!(!sequence.cut(4));
        assert!(sequence.cut(3));
        assert_eq!((sequence.tokens.as_slice(), sequence.label_count()), ([5, 6, 7].as_slice(), 1));
        let label = |at| Some(Label { at, target: Target::Class(1) });
        let mut pair = Sequence { type_ids: vec![0, 0, 1], label: label(2), ..sequence };
        assert!(pair.cut(2));
        assert_eq!((pair.type_ids, pair.label), (vec![0, 0], label(1)));
    }
}
