//! A text and how it may go on, for judging continuations by their likelihood.

use stratune_protocol::Problem;

use crate::{Sequence, Tokenizer, seq2seq};

/// `context` and what may follow it as one text, of which the tokens of `continuation` are labels. Both are tokenised
/// together, as EleutherAI's evaluation harness does it: spaces at the end of the context go to the continuation, whose
/// tokens are those behind as many as the context has by itself. What is longer than `max_length` loses its beginning. Where
/// an encoder reads the context, each is tokenised by itself, and only the context has the end token, as it is there.
///
/// # Errors
/// The tokenizer has no token for a part of the text, or there is nothing to judge.
pub fn continuation(
    tokenizer: &Tokenizer,
    context: &str,
    continuation: &str,
    max_length: usize,
) -> Result<Sequence, Problem> {
    let whole = tokenizer.encode(&format!("{context}{continuation}"))?;
    if continuation.is_empty() || whole.is_empty() || max_length < 2 {
        return Err(Problem::input("there is nothing whose likelihood could be computed")
            .next("give a continuation, and a max_length of two tokens at least"));
    }
    if let Some(start) = tokenizer.decoder_start() {
        return seq2seq::continuation(tokenizer, start, (context, continuation), max_length);
    }
    let before = tokenizer.encode(context.trim_end())?.len();
    let mut sequence = Sequence::default();
    // Something has to be there from which the first token is predicted.
    sequence.extend(tokenizer.bos().or(tokenizer.eos().filter(|_| before == 0)), false);
    let labels_from = before.min(whole.len() - 1);
    sequence.extend(whole[..labels_from].iter().copied(), false);
    sequence.extend(whole[labels_from..].iter().copied(), true);
    let too_many = sequence.tokens.len().saturating_sub(max_length);
    sequence.tokens.drain(..too_many);
    sequence.loss_mask.drain(..too_many);
    if let Some(first) = sequence.loss_mask.first_mut() {
        *first = false;
    }
    Ok(sequence)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{fixture, fixture_with_bos};

    fn labels(tokenizer: &Tokenizer, sequence: &Sequence) -> String {
        let labels = sequence.tokens.iter().zip(&sequence.loss_mask).filter(|(_, is_label)| **is_label);
        tokenizer.decode(&labels.map(|(token, _)| *token).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_tokens_of_the_continuation_are_labels_with_the_space_before_them() {
        let tokenizer = fixture(&[]);
        for (context, follows) in [("Once upon", " a time"), ("Once upon ", "a time")] {
            let sequence = continuation(&tokenizer, context, follows, 512).unwrap();
            assert_eq!(labels(&tokenizer, &sequence).trim_start(), "a time");
            assert_eq!(tokenizer.decode(&sequence.tokens).unwrap(), "Once upon a time");
            assert_eq!(sequence.tokens, tokenizer.encode("Once upon a time").unwrap());
        }
    }

    #[test]
    fn a_first_token_is_predicted_from_that_of_the_beginning() {
        let with_bos = fixture_with_bos();
        for context in ["", "Once"] {
            let sequence = continuation(&with_bos, context, " a time", 512).unwrap();
            assert_eq!(Some(sequence.tokens[0]), with_bos.bos());
            assert!(!sequence.loss_mask[0] && sequence.label_count() > 0);
        }
        let plain = fixture(&[]);
        let sequence = continuation(&plain, "", "a time", 512).unwrap();
        assert_eq!(sequence.label_count(), plain.encode("a time").unwrap().len());
    }

    #[test]
    fn what_is_too_long_loses_its_beginning() {
        let tokenizer = fixture(&[]);
        let whole = continuation(&tokenizer, "There was a little girl who", " lived", 512).unwrap();
        let cut = continuation(&tokenizer, "There was a little girl who", " lived", 5).unwrap();
        assert_eq!(cut.tokens, whole.tokens[whole.tokens.len() - 5..]);
        assert_eq!(labels(&tokenizer, &cut), labels(&tokenizer, &whole));
        assert!(continuation(&tokenizer, "There", "", 512).is_err());
    }
}
