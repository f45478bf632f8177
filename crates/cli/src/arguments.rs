//! Flags that become a [`RunConfig`].

use std::path::PathBuf;

use clap::Args;
use stratune_protocol::{
    BaseDtype, ClassWeights, ComputeDtype, DeviceChoice, IstConfig, IstMode, ModelReport, Objective, OptimiserKind,
    Problem, Schedule,
};
use stratune_train::RunConfig;

use crate::chosen::{self, Chosen};
use crate::data_flags::DataFlags;
use crate::method_flags::MethodFlags;
use crate::{hub, open};

/// The flags of a run. A flag that is not given leaves what `--config` says, or the default.
#[derive(Args, Clone)]
pub struct RunFlags {
    /// A run's configuration as TOML, such as the run.toml of another run; flags override it.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The model: `starter`, a folder in Hugging Face form, a GGUF file, or the id of a model on the Hugging Face hub, owner/name[@revision][:file.gguf] [default: starter]
    #[arg(long)]
    pub model: Option<String>,
    /// What its frozen matrices are kept as: file (a GGUF's blocks in their own bits), f32, f16, int8 or int4 [default: file]
    #[arg(long, value_parser = choose::<BaseDtype>)]
    base_dtype: Option<BaseDtype>,
    /// What products multiply in: f32, or f16 or bf16 where the device has them [default: f32]
    #[arg(long, value_parser = choose::<ComputeDtype>)]
    pub compute_dtype: Option<ComputeDtype>,
    /// auto, cpu, wgpu, cuda or cuda:INDEX [default: auto]
    #[arg(long)]
    pub device: Option<DeviceChoice>,
    #[command(flatten)]
    pub data: DataFlags,
    /// Files to measure on and never to train on, instead of a share of the rows
    #[arg(long, num_args = 1.., value_name = "FILE", help_heading = "Data")]
    validation: Vec<PathBuf>,
    #[command(flatten)]
    method: MethodFlags,
    #[command(flatten)]
    ist: IstFlags,
    #[command(flatten)]
    train: TrainFlags,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Which layers train (IST)")]
struct IstFlags {
    /// all, scored, random, faithful, practical or cost-aware; `--ist` alone is practical [default: all]
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
    /// cost-aware: share of the whole backward pass that a step costs on average [default: 0.5]
    #[arg(long)]
    ist_depth: Option<f32>,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Training")]
struct TrainFlags {
    /// What is learned of a row: auto, next_token, classification or regression [default: auto]
    #[arg(long)]
    objective: Option<Objective>,
    /// classification: none, or balanced, so that each class counts the same [default: none]
    #[arg(long)]
    class_weights: Option<ClassWeights>,
    /// Optimiser steps; without it, as many as --epochs needs
    #[arg(long)]
    steps: Option<usize>,
    /// Passes over the training rows [default: 3]
    #[arg(long)]
    epochs: Option<f32>,
    /// Rows in a batch [default: 8]
    #[arg(long)]
    batch_size: Option<usize>,
    /// Gradient accumulation: batches to a step [default: 1]
    #[arg(long)]
    accumulation: Option<usize>,
    /// Whether short rows share a row of the batch [default: true]
    #[arg(long, value_name = "true|false")]
    packing: Option<bool>,
    /// adamw, or mezo, which needs no backward pass [default: adamw]
    #[arg(long, visible_alias = "optimizer")]
    optimiser: Option<OptimiserKind>,
    /// mezo: ε, how far either side of the parameters the loss is taken [default: 1e-3]
    #[arg(long)]
    perturbation: Option<f32>,
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
    /// Gradient clipping: the largest global norm; 0: not clipped [default: 1]
    #[arg(long)]
    clip_norm: Option<f32>,
    /// Seed of every random draw [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Top blocks without gradient checkpointing: faster, more memory [default: 0]
    #[arg(long)]
    keep_graphs: Option<usize>,
    /// MiB for graphs that are kept: as many top blocks as fit run without gradient checkpointing [default: 512]
    #[arg(long)]
    graph_memory: Option<usize>,
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
    /// Share of the time that validations and samples may take together; 1: as long as it takes [default: 0.1]
    #[arg(long)]
    evaluation_share: Option<f32>,
    /// A prompt to continue at log-spaced steps; may be given more than once [default: two held-out rows']
    #[arg(long)]
    sample_prompt: Vec<String>,
}

/// Reads a value whose error says what to use instead.
pub fn choose<T: std::str::FromStr<Err = Problem>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|problem: Problem| format!("{}; {}", problem.what, problem.next))
}

/// Puts a flag's value into its field, if it was given.
pub fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

impl RunFlags {
    /// The configuration: the file, then the flags, checked; what is on the hub is fetched, and named by its commit.
    pub async fn to_config(&self, json: bool) -> Result<RunConfig, Problem> {
        let (mut config, structure) = match &self.config {
            None => (RunConfig::default(), None),
            Some(path) => chosen::read_config(path)?,
        };
        set(&mut config.model, self.model.clone());
        config.model = hub::fetched(&config.model, json).await?;
        set(&mut config.base_dtype, self.base_dtype);
        set(&mut config.compute_dtype, self.compute_dtype);
        set(&mut config.device, self.device);
        self.data.clone().apply(&mut config);
        if !self.validation.is_empty() {
            config.data.validation_files = self.validation.iter().map(|p| p.display().to_string()).collect();
        }
        hub::fetch_data(&mut config.data, json).await?;
        let model = match (&self.method.method, &structure) {
            // Some combinations are made for the model's layers.
            (Some(_), _) | (_, Some(_)) => open::model_report(&config.model).await?,
            (None, None) => ModelReport::default(),
        };
        if let Some(path) = structure.filter(|_| self.method.method.is_none()) {
            config.method = chosen::read_structure(&path, &model)?;
        }
        if matches!(self.method.method, Some(Chosen::Structure(_))) {
            // What a search has found is trained, and not searched in again.
            config.search = None;
        }
        self.method.clone().apply(&mut config.method, &model)?;
        self.ist.clone().apply(&mut config);
        self.train.clone().apply(&mut config);
        config.validate()?;
        Ok(config)
    }

    /// With these methods, unless a flag or a file names some; and whether it takes them.
    pub fn or_methods(mut self, names: &str) -> Result<(Self, bool), Problem> {
        let takes = self.method.method.is_none() && self.config.is_none();
        if takes {
            self.method.method = Some(names.parse()?);
        }
        Ok((self, takes))
    }

    /// Whether the size of the methods is given, and their scale.
    pub fn gives(&self) -> (bool, bool) {
        (self.method.rank.is_some() || self.method.width.is_some(), self.method.alpha.is_some())
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
        set(&mut ist.depth, self.ist_depth);
    }
}

impl TrainFlags {
    fn apply(self, config: &mut RunConfig) {
        let train = &mut config.train;
        if self.epochs.is_some() && self.steps.is_none() {
            train.steps = 0;
        }
        set(&mut train.objective, self.objective);
        set(&mut train.class_weights, self.class_weights);
        set(&mut train.steps, self.steps);
        set(&mut train.epochs, self.epochs);
        set(&mut train.batch_size, self.batch_size);
        set(&mut train.accumulation, self.accumulation);
        set(&mut train.packing, self.packing);
        set(&mut train.optimiser, self.optimiser);
        set(&mut train.perturbation, self.perturbation);
        set(&mut train.learning_rate, self.learning_rate);
        set(&mut train.schedule, self.schedule);
        set(&mut train.warmup_steps, self.warmup_steps);
        set(&mut train.weight_decay, self.weight_decay);
        set(&mut train.clip_norm, self.clip_norm);
        set(&mut train.seed, self.seed);
        set(&mut train.keep_graphs, self.keep_graphs);
        set(&mut train.graph_memory, self.graph_memory);
        set(&mut train.log_every, self.log_every);
        set(&mut train.eval_every, self.eval_every);
        set(&mut train.patience, self.patience);
        set(&mut train.checkpoint_every, self.checkpoint_every);
        set(&mut train.evaluation_share, self.evaluation_share);
        if !self.sample_prompt.is_empty() {
            train.sample_prompts = self.sample_prompt;
        }
    }
}
