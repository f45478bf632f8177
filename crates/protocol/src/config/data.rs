//! What to learn from.

use serde::{Deserialize, Serialize};

use crate::Problem;

/// What to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The files, in order. In the page: the names of the dropped files.
    pub files: Vec<String>,
    /// What the rows look like.
    pub format: DataFormat,
    /// CSV and TSV: the column that is the prompt. Empty: recognised by name, or plain text if there is one column.
    pub prompt_column: String,
    /// CSV and TSV: the column of the completions. Empty: recognised by name.
    pub completion_column: String,
    /// Longest sequence in tokens; longer rows are cut, and counted.
    pub max_length: usize,
    /// Share of rows held out to measure the loss on rows never trained on.
    pub validation_split: f32,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            format: DataFormat::Auto,
            prompt_column: String::new(),
            completion_column: String::new(),
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
    /// Plain text, every token a label.
    Text,
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
            "text" => Self::Text,
            _ => {
                return Err(Problem::input(format!("unknown data format '{text}'"))
                    .next("use auto, alpaca, prompt_completion, messages, csv, tsv or text"));
            }
        })
    }
}

impl DataConfig {
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
        Ok(())
    }
}
