//! Which fields of a row are the prompt and which are the completion.

use stratune_protocol::DataFormat;

/// Which fields of a row are the prompt and which are the completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A prompt, optional input below it, and its completion.
    Pair { format: DataFormat, prompt: String, input: Option<String>, completion: String },
    /// A list of turns.
    Messages { list: String },
    /// Plain text.
    Text { field: String },
}

/// Names of prompt, input and completion that data sets use, and the format they belong to.
const PAIRS: [(DataFormat, &str, Option<&str>, &str); 7] = [
    (DataFormat::Alpaca, "instruction", Some("input"), "output"),
    (DataFormat::Alpaca, "instruction", Some("context"), "response"),
    (DataFormat::PromptCompletion, "prompt", None, "completion"),
    (DataFormat::PromptCompletion, "prompt", None, "response"),
    (DataFormat::PromptCompletion, "question", Some("context"), "answer"),
    (DataFormat::PromptCompletion, "question", Some("context"), "response"),
    (DataFormat::PromptCompletion, "input", None, "output"),
];

/// Names of what tells the assistant how to behave, beside a pair or a list of turns.
pub(crate) const SYSTEMS: [&str; 2] = ["system", "system_prompt"];

/// The name of earlier turns beside a pair.
pub(crate) const HISTORY: &str = "history";

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
                    format: of,
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

    /// The field of the system text, if the row has one that is not read as something else.
    pub(crate) fn system(&self, has: impl Fn(&str) -> bool) -> Option<&'static str> {
        let fields = self.fields();
        SYSTEMS.into_iter().find(|name| has(name) && !fields.iter().any(|field| field.eq_ignore_ascii_case(name)))
    }

    /// The fields that it reads.
    pub(crate) fn fields(&self) -> Vec<&str> {
        match self {
            Self::Pair { prompt, input, completion, .. } => {
                [prompt, completion].into_iter().chain(input).map(String::as_str).collect()
            }
            Self::Messages { list: field } | Self::Text { field } => vec![field],
        }
    }

    /// Its name, as in the configuration.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pair { format: DataFormat::Alpaca, .. } => "alpaca",
            Self::Pair { .. } => "prompt_completion",
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
        let cases: [(DataFormat, &[&str], Option<&str>); 12] = [
            (Auto, &["instruction", "output"], Some("alpaca")),
            (Auto, &["instruction", "context", "response", "category"], Some("alpaca")),
            (Auto, &["system_prompt", "question", "response"], Some("prompt_completion")),
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

    #[test]
    fn a_column_that_is_the_prompt_is_no_system_text() {
        let pair = |prompt: &str| Shape::Pair {
            format: DataFormat::PromptCompletion,
            prompt: prompt.into(),
            input: None,
            completion: "answer".into(),
        };
        assert_eq!(pair("question").system(|_| true), Some("system"));
        assert_eq!(pair("system").system(|field| field == "system"), None);
        assert_eq!(pair("question").system(|_| false), None);
    }
}
