//! A row as people write it.

use std::borrow::Cow;

use serde_json::{Map, Value};
use stratune_protocol::{Labels, Problem};

use crate::{message, tools};

/// One row of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A conversation; the labels are what the assistant says, unless the configuration has it otherwise.
    Turns(Conversation),
    /// Plain text, every token a label.
    Text(String),
    /// One or two texts, which are labelled as a whole.
    Labelled(LabelledRow),
}

/// One or two texts, and what they are labelled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelledRow {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// The class or the number, as it is written.
    pub label: String,
}

/// What is said, and the tools that the assistant may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// What is said, in order.
    pub turns: Vec<Turn>,
    /// The tools, each described as chat templates know it: `{"type": "function", "function": {"name": …}}`.
    pub tools: Vec<Value>,
}

impl From<Vec<Turn>> for Conversation {
    fn from(turns: Vec<Turn>) -> Self {
        Self { turns, tools: Vec::new() }
    }
}

impl Conversation {
    /// Of messages and descriptions of tools, in the forms that data sets and OpenAI's interface have them.
    ///
    /// # Errors
    /// Names the message, and what is wrong with it.
    pub fn read(messages: &[Value], tools: &[Value]) -> Result<Self, Problem> {
        let wrong = |at: String, why: String| {
            Problem::input(why)
                .at(at)
                .next("give each message a role (system, user, assistant or tool) and its content")
        };
        let read = |(m, entry)| message::turn(entry, &mut |_| {}).map_err(|why| wrong(format!("messages[{m}]"), why));
        let mut turns: Vec<Turn> = messages.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        turns.iter_mut().for_each(|turn| turn.content = line_feeds(&turn.content).into_owned());
        if turns.is_empty() {
            return Err(wrong("messages".into(), "nothing is said".into()));
        }
        let tools = match tools {
            [] => Vec::new(),
            tools => tools::described(&Value::from(tools)).map_err(|why| wrong("tools".into(), why))?,
        };
        Ok(Self { turns, tools })
    }

    /// What is said before its last answer, and that answer; none unless somebody asks and it ends with words in answer.
    pub fn last_answer(&self) -> Option<(Self, &str)> {
        let (last, before) = self.turns.split_last()?;
        let asked = before.last().is_some_and(|turn| matches!(turn.role, Role::User | Role::Tool));
        let answers = last.role == Role::Assistant && last.beside.is_empty();
        (asked && answers).then(|| (Self { turns: before.to_vec(), tools: self.tools.clone() }, last.content.as_str()))
    }

    /// Its messages, as [`read`](Self::read) takes them.
    pub fn messages(&self) -> Vec<Value> {
        let message = |turn: &Turn| {
            let own = [("role", turn.role.name()), ("content", &turn.content)].map(|(k, v)| (k.into(), v.into()));
            Value::Object(own.into_iter().chain(turn.beside.clone()).collect())
        };
        self.turns.iter().map(message).collect()
    }

    /// Whether more than answers are labels.
    pub(crate) fn is_label_throughout(&self) -> bool {
        self.turns.iter().any(|turn| turn.is_label && turn.role != Role::Assistant)
    }

    /// Whether tools have a part in it.
    pub(crate) fn has_tools(&self) -> bool {
        let is_of_tools = |turn: &Turn| turn.role == Role::Tool || !turn.calls().is_empty();
        !self.tools.is_empty() || self.turns.iter().any(is_of_tools)
    }
}

/// One thing somebody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
    /// Whether its tokens are labels.
    pub is_label: bool,
    /// What chat templates read beside: `tool_calls` of an assistant, `tool_call_id` and `name` of a tool.
    pub beside: Map<String, Value>,
}

impl Turn {
    /// What `role` says; a label if that is the assistant.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), is_label: role == Role::Assistant, beside: Map::new() }
    }

    /// The tools that are called.
    pub(crate) fn calls(&self) -> &[Value] {
        self.beside.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
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
    /// What a tool gives back.
    Tool,
}

/// The name of the tool that is described or called.
pub(crate) fn name_of(tool: &Value) -> &str {
    tool["function"]["name"].as_str().unwrap_or_default()
}

impl Role {
    /// The role behind a name that data sets use; capitals do not matter.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "system" | "developer" => Some(Self::System),
            "user" | "human" | "prompter" => Some(Self::User),
            "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "ai" => Some(Self::Assistant),
            "tool" | "function" | "observation" | "ipython" => Some(Self::Tool),
            _ => None,
        }
    }

    /// The name that chat templates know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
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
            Self::Turns(talk) => talk.turns.iter_mut().for_each(|turn| mend(&mut turn.content)),
            Self::Labelled(row) => [Some(&mut row.text), row.pair.as_mut()].into_iter().flatten().for_each(mend),
        }
        self
    }

    /// An instruction with optional input, and its answer.
    #[cfg(test)]
    pub(crate) fn pair(prompt: &str, input: &str, completion: &str) -> Self {
        Self::Turns(vec![Turn::asked(prompt, input), Turn::new(Role::Assistant, completion)].into())
    }

    /// Makes labels of what is to be learned, of those answers that are labels.
    pub(crate) fn choose(&mut self, labels: Labels) {
        let Self::Turns(Conversation { turns, .. }) = self else { return };
        let last = turns.iter().rposition(|turn| turn.is_label);
        match labels {
            Labels::Assistant => {}
            Labels::Last => turns.iter_mut().enumerate().for_each(|(t, turn)| turn.is_label = Some(t) == last),
            Labels::All => turns.iter_mut().for_each(|turn| turn.is_label |= turn.role != Role::Assistant),
        }
    }

    /// Why there is nothing to learn from this row, if so.
    pub(crate) fn emptiness(&self) -> Option<&'static str> {
        match self {
            Self::Text(text) => text.trim().is_empty().then_some("the text is empty"),
            Self::Labelled(row) if row.text.trim().is_empty() => Some("the text is empty"),
            Self::Labelled(row) if row.pair.as_ref().is_some_and(|pair| pair.trim().is_empty()) => {
                Some("the second text is empty")
            }
            Self::Labelled(row) => row.label.is_empty().then_some("the label is empty"),
            Self::Turns(talk) => {
                let mut answers = talk.turns.iter().filter(|turn| turn.is_label).peekable();
                if answers.peek().is_none() {
                    return Some("there is no assistant turn to learn from");
                }
                let is_empty = |turn: &Turn| turn.content.trim().is_empty() && turn.calls().is_empty();
                answers.all(is_empty).then_some("the answer is empty")
            }
        }
    }

    /// Puts what a field beside the conversation says before it. An error says why that cannot be.
    pub(crate) fn with_system(mut self, field: &str, text: &str) -> Result<Self, String> {
        let Self::Turns(Conversation { turns, .. }) = &mut self else { return Ok(self) };
        match turns.first() {
            Some(first) if first.role == Role::System && first.content == text => {}
            Some(first) if first.role == Role::System => {
                return Err(format!("the field '{field}' and the conversation's own system message differ"));
            }
            _ => turns.insert(0, Turn::new(Role::System, text)),
        }
        Ok(self)
    }

    /// Puts a system text before a conversation that has none; an empty one is none.
    pub(crate) fn with_system_prompt(mut self, text: &str) -> Self {
        if let Self::Turns(Conversation { turns, .. }) = &mut self
            && !text.is_empty()
            && turns.iter().all(|turn| turn.role != Role::System)
        {
            turns.insert(0, Turn::new(Role::System, text));
        }
        self
    }

    /// What the user says first.
    pub(crate) fn prompt(&self) -> Option<&str> {
        match self {
            Self::Text(_) | Self::Labelled(_) => None,
            Self::Turns(talk) => {
                talk.turns.iter().find(|turn| turn.role == Role::User).map(|turn| turn.content.as_str())
            }
        }
    }
}

/// A text with `\n` at the end of each line, whether it comes from Windows (`\r\n`) or an old Macintosh (`\r`).
pub(crate) fn line_feeds(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        let Ok(Row::Turns(Conversation { turns, .. })) = &with else { panic!("{with:?}") };
        assert_eq!((turns.len(), &turns[0]), (3, &Turn::new(Role::System, "s")));
        assert_eq!(with.clone().and_then(|row| row.with_system("system", "s")), with);
        assert!(with.and_then(|row| row.with_system("system", "t")).is_err_and(|why| why.contains("differ")));
    }

    #[test]
    fn roles_have_many_names() {
        for (name, role) in
            [("Human", Some(Role::User)), ("model", Some(Role::Assistant)), ("tool", Some(Role::Tool)), ("judge", None)]
        {
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
    fn what_is_learned_is_chosen() {
        use Role::{Assistant as A, System as S, User as U};
        let said = [(S, "s"), (U, "a"), (A, "b"), (U, "c"), (A, "d"), (U, "e"), (A, "f")];
        let turns: Vec<Turn> = said.map(|(role, text)| Turn::new(role, text)).into();
        for (labels, wanted) in [
            (Labels::Assistant, [false, false, true, false, true, false, false]),
            (Labels::Last, [false, false, false, false, true, false, false]),
            (Labels::All, [true, true, true, true, true, true, false]),
        ] {
            let mut turns = turns.clone();
            // Of weight 0: it is not learned, whatever else is.
            turns[6].is_label = false;
            let mut row = Row::Turns(turns.into());
            row.choose(labels);
            let Row::Turns(talk) = row else { unreachable!("a conversation") };
            assert_eq!(talk.turns.iter().map(|turn| turn.is_label).collect::<Vec<_>>(), wanted, "{labels:?}");
        }
    }

    #[test]
    fn a_system_prompt_is_for_those_that_have_none() {
        let pair = Row::pair("p", "", "c");
        let with = pair.clone().with_system("system", "s").unwrap();
        assert_eq!(pair.clone().with_system_prompt(""), pair);
        assert_eq!(pair.with_system_prompt("s"), with);
        assert_eq!(with.clone().with_system_prompt("t"), with);
        assert_eq!(Row::Text("t".into()).with_system_prompt("s"), Row::Text("t".into()));
    }

    #[test]
    fn rows_without_anything_to_learn_are_told() {
        let user = Turn::new(Role::User, "hi");
        let cases = [
            (Row::Text(" \n".into()), true),
            (Row::Text("a".into()), false),
            (Row::Turns(vec![user.clone()].into()), true),
            (Row::pair("a", "", " "), true),
            (Row::Turns(vec![Turn::new(Role::Assistant, ""), user, Turn::new(Role::Assistant, "b")].into()), false),
        ];
        for (row, empty) in cases {
            assert_eq!(row.emptiness().is_some(), empty, "{row:?}");
        }
    }
}
