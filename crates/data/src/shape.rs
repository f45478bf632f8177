//! What the fields of a row are: which is the prompt, which the completion.

use stratune_protocol::{DataConfig, DataFormat, PromptTemplate};

/// What the fields of a row are: which is the prompt, which the completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A prompt, optional input below it, and its completion.
    Pair { format: DataFormat, prompt: Prompt, input: Option<String>, completion: String },
    /// A list of turns.
    Messages { list: String },
    /// Plain text.
    Text { field: String },
    /// A text, perhaps a second one, and their label.
    Labelled { text: String, pair: Option<String>, label: String },
}

/// Where a prompt comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// One column.
    Column(String),
    /// Several, in a text.
    Template(PromptTemplate),
}

/// Why it is not clear what the fields are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unclear {
    pub(crate) what: String,
    /// The setting of `data` that is at fault; empty if none is.
    pub(crate) setting: &'static str,
    pub(crate) next: String,
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

/// The name of the tools that an assistant may call, beside a pair or a list of turns.
pub(crate) const TOOLS: &str = "tools";

/// Names of the list of turns.
const LISTS: [&str; 2] = ["messages", "conversations"];

/// Every shape there is, for messages.
pub(crate) const KNOWN: &str = "use rows of instruction, input and output; prompt and completion; messages; a table in \
    CSV, TSV or Parquet; or plain text in .txt or .md";

impl Shape {
    /// What the columns of a table are: as configured, else known by name, else the only one.
    pub(crate) fn of_table(config: &DataConfig, columns: &[&str]) -> Result<Self, Unclear> {
        if !config.system_column.is_empty() && find(columns.iter().copied(), &config.system_column).is_none() {
            return Err(missing("system_column", &config.system_column, columns));
        }
        if let Some(shape) = Self::configured(config, columns)? {
            return Ok(shape);
        }
        match columns {
            [only] if !only.contains([';', '\t', ',']) && Self::is_free(config) => {
                Ok(Self::Text { field: (*only).to_owned() })
            }
            _ => Err(Unclear {
                what: format!(
                    "which column is the prompt and which is the completion is not clear; its columns are {}",
                    columns.join(", ")
                ),
                setting: "",
                next:
                    "set data.prompt_column and data.completion_column, and check that commas (tabs in TSV) part the \
                       columns"
                        .into(),
            }),
        }
    }

    /// What the fields of a row are: as configured, else known by name.
    pub(crate) fn of_row(config: &DataConfig, fields: &[&str]) -> Result<Self, Unclear> {
        if let Some(shape) = Self::configured(config, fields)? {
            return Ok(shape);
        }
        let what = if config.format == DataFormat::Auto { "any known format" } else { "the chosen format" };
        Err(Unclear {
            what: format!("its fields ({}) are not those of {what}", fields.join(", ")),
            setting: "",
            next: "set data.prompt_column and data.completion_column, or data.messages_column".into(),
        })
    }

    /// Whether no column is configured.
    fn is_free(config: &DataConfig) -> bool {
        let columns = [&config.prompt_column, &config.completion_column, &config.prompt_template];
        columns.iter().all(|name| name.is_empty())
    }

    /// As configured, else known by name; none if neither says.
    fn configured(config: &DataConfig, columns: &[&str]) -> Result<Option<Self>, Unclear> {
        let chosen = |setting: &'static str, name: &str| match find(columns.iter().copied(), name) {
            Some(column) => Ok(Some(column.to_owned())),
            None if name.is_empty() => Ok(None),
            None => Err(missing(setting, name, columns)),
        };
        if let Some(list) = chosen("messages_column", &config.messages_column)? {
            return Ok(Some(Self::Messages { list }));
        }
        if let Some(field) = chosen("text_column", &config.text_column)? {
            return Ok(Some(Self::Text { field }));
        }
        let mut prompt = chosen("prompt_column", &config.prompt_column)?.map(Prompt::Column);
        if !config.prompt_template.is_empty() {
            let template = PromptTemplate::parse(&config.prompt_template).map_err(|problem| Unclear {
                what: problem.what,
                setting: "prompt_template",
                next: problem.next,
            })?;
            for column in template.columns() {
                chosen("prompt_template", column)?;
            }
            prompt = Some(Prompt::Template(template));
        }
        let completion = chosen("completion_column", &config.completion_column)?;
        let pair = |prompt, input, completion| {
            Some(Self::Pair { format: DataFormat::PromptCompletion, prompt, input, completion })
        };
        // What is not configured goes by its name, among those that are not taken.
        let known = |name: &str, taken: &dyn Fn(&str) -> bool| {
            find(columns.iter().copied(), name).filter(|column| !taken(column)).map(str::to_owned)
        };
        Ok(match (prompt, completion) {
            (Some(prompt), Some(completion)) => pair(prompt, None, completion),
            (None, None) => Self::known(config.format, columns),
            (Some(prompt), None) => {
                let taken = |column: &str| prompt == Prompt::Column(column.to_owned());
                let completion = PAIRS.into_iter().find_map(|(.., name)| known(name, &taken));
                completion.and_then(|completion| pair(prompt, None, completion))
            }
            (None, Some(completion)) => {
                let taken = |column: &str| column == completion;
                let found = PAIRS.into_iter().find_map(|(_, name, input, _)| {
                    let input = input.and_then(|name| known(name, &taken));
                    Some((known(name, &taken)?, input))
                });
                found.and_then(|(prompt, input)| pair(Prompt::Column(prompt), input, completion))
            }
        })
    }

    /// The first known shape that a row with these fields has; of one format, or of any for `Auto` and for tables.
    fn known(format: DataFormat, columns: &[&str]) -> Option<Self> {
        let is_any = match format {
            DataFormat::Auto | DataFormat::Csv | DataFormat::Tsv | DataFormat::Parquet => true,
            DataFormat::Alpaca | DataFormat::PromptCompletion | DataFormat::Messages | DataFormat::Text => false,
        };
        let wanted = |other| is_any || format == other;
        let has = |name: &str| find(columns.iter().copied(), name).map(str::to_owned);
        for (of, prompt, input, completion) in PAIRS {
            if let (true, Some(prompt), Some(completion)) = (wanted(of), has(prompt), has(completion)) {
                // Rows that come later may have it.
                let input = input.map(|name| has(name).unwrap_or_else(|| name.to_owned()));
                return Some(Self::Pair { format: of, prompt: Prompt::Column(prompt), input, completion });
            }
        }
        if let Some(list) = LISTS.into_iter().filter(|_| wanted(DataFormat::Messages)).find_map(has) {
            return Some(Self::Messages { list });
        }
        has("text").filter(|_| is_any).map(|field| Self::Text { field })
    }

    /// The field of the system text, if one of these has its name and is not read as something else.
    pub(crate) fn system<'a>(&self, mut columns: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let fields = self.fields();
        columns.find(|column| {
            let is = |name: &str| column.eq_ignore_ascii_case(name);
            SYSTEMS.into_iter().any(is) && !fields.iter().any(|field| is(field))
        })
    }

    /// The fields that it reads.
    pub(crate) fn fields(&self) -> Vec<&str> {
        match self {
            Self::Pair { prompt, input, completion, .. } => {
                let prompt = match prompt {
                    Prompt::Column(name) => vec![name.as_str()],
                    Prompt::Template(template) => template.columns().collect(),
                };
                prompt.into_iter().chain([completion.as_str()]).chain(input.as_deref()).collect()
            }
            Self::Messages { list: field } | Self::Text { field } => vec![field],
            Self::Labelled { text, pair, label } => [text.as_str(), label].into_iter().chain(pair.as_deref()).collect(),
        }
    }

    /// Its name, as in the configuration.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pair { format: DataFormat::Alpaca, .. } => "alpaca",
            Self::Pair { .. } => "prompt_completion",
            Self::Messages { .. } => "messages",
            Self::Text { .. } => "text",
            Self::Labelled { .. } => "labelled",
        }
    }
}

/// A column that is configured and not there.
pub(crate) fn missing(setting: &'static str, column: &str, columns: &[&str]) -> Unclear {
    Unclear {
        what: format!("there is no column '{column}'; its columns are {}", columns.join(", ")),
        setting,
        next: format!("set data.{setting} to one of them"),
    }
}

/// The column of this name; capitals do not matter where none has it exactly.
pub(crate) fn find<'a>(columns: impl Iterator<Item = &'a str> + Clone, name: &str) -> Option<&'a str> {
    let exact = columns.clone().find(|column| *column == name);
    exact.or_else(|| columns.into_iter().find(|column| !name.is_empty() && column.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
            let shape = Shape::known(format, fields);
            assert_eq!(shape.as_ref().map(Shape::name), name, "{fields:?}");
        }
    }

    #[test]
    fn a_column_that_is_the_prompt_is_no_system_text() {
        let pair = |prompt: &str| Shape::Pair {
            format: DataFormat::PromptCompletion,
            prompt: Prompt::Column(prompt.into()),
            input: None,
            completion: "answer".into(),
        };
        assert_eq!(pair("question").system(["question", "System"].into_iter()), Some("System"));
        assert_eq!(pair("system").system(["system"].into_iter()), None);
        assert_eq!(pair("question").system(["question"].into_iter()), None);
    }

    #[test]
    fn columns_are_configured_or_missing() {
        type Change = fn(&mut DataConfig);
        let columns = ["Ask", "say", "talk", "prompt", "completion"];
        let pair = |prompt: &str, completion: &str| Shape::Pair {
            format: DataFormat::PromptCompletion,
            prompt: Prompt::Column(prompt.into()),
            input: None,
            completion: completion.into(),
        };
        let cases: [(Change, Result<Shape, &str>); 8] = [
            (|_| {}, Ok(pair("prompt", "completion"))),
            (|c| (c.prompt_column, c.completion_column) = ("ask".into(), "say".into()), Ok(pair("Ask", "say"))),
            (|c| c.prompt_column = "ask".into(), Ok(pair("Ask", "completion"))),
            (|c| c.completion_column = "say".into(), Ok(pair("prompt", "say"))),
            (|c| c.messages_column = "talk".into(), Ok(Shape::Messages { list: "talk".into() })),
            (|c| c.prompt_column = "x".into(), Err("prompt_column")),
            (|c| c.prompt_template = "{ask} {y}".into(), Err("prompt_template")),
            (|c| c.messages_column = "z".into(), Err("messages_column")),
        ];
        for (change, wanted) in cases {
            let mut config = DataConfig::default();
            change(&mut config);
            for shape in [Shape::of_table(&config, &columns), Shape::of_row(&config, &columns)] {
                assert_eq!(shape.map_err(|unclear| unclear.setting), wanted, "{config:?}");
            }
        }
        let config = DataConfig { prompt_template: "{ask}: {talk}".into(), ..DataConfig::default() };
        let shape = Shape::of_row(&config, &columns).unwrap();
        assert_eq!(shape.fields(), ["ask", "talk", "completion"]);
    }
}
