//! Items that ask for one of a few classes: what GLUE, SuperGLUE and own rows have in common.

use crate::item::{Choice, Item};

/// More classes than this are not told in the prompt.
const TOLD: usize = 20;

/// What is asked of an item, and how its classes are called.
pub(crate) struct Asked<'a> {
    /// What an instructed model is to do, one sentence without a full stop.
    pub(crate) ask: &'a str,
    /// The texts, each with what it is called.
    pub(crate) texts: &'a [(&'a str, &'a str)],
    /// The classes as they are trained and found in text.
    pub(crate) answers: &'a [&'a str],
    /// What comes before the continuations.
    pub(crate) context: String,
    /// The classes as they are ranked.
    pub(crate) continuations: &'a [&'a str],
}

impl Asked<'_> {
    /// The prompt, in the form that LLM-Adapters gives its own.
    pub(crate) fn prompt(&self) -> String {
        let texts: Vec<String> = self.texts.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        let formats = if self.answers.len() <= TOLD { self.answers.join("/") } else { "the name of one class".into() };
        format!("{}.\n\n{}\n\nAnswer format: {formats}", self.ask, texts.join("\n\n"))
    }

    /// The item whose class is the one at `right`.
    pub(crate) fn item(&self, at: &str, right: usize) -> Item {
        let choice = |(answer, continuation): (&&str, &&str)| Choice::new(*answer, self.context.as_str(), continuation);
        let choices = self.answers.iter().zip(self.continuations).map(choice).collect();
        let texts: Vec<&str> = self.texts.iter().map(|(_, text)| *text).collect();
        Item::choosing(at, self.prompt(), choices, right, &texts)
    }
}
