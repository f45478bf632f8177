//! Rows for models of two stacks: an encoder reads the prompt, and its decoder writes the answer.

use stratune_protocol::Problem;

use crate::{Sequence, Tokenizer, Turn, plain, template::Segment};

/// What an encoder reads, with the end token behind it.
///
/// # Errors
/// The tokenizer refuses it.
pub(crate) fn source(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Problem> {
    let mut tokens = tokenizer.encode(text.trim_end())?;
    tokens.extend(tokenizer.eos());
    Ok(tokens)
}

/// The same of parts of a conversation.
pub(crate) fn source_of(tokenizer: &Tokenizer, segments: &[Segment]) -> Result<Vec<u32>, Problem> {
    source(tokenizer, &segments.iter().map(|segment| segment.text.as_str()).collect::<String>())
}

/// A sequence for each answer that is learned: the encoder reads all before it, and the decoder, which begins with `start`,
/// writes the answer and the end token.
///
/// # Errors
/// The tokenizer refuses it.
pub(crate) fn sequences(tokenizer: &Tokenizer, start: u32, turns: &[Turn]) -> Result<Vec<Sequence>, Problem> {
    let mut sequences = Vec::new();
    let mut before = String::new();
    for segment in plain::segments(turns) {
        // An answer, and not what comes before one.
        if segment.then_eos && segment.is_label {
            let mut sequence = Sequence { source: source(tokenizer, &before)?, ..Sequence::default() };
            sequence.extend([start], false);
            sequence.extend(tokenizer.encode(segment.text.trim_start())?, true);
            sequence.extend(tokenizer.eos(), true);
            sequences.push(sequence);
        }
        before += &segment.text;
    }
    Ok(sequences)
}

/// A context that is read, and what may be written of it, of which every token is a label. A context that is longer than
/// `max_length` loses its beginning.
///
/// # Errors
/// The tokenizer refuses it, or the continuation has no token or too many.
pub(crate) fn continuation(
    tokenizer: &Tokenizer,
    start: u32,
    (context, continuation): (&str, &str),
    max_length: usize,
) -> Result<Sequence, Problem> {
    let mut source = source(tokenizer, context)?;
    source.drain(..source.len().saturating_sub(max_length));
    let written = tokenizer.encode(continuation.trim_start())?;
    if written.is_empty() || written.len() >= max_length {
        return Err(Problem::input(format!("a continuation has {} tokens, and {max_length} fit", written.len()))
            .next("give a continuation, and a max_length that it fits"));
    }
    let mut sequence = Sequence { source, ..Sequence::default() };
    sequence.extend([start], false);
    sequence.extend(written, true);
    Ok(sequence)
}

/// That a text alone has nothing that could be read.
pub(crate) fn nothing_to_read() -> Problem {
    Problem::input("it is a text alone, and the model reads one text and writes another")
        .next("give prompts with completions, or use a model that continues texts")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::fixture;
    use crate::{Conversation, Role, Row, Template};

    fn turn(role: Role, text: &str) -> Turn {
        Turn::new(role, text)
    }

    #[test]
    fn the_prompt_is_read_and_the_answer_is_written() {
        let tokenizer = fixture(&[]).with_decoder_start(Some(5));
        let (template, end) = (Template::of(&tokenizer).unwrap(), tokenizer.eos().unwrap());
        let of = |text: &str| tokenizer.encode(text).unwrap();
        let row = Row::Turns(vec![turn(Role::User, "hi you"), turn(Role::Assistant, "ho")].into());
        let [sequence] = <[Sequence; 1]>::try_from(template.encode(&tokenizer, &row).unwrap()).unwrap();
        assert_eq!(sequence.source, [of("hi you"), vec![end]].concat());
        assert_eq!(sequence.tokens, [vec![5], of("ho"), vec![end]].concat());
        assert!(sequence.loss_mask[1..].iter().all(|label| *label) && !sequence.loss_mask[0]);
        assert_eq!(template.prompt(&tokenizer, "hi you").unwrap(), sequence.source);
        assert_eq!(template.as_it_stands(&tokenizer, "hi you").unwrap(), sequence.source);

        // Each answer of a conversation, and what was said before it.
        let talk = [(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "c"), (Role::Assistant, "d")];
        let turns: Vec<Turn> = talk.map(|(role, text)| turn(role, text)).into();
        let rows = template.encode(&tokenizer, &Row::Turns(turns[..].to_vec().into())).unwrap();
        let asked = template.ask(&tokenizer, &Conversation { turns: turns[..3].to_vec(), tools: Vec::new() }).unwrap();
        assert_eq!((rows.len(), &rows[1].source), (2, &asked));
        assert_eq!(rows[0].tokens, [vec![5], of("b"), vec![end]].concat());
        let problem = template.encode(&tokenizer, &Row::Text("a text".into())).unwrap_err();
        assert!(problem.what.contains("text alone") && !problem.next.is_empty(), "{problem:?}");
    }

    /// What is read keeps its end, what is written its beginning.
    #[test]
    fn a_cut_keeps_the_end_token_of_what_is_read() {
        let mut sequence = Sequence { source: vec![7, 8, 9, 1], ..Sequence::default() };
        sequence.extend([0], false);
        sequence.extend([4, 1], true);
        assert!(!sequence.clone().cut(4));
        assert!(sequence.cut(3));
        assert_eq!((&sequence.source[..], &sequence.tokens[..]), (&[7, 8, 1][..], &[0, 4, 1][..]));
    }
}
