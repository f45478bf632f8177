//! How rows become text and masked tokens.

use stratune_protocol::Problem;

use crate::{Role, Row, Sequence, Tokenizer, Turn, chat::Chat, plain};

/// A part of a row's text, learned or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) text: String,
    pub(crate) learned: bool,
    /// Whether the end token follows.
    pub(crate) then_eos: bool,
}

impl Segment {
    /// Text that an answer depends on.
    pub(crate) fn context(text: String) -> Self {
        Self { text, learned: false, then_eos: false }
    }

    /// Text that is learned, and whether the end token follows.
    pub(crate) fn answer(text: String, then_eos: bool) -> Self {
        Self { text, learned: true, then_eos }
    }
}

/// How rows become text: the chat template beside the tokenizer, or a plain form if there is none.
#[derive(Debug)]
pub struct Template {
    chat: Option<Chat>,
}

impl Template {
    /// The template of this tokenizer.
    ///
    /// # Errors
    /// Its chat template cannot be compiled.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, Problem> {
        let (bos, eos) = tokenizer.written();
        let compile = |source| Chat::compile(source, bos, eos);
        Ok(Self { chat: tokenizer.chat_template().map(compile).transpose()? })
    }

    /// A lone prompt as rows have it, ready to be continued.
    ///
    /// # Errors
    /// The chat template refuses it, or the tokenizer does.
    pub fn prompt(&self, tokenizer: &Tokenizer, instruction: &str) -> Result<Vec<u32>, Problem> {
        let text = match &self.chat {
            Some(chat) => chat.prompt(instruction)?,
            None => plain::prompt(instruction),
        };
        Ok(self.tokens(tokenizer, &[Segment::context(text)])?.tokens)
    }

    /// The row's tokens, and which of them are learned. The parts are tokenised apart, so the mask is exact.
    ///
    /// # Errors
    /// The chat template refuses the row, or the tokenizer does.
    pub fn encode(&self, tokenizer: &Tokenizer, row: &Row) -> Result<Sequence, Problem> {
        match (row, &self.chat) {
            (Row::Text(text), _) => {
                let mut sequence = Sequence::default();
                sequence.extend(tokenizer.bos(), false);
                sequence.extend(tokenizer.encode(text)?, true);
                sequence.extend(tokenizer.eos(), true);
                Ok(sequence)
            }
            (Row::Turns(turns), Some(chat)) => self.tokens(tokenizer, &chat.segments(answered(turns))?),
            (Row::Turns(turns), None) => self.tokens(tokenizer, &plain::segments(answered(turns))),
        }
    }

    fn tokens(&self, tokenizer: &Tokenizer, segments: &[Segment]) -> Result<Sequence, Problem> {
        let mut sequence = Sequence::default();
        // A chat template writes the first token itself.
        if self.chat.is_none() {
            sequence.extend(tokenizer.bos(), false);
        }
        for (s, segment) in segments.iter().enumerate() {
            let tokens = if s == 0 { tokenizer.encode(&segment.text) } else { tokenizer.encode_after(&segment.text) };
            sequence.extend(tokens?, segment.learned);
            if segment.then_eos {
                sequence.extend(tokenizer.eos(), true);
            }
        }
        Ok(sequence)
    }
}

/// The turns up to the last answer: nothing after it can be learned.
fn answered(turns: &[Turn]) -> &[Turn] {
    let end = turns.iter().rposition(|turn| turn.role == Role::Assistant).map_or(0, |last| last + 1);
    &turns[..end]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::tokenizer::tests::{fixture, fixture_with_bos};

    const CHAT: &str = "{% for m in messages %}{{ m.role }}> {{ m.content }}{{ eos_token }}\n{% endfor %}\
        {% if add_generation_prompt %}assistant> {% endif %}";

    /// The row as text, learned stretches in brackets.
    fn shown(tokenizer: &Tokenizer, sequence: &Sequence) -> String {
        let mut text = String::new();
        let mut inside = false;
        for (&token, &learned) in sequence.tokens.iter().zip(&sequence.learned) {
            if learned != inside {
                text.push(if learned { '[' } else { ']' });
                inside = learned;
            }
            text += &tokenizer.token_text(token);
        }
        if inside { text + "]" } else { text }
    }

    #[test]
    fn rows_are_masked_exactly() {
        let long = Row::Turns(vec![
            Turn::new(Role::User, "a"),
            Turn::new(Role::Assistant, "b"),
            Turn::new(Role::User, "c"),
            Turn::new(Role::Assistant, "d"),
            Turn::new(Role::User, "not answered"),
        ]);
        let end = "<|endoftext|>";
        let (plain, bos, chat) = (fixture(&[]), fixture_with_bos(), fixture(&[("chat_template", Value::from(CHAT))]));
        let cases = [
            (&plain, Row::pair("Say ho", "", "ho"), format!("Say ho\n[ho{end}]")),
            (&plain, long.clone(), format!("User: a\nAssistant:[ b{end}]\nUser: c\nAssistant:[ d{end}]")),
            (&plain, Row::Text("abc".into()), format!("a[bc{end}]")),
            (&bos, Row::pair("Say ho", "", "ho"), format!("{end}Say ho\n[ho{end}]")),
            (&bos, Row::Text("abc".into()), format!("{end}[abc{end}]")),
            (&chat, Row::pair("Say ho", "", "ho"), format!("user> Say ho{end}\nassistant> [ho{end}\n]")),
            (&chat, long, format!("user> a{end}\nassistant> [b{end}\n]user> c{end}\nassistant> [d{end}\n]")),
        ];
        for (tokenizer, row, text) in cases {
            let sequence = Template::of(tokenizer).unwrap().encode(tokenizer, &row).unwrap();
            assert_eq!(shown(tokenizer, &sequence), text);
        }
    }

    #[test]
    fn a_prompt_is_exactly_what_its_row_begins_with() {
        for tokenizer in [fixture(&[]), fixture_with_bos(), fixture(&[("chat_template", Value::from(CHAT))])] {
            let template = Template::of(&tokenizer).unwrap();
            let row = template.encode(&tokenizer, &Row::pair("Where is it?", "", "Here.")).unwrap();
            let prompt = template.prompt(&tokenizer, "Where is it?").unwrap();
            assert!(row.tokens.starts_with(&prompt));
            assert_eq!(row.learned.iter().position(|&learned| learned), Some(prompt.len()));
        }
    }
}
