//! A row as people write it.

/// One row of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A conversation; what the assistant says is learned.
    Turns(Vec<Turn>),
    /// Plain text, all of it learned.
    Text(String),
}

/// One thing somebody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
}

impl Turn {
    /// What `role` says.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
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
    /// The role behind a name that data sets use.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "system" => Some(Self::System),
            "user" | "human" => Some(Self::User),
            "assistant" | "gpt" => Some(Self::Assistant),
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
    /// An instruction with optional input, and its answer.
    pub(crate) fn pair(prompt: &str, input: &str, completion: &str) -> Self {
        let prompt = if input.trim().is_empty() { prompt.to_owned() } else { format!("{prompt}\n\n{input}") };
        Self::Turns(vec![Turn::new(Role::User, prompt), Turn::new(Role::Assistant, completion)])
    }

    /// Why there is nothing to learn from this row, if so.
    pub(crate) fn emptiness(&self) -> Option<&'static str> {
        match self {
            Self::Text(text) => text.trim().is_empty().then_some("the text is empty"),
            Self::Turns(turns) => {
                let mut answers = turns.iter().filter(|turn| turn.role == Role::Assistant).peekable();
                if answers.peek().is_none() {
                    return Some("there is no assistant turn to learn from");
                }
                answers.all(|turn| turn.content.trim().is_empty()).then_some("what is to be learned is empty")
            }
        }
    }

    /// What the user says first.
    pub(crate) fn prompt(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Turns(turns) => turns.iter().find(|turn| turn.role == Role::User).map(|turn| turn.content.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
