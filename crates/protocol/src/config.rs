//! The one configuration: TOML file, command-line flags, web form and the record in every checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Problem;

/// Everything a training run depends on. Equal configurations on equal data give equal runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// The model to tune: `starter`, or a folder in Hugging Face form.
    pub model: String,
    /// Where to compute.
    pub device: DeviceChoice,
    /// What to learn from.
    pub data: DataConfig,
    /// What is trained.
    pub method: MethodConfig,
    /// Which layers train at each step.
    pub ist: IstConfig,
    /// How it is trained.
    pub train: TrainConfig,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            model: "starter".into(),
            device: DeviceChoice::Auto,
            data: DataConfig::default(),
            method: MethodConfig::default(),
            ist: IstConfig::default(),
            train: TrainConfig::default(),
        }
    }
}

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// A hardware GPU that passes the self-test, else the CPU; the run says which and why.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU through wgpu (WebGPU in a browser), software adapters included.
    Wgpu,
    /// A CUDA card; needs a build with the `cuda` feature.
    Cuda(usize),
}

impl std::str::FromStr for DeviceChoice {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let bad = || Problem::input(format!("unknown device '{text}'")).next("use auto, cpu, wgpu, cuda or cuda:INDEX");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "wgpu" => Ok(Self::Wgpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|i| i.parse().ok()).map(Self::Cuda).ok_or_else(bad),
        }
    }
}

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
    /// CSV and TSV: the column that is learned. Empty: recognised by name.
    pub completion_column: String,
    /// Longest sequence in tokens; longer rows are cut, and counted.
    pub max_length: usize,
    /// Share of rows held out to measure the loss on rows never trained on.
    pub validation_split: f32,
    /// Plain text: share of the training rows in which earlier passages are said again, so that a model made from
    /// nothing learns to copy from its context.
    pub repeat: f32,
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
            repeat: 0.0,
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
    /// Plain text, all of it learned.
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

/// A linear layer of a block that a method can enter, named as in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Target {
    QProj,
    KProj,
    VProj,
    OProj,
    GateProj,
    UpProj,
    DownProj,
}

impl Target {
    /// All of them, in the order of the forward pass.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// The checkpoint's name for it, such as `q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }
}

impl std::str::FromStr for Target {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|t| t.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|t| t.name()).collect();
            Problem::input(format!("unknown target '{text}'")).next(format!("use any of {}", known.join(", ")))
        })
    }
}

/// What is trained: LoRA's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodConfig {
    /// Rank of the update, r.
    pub rank: usize,
    /// Scale of the update is alpha / rank.
    pub alpha: f32,
    /// Dropout on the input of the update while training.
    pub dropout: f32,
    /// The layers it enters.
    pub targets: Vec<Target>,
    /// Another rank or alpha for single targets, keyed by the target's name.
    pub overrides: BTreeMap<Target, TargetOverride>,
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, dropout: 0.0, targets: Target::ALL.to_vec(), overrides: BTreeMap::new() }
    }
}

impl MethodConfig {
    /// Rank and alpha at `target`.
    pub fn at(&self, target: Target) -> (usize, f32) {
        let over = self.overrides.get(&target);
        (over.and_then(|o| o.rank).unwrap_or(self.rank), over.and_then(|o| o.alpha).unwrap_or(self.alpha))
    }
}

/// Another rank or alpha at one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetOverride {
    /// Rank here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Alpha here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
}

/// Which layers train at each step: importance-aware sparse tuning (arXiv 2410.11772).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IstConfig {
    /// How layers are chosen.
    pub mode: IstMode,
    /// Share of the layers that train at a step.
    pub fraction: f32,
    /// Share of the layers that a candidate damps.
    pub damped_fraction: f32,
    /// Candidates at each importance update.
    pub candidates: usize,
    /// What a damped layer's update is multiplied by, β.
    pub damping: f32,
    /// Step size of the scores, μ.
    pub step_size: f32,
    /// Steps between importance updates, T.
    pub interval: usize,
    /// Rows in an importance batch.
    pub batch_size: usize,
    /// `practical` only: steps a drawn set of layers is kept.
    pub redraw_every: usize,
    /// `practical` only: scores stay within ± this, so that every layer keeps a chance.
    pub score_limit: f32,
    /// `practical` only: at most one layer of the lowest quarter trains at a step, which shortens the backward pass.
    pub floor: bool,
}

impl Default for IstConfig {
    fn default() -> Self {
        Self {
            mode: IstMode::All,
            fraction: 0.25,
            damped_fraction: 0.5,
            candidates: 3,
            damping: 0.25,
            step_size: 10.0,
            interval: 10,
            batch_size: 16,
            redraw_every: 1,
            score_limit: 4.0,
            floor: false,
        }
    }
}

impl IstConfig {
    /// How many of `layers` a share means: rounded down, as released, and at least one.
    pub fn blocks(share: f32, layers: usize) -> usize {
        // A third of nine is three, whatever f32 makes of a third.
        ((f64::from(share) * layers as f64 + 1e-6).floor() as usize).max(1)
    }

    /// The settings a mode starts from. `faithful` keeps the constants of the released algorithm; `practical` uses a
    /// step size that suits a normalised advantage.
    pub fn preset(mode: IstMode) -> Self {
        let base = Self { mode, ..Self::default() };
        match mode {
            IstMode::Practical => Self { step_size: 1.0, floor: true, ..base },
            IstMode::Faithful | IstMode::Random | IstMode::All => base,
        }
    }
}

/// How the layers of a step are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IstMode {
    /// Every layer at every step.
    #[default]
    All,
    /// Uniformly at random (RST).
    Random,
    /// By learned scores, as released: importance batch from the training rows, raw advantage, a draw at every step.
    Faithful,
    /// By learned scores: held-out importance batch, normalised advantage, bounded scores.
    Practical,
}

impl IstMode {
    /// Whether scores are learned.
    pub fn learns(self) -> bool {
        matches!(self, Self::Faithful | Self::Practical)
    }
}

impl std::str::FromStr for IstMode {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Ok(match text {
            "all" | "off" => Self::All,
            "random" => Self::Random,
            "faithful" => Self::Faithful,
            "practical" => Self::Practical,
            _ => {
                return Err(
                    Problem::input(format!("unknown IST mode '{text}'")).next("use all, random, faithful or practical")
                );
            }
        })
    }
}

/// How the learning rate moves over a run, after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls in a straight line to zero.
    Linear,
    /// Falls along half a cosine to zero.
    #[default]
    Cosine,
}

impl std::str::FromStr for Schedule {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Ok(match text {
            "constant" => Self::Constant,
            "linear" => Self::Linear,
            "cosine" => Self::Cosine,
            _ => {
                return Err(Problem::input(format!("unknown schedule '{text}'")).next("use constant, linear or cosine"));
            }
        })
    }
}

/// How it is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps. 0: as many as `epochs` needs.
    pub steps: usize,
    /// Passes over the training rows, used when `steps` is 0.
    pub epochs: f32,
    /// Rows in a batch.
    pub batch_size: usize,
    /// Batches added up to one step.
    pub accumulation: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the learning rate moves after the warm-up.
    pub schedule: Schedule,
    /// Steps over which the learning rate climbs to its peak.
    pub warmup_steps: usize,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f32,
    /// Largest global norm of the gradient; 0 leaves it alone.
    pub clip_norm: f32,
    /// Seed of every random draw.
    pub seed: u64,
    /// Keep the autodiff graphs of this many top blocks instead of running them twice: faster, and more memory.
    pub keep_graphs: usize,
    /// Steps between readings of the loss.
    pub log_every: usize,
    /// Steps between validations; 0 validates only at the end.
    pub eval_every: usize,
    /// Stop after this many validations without improvement; 0 never stops early.
    pub patience: usize,
    /// Steps between checkpoints; 0 writes one only at the end.
    pub checkpoint_every: usize,
    /// Prompts that the model continues at log-spaced steps, to be read while it trains.
    pub sample_prompts: Vec<String>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 0,
            epochs: 3.0,
            batch_size: 8,
            accumulation: 1,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            warmup_steps: 10,
            weight_decay: 0.0,
            clip_norm: 1.0,
            seed: 0,
            keep_graphs: 0,
            log_every: 1,
            eval_every: 50,
            patience: 0,
            checkpoint_every: 50,
            sample_prompts: Vec::new(),
        }
    }
}

impl RunConfig {
    /// Reads a TOML file's text. Unknown fields are errors that name the field.
    pub fn from_toml(text: &str) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|e| {
            Problem::input(format!("the configuration cannot be read: {}", e.message()))
                .at(e
                    .span()
                    .map(|s| format!("line {}", 1 + text[..s.start.min(text.len())].matches('\n').count()))
                    .unwrap_or_default())
                .next("compare with the reference in the README")
        })
    }

    /// The TOML text of this configuration.
    pub fn to_toml(&self) -> Result<String, Problem> {
        toml::to_string(self).map_err(|e| Problem::new(crate::ProblemKind::Internal, format!("cannot write TOML: {e}")))
    }

    /// The command line that repeats this run, in full.
    pub fn to_command(&self, out: &str) -> String {
        let quote = |s: &str| {
            if !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,".contains(c)) {
                s.to_string()
            } else {
                format!("'{}'", s.replace('\'', "'\\''"))
            }
        };
        let mut words = vec!["stratune train".to_string(), format!("--config {}", quote("run.toml"))];
        if !self.data.files.is_empty() {
            words.push(format!("--data {}", self.data.files.iter().map(|f| quote(f)).collect::<Vec<_>>().join(" ")));
        }
        words.push(format!("--out {}", quote(out)));
        words.join(" ")
    }

    /// Checks every field against its range.
    pub fn validate(&self) -> Result<(), Problem> {
        let t = &self.train;
        let m = &self.method;
        let i = &self.ist;
        let d = &self.data;
        let bad = |field: &str, what: String, next: &str| Err(Problem::input(what).at(field).next(next));
        if self.model.is_empty() {
            return bad("model", "no model is named".into(), "use `starter` or a folder");
        }
        for &target in &m.targets {
            let (rank, alpha) = m.at(target);
            if rank == 0 {
                return bad(
                    "method.rank",
                    format!("rank is 0 at {}", target.name()),
                    "use 1 or more, or drop the target",
                );
            }
            if !(alpha.is_finite() && alpha > 0.0) {
                return bad("method.alpha", format!("alpha is {alpha} at {}", target.name()), "use a positive number");
            }
        }
        if m.targets.is_empty() {
            return bad("method.targets", "no layer is named".into(), "name at least one, such as q_proj");
        }
        if let Some(extra) = m.overrides.keys().find(|k| !m.targets.contains(k)) {
            return bad(
                "method.overrides",
                format!("{} is not among the targets", extra.name()),
                "add it to targets or drop it",
            );
        }
        if !(0.0..1.0).contains(&m.dropout) {
            return bad("method.dropout", format!("dropout is {}", m.dropout), "use 0 or more and less than 1");
        }
        if !(t.learning_rate.is_finite() && t.learning_rate > 0.0) {
            return bad(
                "train.learning_rate",
                format!("learning rate is {}", t.learning_rate),
                "use a positive number, such as 1e-3",
            );
        }
        if t.batch_size == 0 {
            return bad("train.batch_size", "batch size is 0".into(), "use 1 or more");
        }
        if t.accumulation == 0 {
            return bad("train.accumulation", "accumulation is 0".into(), "use 1 or more");
        }
        if t.steps == 0 && !(t.epochs.is_finite() && t.epochs > 0.0) {
            return bad(
                "train.epochs",
                format!("steps is 0 and epochs is {}", t.epochs),
                "give steps or a positive number of epochs",
            );
        }
        if !(t.weight_decay.is_finite() && t.weight_decay >= 0.0) {
            return bad("train.weight_decay", format!("weight decay is {}", t.weight_decay), "use 0 or more");
        }
        if !(t.clip_norm.is_finite() && t.clip_norm >= 0.0) {
            return bad("train.clip_norm", format!("clip norm is {}", t.clip_norm), "use 0 or more");
        }
        if t.log_every == 0 {
            return bad("train.log_every", "log_every is 0".into(), "use 1 or more");
        }
        if d.max_length < 8 {
            return bad("data.max_length", format!("max_length is {}", d.max_length), "use 8 or more");
        }
        if !(0.0..0.9).contains(&d.validation_split) {
            return bad(
                "data.validation_split",
                format!("validation_split is {}", d.validation_split),
                "use 0 or more and less than 0.9",
            );
        }
        if !(0.0..=1.0).contains(&d.repeat) {
            return bad("data.repeat", format!("repeat is {}", d.repeat), "use 0 to 1");
        }
        if t.patience > 0 && d.validation_split == 0.0 {
            return bad(
                "train.patience",
                "early stopping needs held-out rows".into(),
                "set data.validation_split above 0",
            );
        }
        if !(i.fraction > 0.0 && i.fraction <= 1.0) {
            return bad("ist.fraction", format!("fraction is {}", i.fraction), "use more than 0 and at most 1");
        }
        if i.mode.learns() {
            if !(i.damped_fraction > 0.0 && i.damped_fraction < 1.0) {
                return bad(
                    "ist.damped_fraction",
                    format!("damped_fraction is {}", i.damped_fraction),
                    "use more than 0 and less than 1",
                );
            }
            if i.candidates < 2 {
                return bad(
                    "ist.candidates",
                    format!("candidates is {}", i.candidates),
                    "use 2 or more: one has nothing to be compared with",
                );
            }
            if !(0.0..=1.0).contains(&i.damping) {
                return bad("ist.damping", format!("damping is {}", i.damping), "use 0 to 1");
            }
            if !(i.step_size.is_finite() && i.step_size >= 0.0) {
                return bad("ist.step_size", format!("step_size is {}", i.step_size), "use 0 or more");
            }
            if i.interval == 0 || i.batch_size == 0 || i.redraw_every == 0 {
                return bad("ist", "interval, batch_size and redraw_every must be 1 or more".into(), "use 1 or more");
            }
            if !(i.score_limit.is_finite() && i.score_limit > 0.0) {
                return bad("ist.score_limit", format!("score_limit is {}", i.score_limit), "use a positive number");
            }
            if i.mode == IstMode::Practical && d.validation_split == 0.0 {
                return bad(
                    "ist.mode",
                    "practical IST measures on held-out rows".into(),
                    "set data.validation_split above 0, or use faithful",
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn toml_round_trip() {
        let mut config = RunConfig::default();
        config.method.overrides.insert(Target::QProj, TargetOverride { rank: Some(2), alpha: None });
        config.ist = IstConfig::preset(IstMode::Practical);
        config.device = DeviceChoice::Cuda(1);
        let text = config.to_toml().unwrap();
        assert_eq!(RunConfig::from_toml(&text).unwrap(), config, "{text}");
    }

    #[test]
    fn an_unknown_field_is_named() {
        let problem = RunConfig::from_toml("[train]\nlerning_rate = 1.0\n").unwrap_err();
        assert!(problem.what.contains("lerning_rate"), "{problem:?}");
        assert_eq!(problem.at, "line 2");
    }

    #[test]
    fn bad_values_name_their_field() {
        type Spoil = fn(&mut RunConfig);
        let cases: [(&str, Spoil); 13] = [
            ("method.rank", |c| c.method.rank = 0),
            ("method.alpha", |c| c.method.alpha = f32::NAN),
            ("method.targets", |c| c.method.targets.clear()),
            ("method.dropout", |c| c.method.dropout = 1.0),
            ("train.learning_rate", |c| c.train.learning_rate = 0.0),
            ("train.learning_rate", |c| c.train.learning_rate = -1.0),
            ("train.batch_size", |c| c.train.batch_size = 0),
            ("train.epochs", |c| c.train.epochs = 0.0),
            ("data.max_length", |c| c.data.max_length = 1),
            ("data.validation_split", |c| c.data.validation_split = 1.0),
            ("data.repeat", |c| c.data.repeat = 1.5),
            ("ist.fraction", |c| c.ist.fraction = 0.0),
            ("ist.candidates", |c| {
                c.ist = IstConfig { mode: IstMode::Faithful, candidates: 1, ..IstConfig::default() }
            }),
        ];
        for (field, spoil) in cases {
            let mut config = RunConfig::default();
            spoil(&mut config);
            let problem = config.validate().unwrap_err();
            assert_eq!(problem.at, field);
            assert_eq!(problem.kind.exit_code(), 2);
            assert!(!problem.next.is_empty());
        }
        RunConfig::default().validate().unwrap();
    }
}
