//! Flags that become a [`RunConfig`].

use std::path::PathBuf;

use clap::Args;
use stratune_protocol::{DataFormat, DeviceChoice, IstConfig, IstMode, Problem, RunConfig, Schedule, Target};

use crate::open;

/// The flags of a run. A flag that is not given leaves what `--config` says, or the default.
#[derive(Args, Clone)]
pub struct RunFlags {
    /// A run's configuration as TOML, such as the run.toml of another run; flags override it.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The model: `starter`, or a folder in Hugging Face form [default: starter]
    #[arg(long)]
    pub model: Option<String>,
    /// auto, cpu, wgpu, cuda or cuda:INDEX [default: auto]
    #[arg(long)]
    pub device: Option<DeviceChoice>,
    #[command(flatten)]
    pub data: DataFlags,
    #[command(flatten)]
    method: MethodFlags,
    #[command(flatten)]
    ist: IstFlags,
    #[command(flatten)]
    train: TrainFlags,
}

/// What to learn from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Data")]
pub struct DataFlags {
    /// Data files: JSONL, JSON, CSV, TSV or text
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// auto, alpaca, prompt_completion, messages, csv, tsv or text [default: auto]
    #[arg(long)]
    pub format: Option<DataFormat>,
    /// CSV and TSV: the column that is the prompt
    #[arg(long)]
    pub prompt_column: Option<String>,
    /// CSV and TSV: the column that is learned
    #[arg(long)]
    pub completion_column: Option<String>,
    /// Longest sequence in tokens; longer rows are cut, and counted [default: 512]
    #[arg(long)]
    pub max_length: Option<usize>,
    /// Share of rows held out [default: 0.1]
    #[arg(long)]
    pub validation_split: Option<f32>,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Method")]
struct MethodFlags {
    /// Rank of the update [default: 8]
    #[arg(long)]
    rank: Option<usize>,
    /// Scale of the update is alpha / rank [default: 16]
    #[arg(long)]
    alpha: Option<f32>,
    /// Dropout on the update's input [default: 0]
    #[arg(long)]
    dropout: Option<f32>,
    /// Layers it enters, such as q_proj,v_proj [default: all seven]
    #[arg(long, value_delimiter = ',')]
    targets: Vec<Target>,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Which layers train (IST)")]
struct IstFlags {
    /// all, random, faithful or practical; `--ist` alone is practical [default: all]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "practical", value_name = "MODE")]
    ist: Option<IstMode>,
    /// Share of the layers that train at a step [default: 0.25]
    #[arg(long)]
    ist_fraction: Option<f32>,
    /// Steps between importance updates [default: 10]
    #[arg(long)]
    ist_interval: Option<usize>,
    /// Step size of the scores [default: 10, practical 1]
    #[arg(long)]
    ist_step_size: Option<f32>,
    /// Rows in an importance batch [default: 16]
    #[arg(long)]
    ist_batch_size: Option<usize>,
    /// practical: steps a drawn set of layers is kept [default: 1]
    #[arg(long)]
    ist_redraw_every: Option<usize>,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Training")]
struct TrainFlags {
    /// Optimiser steps; without it, as many as --epochs needs
    #[arg(long)]
    steps: Option<usize>,
    /// Passes over the training rows [default: 3]
    #[arg(long)]
    epochs: Option<f32>,
    /// Rows in a batch [default: 8]
    #[arg(long)]
    batch_size: Option<usize>,
    /// Batches added up to one step [default: 1]
    #[arg(long)]
    accumulation: Option<usize>,
    /// Peak learning rate [default: 1e-3]
    #[arg(long)]
    learning_rate: Option<f64>,
    /// constant, linear or cosine [default: cosine]
    #[arg(long)]
    schedule: Option<Schedule>,
    /// Steps of warm-up [default: 10]
    #[arg(long)]
    warmup_steps: Option<usize>,
    /// Decoupled weight decay [default: 0]
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Largest global norm of the gradient; 0 leaves it alone [default: 1]
    #[arg(long)]
    clip_norm: Option<f32>,
    /// Seed of every random draw [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Top blocks that keep their graphs: faster, more memory [default: 0]
    #[arg(long)]
    keep_graphs: Option<usize>,
    /// Steps between readings of the loss [default: 1]
    #[arg(long)]
    log_every: Option<usize>,
    /// Steps between validations [default: 50]
    #[arg(long)]
    eval_every: Option<usize>,
    /// Stop after this many validations without improvement; 0 never [default: 0]
    #[arg(long)]
    patience: Option<usize>,
    /// Steps between checkpoints [default: 50]
    #[arg(long)]
    checkpoint_every: Option<usize>,
    /// A prompt to continue at log-spaced steps; may be given more than once [default: two held-out rows']
    #[arg(long)]
    sample_prompt: Vec<String>,
}

/// Puts a flag's value into its field, if it was given.
fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

impl RunFlags {
    /// The configuration: the file, then the flags, checked.
    pub fn to_config(&self) -> Result<RunConfig, Problem> {
        let mut config = match &self.config {
            None => RunConfig::default(),
            Some(path) => {
                let text = String::from_utf8(open::read(path)?)
                    .map_err(|_| Problem::input("the configuration is not UTF-8").at(path.display().to_string()))?;
                RunConfig::from_toml(&text).map_err(|p| {
                    let at = format!("{} {}", path.display(), p.at);
                    p.at(at.trim())
                })?
            }
        };
        set(&mut config.model, self.model.clone());
        set(&mut config.device, self.device);
        self.data.clone().apply(&mut config);
        self.method.clone().apply(&mut config);
        self.ist.clone().apply(&mut config);
        self.train.clone().apply(&mut config);
        config.validate()?;
        Ok(config)
    }
}

impl DataFlags {
    /// Puts what was given into `config`.
    pub fn apply(self, config: &mut RunConfig) {
        let data = &mut config.data;
        if !self.data.is_empty() {
            data.files = self.data.iter().map(|p| p.display().to_string()).collect();
        }
        set(&mut data.format, self.format);
        set(&mut data.prompt_column, self.prompt_column);
        set(&mut data.completion_column, self.completion_column);
        set(&mut data.max_length, self.max_length);
        set(&mut data.validation_split, self.validation_split);
    }
}

impl MethodFlags {
    fn apply(self, config: &mut RunConfig) {
        let method = &mut config.method;
        set(&mut method.rank, self.rank);
        set(&mut method.alpha, self.alpha);
        set(&mut method.dropout, self.dropout);
        if !self.targets.is_empty() {
            method.targets = self.targets;
        }
    }
}

impl IstFlags {
    fn apply(self, config: &mut RunConfig) {
        let ist = &mut config.ist;
        if let Some(mode) = self.ist.filter(|m| *m != ist.mode) {
            *ist = IstConfig::preset(mode);
        }
        set(&mut ist.fraction, self.ist_fraction);
        set(&mut ist.interval, self.ist_interval);
        set(&mut ist.step_size, self.ist_step_size);
        set(&mut ist.batch_size, self.ist_batch_size);
        set(&mut ist.redraw_every, self.ist_redraw_every);
    }
}

impl TrainFlags {
    fn apply(self, config: &mut RunConfig) {
        let train = &mut config.train;
        if self.epochs.is_some() && self.steps.is_none() {
            train.steps = 0;
        }
        set(&mut train.steps, self.steps);
        set(&mut train.epochs, self.epochs);
        set(&mut train.batch_size, self.batch_size);
        set(&mut train.accumulation, self.accumulation);
        set(&mut train.learning_rate, self.learning_rate);
        set(&mut train.schedule, self.schedule);
        set(&mut train.warmup_steps, self.warmup_steps);
        set(&mut train.weight_decay, self.weight_decay);
        set(&mut train.clip_norm, self.clip_norm);
        set(&mut train.seed, self.seed);
        set(&mut train.keep_graphs, self.keep_graphs);
        set(&mut train.log_every, self.log_every);
        set(&mut train.eval_every, self.eval_every);
        set(&mut train.patience, self.patience);
        set(&mut train.checkpoint_every, self.checkpoint_every);
        if !self.sample_prompt.is_empty() {
            train.sample_prompts = self.sample_prompt;
        }
    }
}
