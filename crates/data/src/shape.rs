//! Which fields of a row are the prompt and which are learned.

use stratune_protocol::DataFormat;

/// Which fields of a row are the prompt and which are learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A prompt, optional input below it, and its completion.
    Pair { prompt: String, input: Option<String>, completion: String },
    /// A list of turns.
    Messages { list: String },
    /// Plain text.
    Text { field: String },
}

/// Names of prompt, input and completion that data sets use, and the format they belong to.
const PAIRS: [(DataFormat, &str, Option<&str>, &str); 5] = [
    (DataFormat::Alpaca, "instruction", Some("input"), "output"),
    (DataFormat::PromptCompletion, "prompt", None, "completion"),
    (DataFormat::PromptCompletion, "prompt", None, "response"),
    (DataFormat::PromptCompletion, "question", None, "answer"),
    (DataFormat::PromptCompletion, "input", None, "output"),
];

/// Names of the list of turns.
const LISTS: [&str; 2] = ["messages", "conversations"];

/// Every shape there is, for messages.
pub(crate) const KNOWN: &str = "use rows of instruction, input and output; prompt and completion; messages; a table in \
    CSV or TSV; or plain text in .txt or .md";

impl Shape {
    /// The first known shape that a row with these fields has; of one format, or of any for `Auto`.
    pub(crate) fn of(format: DataFormat, has: impl Fn(&str) -> bool) -> Option<Self> {
        let wanted = |other| format == DataFormat::Auto || format == other;
        for (of, prompt, input, completion) in PAIRS {
            if wanted(of) && has(prompt) && has(completion) {
                return Some(Self::Pair {
                    prompt: prompt.into(),
                    input: input.map(str::to_owned),
                    completion: completion.into(),
                });
            }
        }
        if let Some(list) = LISTS.into_iter().find(|list| wanted(DataFormat::Messages) && has(list)) {
            return Some(Self::Messages { list: list.into() });
        }
        (format == DataFormat::Auto && has("text")).then(|| Self::Text { field: "text".into() })
    }

    /// Its name, as in the configuration.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pair { input: Some(_), .. } => "alpaca",
            Self::Pair { input: None, .. } => "prompt_completion",
            Self::Messages { .. } => "messages",
            Self::Text { .. } => "text",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_known_by_their_fields() {
        use DataFormat::{Alpaca, Auto, Messages, PromptCompletion};
        let cases: [(DataFormat, &[&str], Option<&str>); 10] = [
            (Auto, &["instruction", "output"], Some("alpaca")),
            (Auto, &["instruction", "input", "output", "text"], Some("alpaca")),
            (Auto, &["input", "output"], Some("prompt_completion")),
            (Auto, &["id", "question", "answer"], Some("prompt_completion")),
            (Auto, &["conversations"], Some("messages")),
            (Auto, &["text"], Some("text")),
            (Auto, &["prompt"], None),
            (Alpaca, &["prompt", "completion"], None),
            (PromptCompletion, &["instruction", "input", "output"], Some("prompt_completion")),
            (Messages, &["prompt", "completion", "messages"], Some("messages")),
        ];
        for (format, fields, name) in cases {
            let shape = Shape::of(format, |field| fields.contains(&field));
            assert_eq!(shape.as_ref().map(Shape::name), name, "{fields:?}");
        }
    }
}
