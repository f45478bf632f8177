//! What to learn from.

use serde::{Deserialize, Serialize};

use crate::{Objective, Problem, PromptTemplate};

/// What to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The files, in order. In the page: the names of the dropped files.
    pub files: Vec<String>,
    /// Files to measure on and never to train on, instead of a share of the rows. In the page: those of the dropped files.
    pub validation_files: Vec<String>,
    /// A task of the literature, such as glue/rte, whose rows to train on are read: `files` is the folder of its files. Empty:
    /// files are read as they are.
    pub task: String,
    /// What the rows look like.
    pub format: DataFormat,
    /// The column, or field of a JSON row, that is the prompt. Empty: recognised by name, or plain text if a table has one
    /// column.
    pub prompt_column: String,
    /// The column of the completions. Empty: recognised by name.
    pub completion_column: String,
    /// The column of the system texts. Empty: recognised by name, if there is one.
    pub system_column: String,
    /// The column of the conversations, each a list of messages or its text as JSON. Empty: recognised by name.
    pub messages_column: String,
    /// The column of the texts: of what is classified, or of plain text. Empty: recognised by name.
    pub text_column: String,
    /// The column of the second texts, where pairs are classified. Empty: recognised by name, unless `text_column` is given.
    pub text_pair_column: String,
    /// The column of the labels: classes or numbers. Empty: recognised by name, where labels are learned.
    pub label_column: String,
    /// The classes in their order. Empty: those that the model knows if they are the rows', else those of the rows.
    pub label_names: Vec<String>,
    /// The prompt, made of columns in braces, such as `Summarise: {document}`. Empty: it is a column.
    pub prompt_template: String,
    /// The system text of every conversation that has none of its own. Empty: none.
    pub system_prompt: String,
    /// What is learned.
    pub labels: Labels,
    /// Longest sequence in tokens; longer rows are cut, and counted.
    pub max_length: usize,
    /// Share of rows held out to measure the loss on rows never trained on.
    pub validation_split: f32,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            validation_files: Vec::new(),
            task: String::new(),
            format: DataFormat::Auto,
            prompt_column: String::new(),
            completion_column: String::new(),
            system_column: String::new(),
            messages_column: String::new(),
            text_column: String::new(),
            text_pair_column: String::new(),
            label_column: String::new(),
            label_names: Vec::new(),
            prompt_template: String::new(),
            system_prompt: String::new(),
            labels: Labels::Assistant,
            max_length: 512,
            validation_split: 0.1,
        }
    }
}

/// What the rows look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Recognised from the file's name and first row.
    #[default]
    Auto,
    /// `instruction`, optional `input`, `output`.
    Alpaca,
    /// `prompt`, `completion`.
    PromptCompletion,
    /// `messages`: a list of `role`, `content`.
    Messages,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// Parquet: a table whose columns may be lists of messages.
    Parquet,
    /// Plain text, every token a label.
    Text,
}

/// What is learned of a conversation. Of plain text every token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// All that the assistant says.
    #[default]
    Assistant,
    /// The last that the assistant says.
    Last,
    /// All of the text up to the last answer: prompts, system texts and what the template writes, too.
    All,
}

impl std::str::FromStr for Labels {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "assistant" => Ok(Self::Assistant),
            "last" => Ok(Self::Last),
            "all" => Ok(Self::All),
            _ => Err(Problem::input(format!("unknown labels '{text}'")).next("use assistant, last or all")),
        }
    }
}

impl std::str::FromStr for DataFormat {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Ok(match text {
            "auto" => Self::Auto,
            "alpaca" => Self::Alpaca,
            "prompt_completion" | "prompt-completion" => Self::PromptCompletion,
            "messages" | "chat" => Self::Messages,
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "parquet" => Self::Parquet,
            "text" => Self::Text,
            _ => {
                return Err(Problem::input(format!("unknown data format '{text}'"))
                    .next("use auto, alpaca, prompt_completion, messages, csv, tsv, parquet or text"));
            }
        })
    }
}

impl DataConfig {
    /// Whether rows are held out to measure on.
    pub fn holds_out(&self) -> bool {
        self.validation_split > 0.0 || !self.validation_files.is_empty()
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// Names the first that is out of range.
    pub fn check(&self) -> Result<(), Problem> {
        let bad = |field: &str, what: String, next: &str| Err(Problem::input(what).at(field).next(next));
        if self.max_length < 8 {
            return bad("data.max_length", format!("max_length is {}", self.max_length), "use 8 or more");
        }
        if !(0.0..0.9).contains(&self.validation_split) {
            return bad(
                "data.validation_split",
                format!("validation_split is {}", self.validation_split),
                "use 0 or more and less than 0.9",
            );
        }
        if let Some(name) = self.validation_files.iter().find(|name| self.files.contains(name)) {
            let what = format!("{name} is to be trained on and to be measured on");
            return bad("data.validation_files", what, "leave it out of one of the two");
        }
        self.check_columns()?;
        self.check_label_names()
    }

    /// Refuses what rows with such an objective do not have.
    ///
    /// # Errors
    /// Names the first setting that would not be read.
    pub fn check_objective(&self, objective: Objective) -> Result<(), Problem> {
        let is_given = [
            ("text_pair_column", !self.text_pair_column.is_empty()),
            ("label_column", !self.label_column.is_empty()),
            ("label_names", !self.label_names.is_empty()),
        ];
        let unread = |names: &[&str]| is_given.into_iter().find(|(name, given)| *given && names.contains(name));
        let (unread, objective, next) = match objective {
            Objective::Auto | Objective::Classification => return Ok(()),
            Objective::NextToken => (
                unread(&["text_pair_column", "label_column", "label_names"]),
                "next_token",
                "leave it empty, or use the objective classification or regression",
            ),
            Objective::Regression => {
                (unread(&["label_names"]), "regression", "leave it empty, or use the objective classification")
            }
        };
        match unread {
            None => Ok(()),
            Some((name, _)) => Err(Problem::input(format!("the objective {objective} does not read {name}"))
                .at(format!("data.{name}"))
                .next(next)),
        }
    }

    /// Refuses names that are not two different ones or more.
    fn check_label_names(&self) -> Result<(), Problem> {
        let names = &self.label_names;
        let twice = names.iter().enumerate().find(|(n, name)| names[..*n].contains(name));
        let what = match (names.as_slice(), twice) {
            (_, Some((_, name))) => format!("the class '{name}' is named twice"),
            ([only], None) => format!("'{only}' is the only class"),
            (_, None) => return Ok(()),
        };
        Err(Problem::input(what).at("data.label_names").next("name each class once, or none to take those of the rows"))
    }

    /// Refuses columns of which one would not be read.
    fn check_columns(&self) -> Result<(), Problem> {
        let pairs = [
            ("prompt_column", &self.prompt_column),
            ("completion_column", &self.completion_column),
            ("prompt_template", &self.prompt_template),
        ];
        let both = |first: &str, second: &str| {
            Err(Problem::input(format!("{first} and {second} are both given, and one of them would not be read"))
                .at(format!("data.{second}"))
                .next("leave one of them empty"))
        };
        let of_labels = [
            ("label_column", &self.label_column),
            ("text_pair_column", &self.text_pair_column),
            ("text_column", &self.text_column),
        ];
        let of_answers = [
            ("messages_column", &self.messages_column),
            ("system_column", &self.system_column),
            ("system_prompt", &self.system_prompt),
        ];
        let given = of_labels.iter().find(|(_, name)| !name.is_empty());
        let answers = pairs.iter().chain(&of_answers).find(|(_, name)| !name.is_empty());
        if let (Some((first, _)), Some((second, _))) = (given, answers) {
            return both(first, second);
        }
        if let Some((name, _)) = pairs.iter().find(|(_, of)| !self.messages_column.is_empty() && !of.is_empty()) {
            return both("messages_column", name);
        }
        if !self.prompt_column.is_empty() && !self.prompt_template.is_empty() {
            return both("prompt_column", "prompt_template");
        }
        if !self.prompt_template.is_empty() {
            PromptTemplate::parse(&self.prompt_template)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_exclude_each_other_are_refused() {
        let sound = DataConfig { files: vec!["a".into()], ..DataConfig::default() };
        type Change = fn(&mut DataConfig);
        let cases: [(Change, &str); 13] = [
            (|c| c.validation_files = vec!["b".into()], ""),
            (|c| c.validation_files = vec!["a".into()], "data.validation_files"),
            (|c| c.prompt_template = "{a}".into(), ""),
            (|c| c.prompt_template = "a".into(), "data.prompt_template"),
            (|c| (c.prompt_template, c.prompt_column) = ("{a}".into(), "a".into()), "data.prompt_template"),
            (|c| (c.messages_column, c.completion_column) = ("m".into(), "c".into()), "data.completion_column"),
            (|c| (c.messages_column, c.system_column) = ("m".into(), "s".into()), ""),
            (|c| (c.text_column, c.text_pair_column, c.label_column) = ("a".into(), "b".into(), "c".into()), ""),
            (|c| (c.label_column, c.prompt_column) = ("a".into(), "b".into()), "data.prompt_column"),
            (|c| (c.text_column, c.system_prompt) = ("a".into(), "b".into()), "data.system_prompt"),
            (|c| c.label_names = vec!["a".into(), "b".into()], ""),
            (|c| c.label_names = vec!["a".into()], "data.label_names"),
            (|c| c.label_names = vec!["a".into(), "b".into(), "a".into()], "data.label_names"),
        ];
        for (change, at) in cases {
            let mut config = sound.clone();
            change(&mut config);
            assert_eq!(config.check().err().map(|problem| problem.at).unwrap_or_default(), at, "{config:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for labels in [Labels::Assistant, Labels::Last, Labels::All] {
            let name = serde_json::to_value(labels).unwrap();
            assert_eq!(name.as_str().unwrap().parse::<Labels>().unwrap(), labels);
        }
        assert!("some".parse::<Labels>().unwrap_err().next.contains("last"));
        assert_eq!("parquet".parse::<DataFormat>().unwrap(), DataFormat::Parquet);
    }

    #[test]
    fn an_objective_refuses_what_it_does_not_read() {
        let named = |column: &str, names: &[&str]| DataConfig {
            label_column: column.into(),
            label_names: names.iter().map(ToString::to_string).collect(),
            ..DataConfig::default()
        };
        let cases = [
            (Objective::Auto, named("l", &["a", "b"]), ""),
            (Objective::Classification, named("l", &["a", "b"]), ""),
            (Objective::NextToken, named("l", &[]), "data.label_column"),
            (Objective::NextToken, named("", &["a", "b"]), "data.label_names"),
            (Objective::Regression, named("l", &["a", "b"]), "data.label_names"),
            (Objective::Regression, named("l", &[]), ""),
        ];
        for (objective, config, at) in cases {
            let told = config.check_objective(objective).err().map(|problem| problem.at).unwrap_or_default();
            assert_eq!(told, at, "{objective:?} {config:?}");
        }
    }
}
