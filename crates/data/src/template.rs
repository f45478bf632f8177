//! How rows become text and masked tokens.

use stratune_protocol::Problem;

use crate::{Conversation, Role, Row, Sequence, Tokenizer, Turn, chat::Chat, plain, row::line_feeds, seq2seq};

/// A part of a row's text, in the loss or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) text: String,
    pub(crate) is_label: bool,
    /// Whether the end token follows; it is a label if the text is.
    pub(crate) then_eos: bool,
}

impl Segment {
    /// Text that an answer depends on.
    pub(crate) fn context(text: String) -> Self {
        Self { text, is_label: false, then_eos: false }
    }

    /// An answer, and whether the end token follows.
    pub(crate) fn answer(text: String, is_label: bool, then_eos: bool) -> Self {
        Self { text, is_label, then_eos }
    }
}

/// How rows become text: the chat template beside the tokenizer, or a plain form if there is none.
#[derive(Debug)]
pub struct Template {
    chat: Option<Chat>,
    /// The chat template for conversations with tools, where that is another.
    with_tools: Option<Chat>,
    /// The token with which the chat template ends an answer.
    end: Option<u32>,
}

impl Template {
    /// The template of this tokenizer.
    ///
    /// # Errors
    /// Its chat template cannot be compiled.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, Problem> {
        let compile = |source| Chat::compile(source, tokenizer.special_tokens(), &tokenizer.added_tokens());
        let chat =
            tokenizer.chat_template().filter(|_| tokenizer.decoder_start().is_none()).map(compile).transpose()?;
        let with_tools = tokenizer.tool_template().map(compile).transpose()?;
        let end = chat.as_ref().and_then(|chat| tokenizer.id(chat.end()?));
        Ok(Self { chat, with_tools, end })
    }

    /// Whether an answer is over with this token: one of the model's ends, or the one that the chat template writes.
    pub fn ends(&self, tokenizer: &Tokenizer, token: u32) -> bool {
        tokenizer.ends(token) || self.end == Some(token)
    }

    /// The form of a lone prompt in Go's templates, as Ollama has them, where there is no chat template. A prompt that ends with a
    /// space gets no line break in training, which Go's cannot say.
    pub fn go(&self) -> Option<String> {
        self.chat.is_none().then(|| "{{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}\n".into())
    }

    /// The texts of all tokens that end an answer.
    pub fn all_ends(&self, tokenizer: &Tokenizer) -> Vec<String> {
        let mut ends = tokenizer.all_ends();
        ends.extend(self.end.filter(|end| !ends.contains(end)));
        ends.into_iter().filter_map(|id| tokenizer.written(id)).collect()
    }

    /// The token with which the chat template ends an answer, if it writes one.
    pub(crate) fn end(&self) -> Option<u32> {
        self.end
    }

    /// A lone prompt as rows have it, ready to be continued.
    ///
    /// # Errors
    /// The chat template refuses it, or the tokenizer does.
    pub fn prompt(&self, tokenizer: &Tokenizer, instruction: &str) -> Result<Vec<u32>, Problem> {
        let instruction = line_feeds(instruction);
        if tokenizer.decoder_start().is_some() {
            return seq2seq::source(tokenizer, &plain::prompt(&instruction));
        }
        let text = match &self.chat {
            Some(chat) => chat.prompt(&instruction)?,
            None => plain::prompt(&instruction),
        };
        Ok(self.tokens(tokenizer, &[Segment::context(text)])?.tokens)
    }

    /// A conversation, ready to be continued by the assistant. What a chat template writes is tokenised whole, as
    /// transformers does.
    ///
    /// # Errors
    /// The chat template refuses it, or the tokenizer does.
    pub fn ask(&self, tokenizer: &Tokenizer, talk: &Conversation) -> Result<Vec<u32>, Problem> {
        let segments = match self.chat_for(talk)? {
            Some(chat) => vec![Segment::context(chat.ask(talk)?)],
            None => plain::ask(&talk.turns),
        };
        if tokenizer.decoder_start().is_some() {
            return seq2seq::source_of(tokenizer, &segments);
        }
        Ok(self.tokens(tokenizer, &segments)?.tokens)
    }

    /// A prompt as it stands, ready to be continued.
    ///
    /// # Errors
    /// The tokenizer refuses it.
    pub fn as_it_stands(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Problem> {
        if tokenizer.decoder_start().is_some() {
            return seq2seq::source(tokenizer, text);
        }
        let mut tokens: Vec<u32> = tokenizer.bos().into_iter().collect();
        tokens.extend(tokenizer.encode(text)?);
        Ok(tokens)
    }

    /// The chat template that writes such conversations; none if the plain form does.
    fn chat_for(&self, talk: &Conversation) -> Result<Option<&Chat>, Problem> {
        let chat = self.with_tools.as_ref().filter(|_| talk.has_tools()).or(self.chat.as_ref());
        if chat.is_none() && talk.has_tools() {
            let what = "it calls tools, and the tokenizer has no chat template to write that with";
            return Err(Problem::input(what).next("leave the row out, or use a model with a chat template"));
        }
        Ok(chat)
    }

    /// The row's tokens, and which of them are labels. The parts are tokenised apart, so the mask is exact. It is one
    /// sequence, unless a chat template rewrites earlier turns when later ones come: then it is one for each answer.
    ///
    /// # Errors
    /// The chat template refuses the row, or the tokenizer does.
    pub fn encode(&self, tokenizer: &Tokenizer, row: &Row) -> Result<Vec<Sequence>, Problem> {
        let special = tokenizer.special_tokens();
        let eos = special.get("eos_token").map(String::as_str);
        let ends: Vec<&str> = self.chat.as_ref().and_then(Chat::end).into_iter().chain(eos).collect();
        let talk = match row {
            Row::Turns(Conversation { turns, tools }) => Conversation {
                turns: answered(turns).iter().map(|turn| without_end(turn, &ends)).collect(),
                tools: tools.clone(),
            },
            Row::Labelled(_) => {
                return Err(Problem::input("it is a text with a label, and answers are learned")
                    .next("use the objective classification or regression"));
            }
            Row::Text(_) if tokenizer.decoder_start().is_some() => return Err(seq2seq::nothing_to_read()),
            Row::Text(text) => {
                let mut sequence = Sequence::default();
                sequence.extend(tokenizer.bos(), false);
                sequence.extend(tokenizer.encode(bare(text, &ends))?, true);
                sequence.extend(tokenizer.eos(), true);
                return Ok(vec![sequence]);
            }
        };
        if let Some(start) = tokenizer.decoder_start() {
            return seq2seq::sequences(tokenizer, start, &talk.turns);
        }
        let sequences = match self.chat_for(&talk)? {
            Some(chat) => chat.sequences(&talk)?,
            None => vec![plain::segments(&talk.turns)],
        };
        sequences.iter().map(|segments| self.tokens(tokenizer, segments)).collect()
    }

    fn tokens(&self, tokenizer: &Tokenizer, segments: &[Segment]) -> Result<Sequence, Problem> {
        let mut sequence = Sequence::default();
        // A chat template writes the first token itself.
        if self.chat.is_none() {
            sequence.extend(tokenizer.bos(), false);
        }
        for (s, segment) in segments.iter().enumerate() {
            let tokens = if s == 0 { tokenizer.encode(&segment.text) } else { tokenizer.encode_after(&segment.text) };
            sequence.extend(tokens?, segment.is_label);
            if segment.then_eos {
                sequence.extend(tokenizer.eos(), segment.is_label);
            }
        }
        Ok(sequence)
    }
}

/// The turns up to the last answer that is in the loss: nothing after it matters.
fn answered(turns: &[Turn]) -> &[Turn] {
    let is_learned = |turn: &Turn| turn.is_label && turn.role == Role::Assistant;
    let end = turns.iter().rposition(is_learned).map_or(0, |last| last + 1);
    &turns[..end]
}

/// An answer without the end token that some data sets write after it: it would be there twice.
fn without_end(turn: &Turn, ends: &[&str]) -> Turn {
    match turn.role {
        Role::Assistant => Turn { content: bare(&turn.content, ends).into(), ..turn.clone() },
        Role::System | Role::User | Role::Tool => turn.clone(),
    }
}

/// A text without one of these at its end.
fn bare<'a>(text: &'a str, ends: &[&str]) -> &'a str {
    let mut ends = ends.iter().filter(|end| !end.is_empty());
    ends.find_map(|end| text.trim_end().strip_suffix(end)).unwrap_or(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::{fixture, fixture_with_bos, fixture_with_turns};

    const CHAT: &str = "{% for m in messages %}{{ m.role }}> {{ m.content }}{{ eos_token }}\n{% endfor %}\
        {% if add_generation_prompt %}assistant> {% endif %}";

    /// The row as text, labels in brackets.
    fn shown(tokenizer: &Tokenizer, sequence: &Sequence) -> String {
        let mut text = String::new();
        let mut inside = false;
        for (&token, &is_label) in sequence.tokens.iter().zip(&sequence.loss_mask) {
            if is_label != inside {
                text.push(if is_label { '[' } else { ']' });
                inside = is_label;
            }
            text += &tokenizer.token_text(token);
        }
        if inside { text + "]" } else { text }
    }

    #[test]
    fn rows_are_masked_exactly() {
        let long = Row::Turns(
            vec![
                Turn::new(Role::User, "a"),
                Turn::new(Role::Assistant, "b"),
                Turn::new(Role::User, "c"),
                Turn::new(Role::Assistant, "d"),
                Turn::new(Role::User, "not answered"),
            ]
            .into(),
        );
        let end = "<|endoftext|>";
        let (plain, bos, chat) = (fixture(&[]), fixture_with_bos(), fixture(&[("chat_template", Value::from(CHAT))]));
        let cases = [
            (&plain, Row::pair("Say ho", "", "ho"), format!("Say ho\n[ho{end}]")),
            (&plain, Row::pair("Say ho", "", "ho<|endoftext|>\n"), format!("Say ho\n[ho{end}]")),
            (&plain, Row::Text("abc<|endoftext|>".into()), format!("a[bc{end}]")),
            (&plain, long.clone(), format!("User: a\nAssistant:[ b{end}]\nUser: c\nAssistant:[ d{end}]")),
            (&plain, Row::Text("abc".into()), format!("a[bc{end}]")),
            (&bos, Row::pair("Say ho", "", "ho"), format!("{end}Say ho\n[ho{end}]")),
            (&bos, Row::Text("abc".into()), format!("{end}[abc{end}]")),
            (&chat, Row::pair("Say ho", "", "ho"), format!("user> Say ho{end}\nassistant> [ho{end}]")),
            (&chat, Row::pair("Say ho", "", &format!("ho{end}")), format!("user> Say ho{end}\nassistant> [ho{end}]")),
            (&chat, long, format!("user> a{end}\nassistant> [b{end}]\nuser> c{end}\nassistant> [d{end}]")),
        ];
        for (tokenizer, row, text) in cases {
            let sequences = Template::of(tokenizer).unwrap().encode(tokenizer, &row).unwrap();
            assert_eq!((sequences.len(), shown(tokenizer, &sequences[0])), (1, text));
        }
    }

    /// A template that ends turns in a token of its own, which is not the tokenizer's end of a text.
    #[test]
    fn the_end_of_a_turn_is_a_label_once_and_ends_an_answer() {
        let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
            {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        let tokenizer = fixture_with_turns(source);
        let template = Template::of(&tokenizer).unwrap();
        let end = tokenizer.id("<|im_end|>").unwrap();
        let row = Row::Turns(
            vec![
                Turn::new(Role::User, "a"),
                Turn::new(Role::Assistant, "b"),
                Turn::new(Role::User, "c"),
                Turn::new(Role::Assistant, "d"),
            ]
            .into(),
        );
        let sequences = template.encode(&tokenizer, &row).unwrap();
        let labels: Vec<u32> =
            sequences[0].tokens.iter().zip(&sequences[0].loss_mask).filter(|(_, l)| **l).map(|(t, _)| *t).collect();
        let id = |text: &str| tokenizer.encode(text).unwrap()[0];
        assert_eq!(labels, [id("b"), end, id("d"), end]);
        let eos = tokenizer.eos().unwrap();
        assert_eq!([end, eos, id("b")].map(|token| template.ends(&tokenizer, token)), [true, true, false]);
        assert!(!Template::of(&fixture(&[])).unwrap().ends(&tokenizer, end));
    }

    #[test]
    fn a_conversation_that_is_continued_is_what_its_row_begins_with() {
        let talks = [
            r#"[{"role": "user", "content": "Where is it?"}]"#,
            r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is it?"}]"#,
            r#"[{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}]},
                {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]"#,
        ];
        for tokenizer in [fixture(&[]), fixture_with_bos(), fixture(&[("chat_template", Value::from(CHAT))])] {
            let template = Template::of(&tokenizer).unwrap();
            for talk in talks {
                let messages: Vec<Value> = serde_json::from_str(talk).unwrap();
                let talk = Conversation::read(&messages, &[]).unwrap();
                let asked = template.ask(&tokenizer, &talk).unwrap();
                let answered = Turn::new(Role::Assistant, "Here.");
                let row = Row::Turns(talk.turns.into_iter().chain([answered]).collect::<Vec<_>>().into());
                let row = template.encode(&tokenizer, &row).unwrap().remove(0);
                let until = row.loss_mask.iter().rposition(|&is_label| !is_label).unwrap() + 1;
                let text = |tokens: &[u32]| tokens.iter().map(|t| tokenizer.token_text(*t)).collect::<String>();
                assert_eq!(text(&row.tokens[..until]), text(&asked));
                // A row's answers are tokenised apart; in a prompt a template's text is tokenised whole.
                assert!(tokenizer.chat_template().is_some() || row.tokens[..until] == asked);
            }
        }
        let plain = fixture(&[]);
        let tools = [serde_json::json!({"name": "f", "parameters": {}})];
        let messages = [serde_json::json!({"role": "user", "content": "a"})];
        let talk = Conversation::read(&messages, &tools).unwrap();
        assert!(Template::of(&plain).unwrap().ask(&plain, &talk).is_err(), "there is no template to write tools with");
    }

    #[test]
    fn a_prompt_is_exactly_what_its_row_begins_with() {
        for tokenizer in [fixture(&[]), fixture_with_bos(), fixture(&[("chat_template", Value::from(CHAT))])] {
            let template = Template::of(&tokenizer).unwrap();
            let row = template.encode(&tokenizer, &Row::pair("Where\nis it?", "", "Here.")).unwrap().remove(0);
            let prompt = template.prompt(&tokenizer, "Where\r\nis it?").unwrap();
            assert!(row.tokens.starts_with(&prompt));
            assert_eq!(row.loss_mask.iter().position(|&is_label| is_label), Some(prompt.len()));
        }
    }
}
