//! Flags that say what to learn from.

use std::path::PathBuf;

use clap::Args;
use stratune_protocol::{DataFormat, Labels};
use stratune_train::RunConfig;

use crate::arguments::{choose, set};

/// What to learn from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Data")]
pub struct DataFlags {
    /// Data files: JSONL, JSON, CSV, TSV, Parquet or text, also as .gz or .zst; for vision models a folder with one of images for each class; or a dataset on the hub: owner/name[:split]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Train on the rows of this task, such as glue/rte; --data is the folder of its files then
    #[arg(long, value_name = "NAME")]
    pub data_task: Option<String>,
    /// auto, alpaca, prompt_completion, messages, csv, tsv, parquet or text [default: auto]
    #[arg(long)]
    pub format: Option<DataFormat>,
    /// The column, or field of a JSON row, that is the prompt [default: recognised by name]
    #[arg(long, value_name = "COLUMN")]
    pub prompt_column: Option<String>,
    /// The column of the completions [default: recognised by name]
    #[arg(long, value_name = "COLUMN")]
    pub completion_column: Option<String>,
    /// The column of the system texts [default: recognised by name]
    #[arg(long, value_name = "COLUMN")]
    pub system_column: Option<String>,
    /// The column of the conversations [default: recognised by name]
    #[arg(long, value_name = "COLUMN")]
    pub messages_column: Option<String>,
    /// The column of the texts, of rows with labels or of plain text [default: recognised by name]
    #[arg(long, value_name = "COLUMN")]
    pub text_column: Option<String>,
    /// The column of the second texts, where pairs are labelled [default: recognised by name]
    #[arg(long, value_name = "COLUMN")]
    pub text_pair_column: Option<String>,
    /// The column of the labels: classes or numbers [default: recognised by name]
    #[arg(long, value_name = "COLUMN")]
    pub label_column: Option<String>,
    /// The classes in their order [default: the model's if they are the rows', else those of the rows]
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub label_names: Option<Vec<String>>,
    /// The prompt, made of columns, such as "Summarise: {document}"
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_column")]
    pub prompt_template: Option<String>,
    /// The system text of every conversation that has none of its own
    #[arg(long, value_name = "TEXT")]
    pub system_prompt: Option<String>,
    /// What is learned: assistant for all that it says, last for its last turn, or all [default: assistant]
    #[arg(long, value_parser = choose::<Labels>)]
    pub labels: Option<Labels>,
    /// Longest sequence in tokens; longer rows are cut, and counted [default: 512]
    #[arg(long)]
    pub max_length: Option<usize>,
    /// Share of rows held out [default: 0.1]
    #[arg(long)]
    pub validation_split: Option<f32>,
}

impl DataFlags {
    /// Puts what was given into `config`.
    pub fn apply(self, config: &mut RunConfig) {
        let data = &mut config.data;
        if !self.data.is_empty() {
            data.files = self.data.iter().map(|p| p.display().to_string()).collect();
        }
        set(&mut data.task, self.data_task);
        set(&mut data.format, self.format);
        set(&mut data.prompt_column, self.prompt_column);
        set(&mut data.completion_column, self.completion_column);
        set(&mut data.system_column, self.system_column);
        set(&mut data.messages_column, self.messages_column);
        set(&mut data.text_column, self.text_column);
        set(&mut data.text_pair_column, self.text_pair_column);
        set(&mut data.label_column, self.label_column);
        set(&mut data.label_names, self.label_names);
        set(&mut data.prompt_template, self.prompt_template);
        set(&mut data.system_prompt, self.system_prompt);
        set(&mut data.labels, self.labels);
        set(&mut data.max_length, self.max_length);
        set(&mut data.validation_split, self.validation_split);
    }
}
