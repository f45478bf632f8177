//! A row as the model sees it: tokens, and which of them are labels.

/// A row as the model sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Its tokens in order.
    pub tokens: Vec<u32>,
    /// The loss mask: whether each token is a label, predicted from those before it. Never so for the first.
    pub loss_mask: Vec<bool>,
}

impl Sequence {
    /// Appends tokens, all of them labels or none.
    pub(crate) fn extend(&mut self, tokens: impl IntoIterator<Item = u32>, is_label: bool) {
        for token in tokens {
            // The first token has nothing before it to be predicted from.
            self.loss_mask.push(is_label && !self.tokens.is_empty());
            self.tokens.push(token);
        }
    }

    /// Cuts on the right; true if anything was cut.
    pub fn cut(&mut self, limit: usize) -> bool {
        let cut = self.tokens.len() > limit;
        self.tokens.truncate(limit);
        self.loss_mask.truncate(limit);
        cut
    }

    /// How many tokens are labels.
    pub fn label_count(&self) -> usize {
        self.loss_mask.iter().filter(|&&is_label| is_label).count()
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
    }
}
