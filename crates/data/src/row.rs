//! A row as people write it.

use std::borrow::Cow;

/// One row of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A conversation; the labels are what the assistant says.
    Turns(Vec<Turn>),
    /// Plain text, every token a label.
    Text(String),
}

/// One thing somebody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
    /// Whether its tokens are labels. Never so of a turn that is not the assistant's.
    pub is_label: bool,
}

impl Turn {
    /// What `role` says; a label if that is the assistant.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), is_label: role == Role::Assistant }
    }

    /// An instruction with optional input below it.
    pub(crate) fn asked(prompt: &str, input: &str) -> Self {
        let prompt = if input.trim().is_empty() { prompt.to_owned() } else { format!("{prompt}\n\n{input}") };
        Self::new(Role::User, prompt)
    }
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// How to behave.
    System,
    /// The one who asks.
    User,
    /// The one who answers, and who learns.
    Assistant,
}

impl Role {
    /// The role behind a name that data sets use; capitals do not matter.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "system" | "developer" => Some(Self::System),
            "user" | "human" | "prompter" => Some(Self::User),
            "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "ai" => Some(Self::Assistant),
            _ => None,
        }
    }

    /// The name that chat templates know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl Row {
    /// The same row with `\n` at the end of each line: a carriage return is no label.
    pub(crate) fn with_line_feeds(mut self) -> Self {
        let mend = |text: &mut String| {
            if let Cow::Owned(mended) = line_feeds(text) {
                *text = mended;
            }
        };
        match &mut self {
            Self::Text(text) => mend(text),
            Self::Turns(turns) => turns.iter_mut().for_each(|turn| mend(&mut turn.content)),
        }
        self
    }

    /// An instruction with optional input, and its answer.
    pub(crate) fn pair(prompt: &str, input: &str, completion: &str) -> Self {
        Self::Turns(vec![Turn::asked(prompt, input), Turn::new(Role::Assistant, completion)])
    }

    /// Why there is nothing to learn from this row, if so.
    pub(crate) fn emptiness(&self) -> Option<&'static str> {
        match self {
            Self::Text(text) => text.trim().is_empty().then_some("the text is empty"),
            Self::Turns(turns) => {
                let mut answers = turns.iter().filter(|turn| turn.is_label).peekable();
                if answers.peek().is_none() {
                    return Some("there is no assistant turn to learn from");
                }
                answers.all(|turn| turn.content.trim().is_empty()).then_some("the answer is empty")
            }
        }
    }

    /// Puts what a field beside the conversation says before it. An error says why that cannot be.
    pub(crate) fn with_system(mut self, field: &str, text: &str) -> Result<Self, String> {
        let Self::Turns(turns) = &mut self else { return Ok(self) };
        match turns.first() {
            Some(first) if first.role == Role::System && first.content == text => {}
            Some(first) if first.role == Role::System => {
                return Err(format!("the field '{field}' and the conversation's own system message differ"));
            }
            _ => turns.insert(0, Turn::new(Role::System, text)),
        }
        Ok(self)
    }

    /// What the user says first.
    pub(crate) fn prompt(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Turns(turns) => turns.iter().find(|turn| turn.role == Role::User).map(|turn| turn.content.as_str()),
        }
    }
}

/// A text with `\n` at the end of each line, whether it comes from Windows (`\r\n`) or an old Macintosh (`\r`).
pub(crate) fn line_feeds(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_one_way() {
        for (text, mended) in [("a\r\nb\rc\nd", "a\nb\nc\nd"), ("\r\n\r\n", "\n\n"), ("a", "a")] {
            assert_eq!(line_feeds(text), mended, "{text:?}");
            assert_eq!(Row::Text(text.into()).with_line_feeds(), Row::Text(mended.into()));
            assert_eq!(Row::pair(text, "", text).with_line_feeds(), Row::pair(mended, "", mended));
        }
    }

    #[test]
    fn a_system_text_beside_a_conversation_goes_before_it() {
        let pair = Row::pair("p", "", "c");
        let with = pair.clone().with_system("system", "s");
        let Ok(Row::Turns(turns)) = &with else { panic!("{with:?}") };
        assert_eq!((turns.len(), &turns[0]), (3, &Turn::new(Role::System, "s")));
        assert_eq!(with.clone().and_then(|row| row.with_system("system", "s")), with);
        assert!(with.and_then(|row| row.with_system("system", "t")).is_err_and(|why| why.contains("differ")));
    }

    #[test]
    fn roles_have_many_names() {
        for (name, role) in [("Human", Some(Role::User)), ("model", Some(Role::Assistant)), ("tool", None)] {
            assert_eq!(Role::named(name), role);
        }
    }

    #[test]
    fn input_goes_below_the_instruction() {
        let cases = [("", "say"), ("  ", "say"), ("this", "say\n\nthis")];
        for (input, prompt) in cases {
            assert_eq!(Row::pair("say", input, "done").prompt(), Some(prompt));
        }
    }

    #[test]
    fn rows_without_anything_to_learn_are_told() {
        let user = Turn::new(Role::User, "hi");
        let cases = [
            (Row::Text(" \n".into()), true),
            (Row::Text("a".into()), false),
            (Row::Turns(vec![user.clone()]), true),
            (Row::pair("a", "", " "), true),
            (Row::Turns(vec![Turn::new(Role::Assistant, ""), user, Turn::new(Role::Assistant, "b")]), false),
        ];
        for (row, empty) in cases {
            assert_eq!(row.emptiness().is_some(), empty, "{row:?}");
        }
    }
}
