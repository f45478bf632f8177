//! Flags that become a [`RunConfig`].

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stratune_peft::{Methods, Projection};
use stratune_protocol::{
    BaseDtype, ClassWeights, ComputeDtype, DeviceChoice, IstConfig, IstMode, ModelReport, Objective, OptimiserKind,
    Problem, Schedule, Targets,
};
use stratune_train::RunConfig;

use crate::chosen::{self, Chosen};
use crate::data_flags::DataFlags;
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

/// What is trained. A setting goes to every method that has it.
#[derive(Args, Clone)]
#[command(next_help_heading = "Method (`stratune methods` lists them with their settings)")]
pub struct MethodFlags {
    /// A method, a combination such as mam, several with commas between, none (a classifier alone), or a structure's file
    /// [default: lora]
    #[arg(long, value_parser = choose::<Chosen>)]
    method: Option<Chosen>,
    /// The settings that other flags start from: usual, or paper for those of the method's paper [default: usual]
    #[arg(long, value_enum, requires = "method")]
    preset: Option<Settings>,
    /// Blocks it enters, from 0, such as 0,1,2 [default: all]
    #[arg(long, value_delimiter = ',')]
    layers: Vec<usize>,
    /// Linear layers it enters: names (q_proj,v_proj), roles (query), parts (attention, mlp), all-linear, or a regular
    /// expression for whole paths [default: all-linear; ia3: key,value,down]
    #[arg(long, value_parser = choose::<Targets>)]
    targets: Option<Targets>,
    /// Rank of the update; galore: of the gradient [default: 8; vera 64, hiwi 16]
    #[arg(long)]
    rank: Option<usize>,
    /// Scale of the update is alpha / rank [default: 16; lokr 8]
    #[arg(long)]
    alpha: Option<f32>,
    /// Dropout on the update's input [default: 0]
    #[arg(long)]
    dropout: Option<f32>,
    /// lora_plus: B's learning rate is this many times A's [default: 16]
    #[arg(long)]
    ratio: Option<f64>,
    /// Adapters: width of the bottleneck [default: 16; sparse_adapter 64]; prefix: of the reparametrising layer [default: none]
    #[arg(long)]
    width: Option<usize>,
    /// parallel: what the adapter's output is multiplied by; galore: the step [default: 4; galore 0.25]
    #[arg(long)]
    scale: Option<f32>,
    /// prefix, prompt: virtual tokens before the text [default: 10; prompt 20]
    #[arg(long)]
    length: Option<usize>,
    /// pafi, random_mask, fish, lt_sft, diff_pruning, sparse_adapter: share of each matrix that trains [default: 0.005;
    /// sparse_adapter 0.2]; child_tuning: share of the gradient that a step keeps [default: 0.3]
    #[arg(long)]
    share: Option<f32>,
    /// did, said: numbers that steer all weights [default: 1000]
    #[arg(long)]
    dimension: Option<usize>,
    /// did, said: dense, sparse or fastfood [default: fastfood]
    #[arg(long, value_parser = choose::<Projection>)]
    projection: Option<Projection>,
    /// adalora: rank that training starts with [default: 12]
    #[arg(long)]
    initial_rank: Option<usize>,
    /// adalora: weight of the directions' penalty [default: 0.1]; diff_pruning: of the switches' [default: 0.01]
    #[arg(long)]
    penalty: Option<f32>,
    /// fish, lt_sft, sparse_adapter: rows that are looked at to choose what trains; lt_sft with 0: as many batches as the run has
    /// [default: 128]
    #[arg(long)]
    samples: Option<usize>,
    /// Steps between changes: of adalora's ranks [default: 10], lisa's layers [default: 20], galore's directions [default: 200]
    #[arg(long)]
    interval: Option<usize>,
    /// lisa: layers that train at a time [default: 2]
    #[arg(long)]
    blocks: Option<usize>,
    /// qlora, loftq: bits of a base weight, 4 or 8 [default: 4]
    #[arg(long)]
    bits: Option<usize>,
    /// ladder: how many times narrower than the model [default: 4]
    #[arg(long)]
    reduction: Option<usize>,
    /// lora, prefix, pfeiffer: a learned gate decides for each token how much is added
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    gated: Option<bool>,
}

/// Where the settings of a method start.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Settings {
    Usual,
    Paper,
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
}

impl RunFlags {
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

impl MethodFlags {
    /// Puts what was given into `methods`.
    ///
    /// # Errors
    /// A setting was given that none of the methods has.
    pub fn apply(self, methods: &mut Methods, model: &ModelReport) -> Result<(), Problem> {
        let (mut structure, papers) = (None, self.preset == Some(Settings::Paper));
        match self.method {
            None => {}
            Some(Chosen::Structure(path)) => {
                *methods = chosen::read_structure(&path, model)?;
                structure = Some(path);
            }
            Some(Chosen::Names(names)) => {
                let chosen = if papers { names.methods_of_papers(model) } else { names.methods(model) };
                // The same methods again keep the settings of the file, unless these are asked for.
                if self.preset.is_some() || !chosen.iter().map(|m| m.kind).eq(methods.iter().map(|m| m.kind)) {
                    *methods = chosen;
                }
            }
        }
        let sized = [
            ("--layers", !self.layers.is_empty()),
            ("--targets", self.targets.is_some()),
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--width", self.width.is_some()),
            ("--length", self.length.is_some()),
            ("--preset", self.preset.is_some()),
        ];
        chosen::says_sizes(structure.as_deref(), &sized)?;
        if !self.layers.is_empty() {
            methods.iter_mut().for_each(|method| method.layers.clone_from(&self.layers));
        }
        for (reached, flag) in [
            (methods.set(self.targets, |m| &mut m.targets), "--targets"),
            (methods.set(self.rank, |m| &mut m.rank), "--rank"),
            (methods.set(self.alpha, |m| &mut m.alpha), "--alpha"),
            (methods.set(self.dropout, |m| &mut m.dropout), "--dropout"),
            (methods.set(self.ratio, |m| &mut m.ratio), "--ratio"),
            (methods.set(self.width, |m| &mut m.width), "--width"),
            (methods.set(self.scale, |m| &mut m.scale), "--scale"),
            (methods.set(self.length, |m| &mut m.length), "--length"),
            (methods.set(self.share, |m| &mut m.share), "--share"),
            (methods.set(self.dimension, |m| &mut m.dimension), "--dimension"),
            (methods.set(self.projection, |m| &mut m.projection), "--projection"),
            (methods.set(self.initial_rank, |m| &mut m.initial_rank), "--initial-rank"),
            (methods.set(self.penalty, |m| &mut m.penalty), "--penalty"),
            (methods.set(self.samples, |m| &mut m.samples), "--samples"),
            (methods.set(self.interval, |m| &mut m.interval), "--interval"),
            (methods.set(self.blocks, |m| &mut m.blocks), "--blocks"),
            (methods.set(self.bits, |m| &mut m.bits), "--bits"),
            (methods.set(self.reduction, |m| &mut m.reduction), "--reduction"),
            (methods.set(self.gated, |m| &mut m.gated), "--gated"),
        ] {
            if !reached && methods.is_empty() {
                let what = "no method trains, so that there is nothing to set";
                return Err(Problem::input(what).at(flag).next("leave it out, or name a method"));
            }
            if !reached {
                let what = format!("{} has no such setting", methods.title());
                return Err(Problem::input(what).at(flag).next("leave it out; `stratune methods` lists the settings"));
            }
        }
        Ok(())
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
