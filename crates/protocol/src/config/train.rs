//! How it is trained.

use serde::{Deserialize, Serialize};

use crate::{ClassWeights, Objective, Problem};

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

/// How gradients become steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimiserKind {
    /// AdamW, on the gradient of the backward pass.
    #[default]
    Adamw,
    /// MeZO: no backward pass; two losses, on either side along a random direction, say how far to go.
    Mezo,
}

impl std::str::FromStr for OptimiserKind {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Ok(match text {
            "adamw" => Self::Adamw,
            "mezo" => Self::Mezo,
            _ => return Err(Problem::input(format!("unknown optimiser '{text}'")).next("use adamw or mezo")),
        })
    }
}

/// How it is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// What is learned of a row: the next token, or its label.
    pub objective: Objective,
    /// Of classification: how much each class counts in the loss.
    pub class_weights: ClassWeights,
    /// Optimiser steps. 0: as many as `epochs` needs.
    pub steps: usize,
    /// Passes over the training rows, used when `steps` is 0.
    pub epochs: f32,
    /// Rows in a batch.
    pub batch_size: usize,
    /// Gradient accumulation: batches to a step.
    pub accumulation: usize,
    /// Short rows share a row of the batch, without seeing each other: less padding, and the same numbers up to rounding.
    /// With a prefix or a prompt each has its own.
    pub packing: bool,
    /// How gradients become steps.
    #[serde(alias = "optimizer")]
    pub optimiser: OptimiserKind,
    /// `mezo` only: how far either side is, ε.
    pub perturbation: f32,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the learning rate moves after the warm-up.
    pub schedule: Schedule,
    /// Steps over which the learning rate climbs to its peak.
    pub warmup_steps: usize,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f32,
    /// Gradient clipping: the largest global norm; 0: not clipped.
    pub clip_norm: f32,
    /// Seed of every random draw.
    pub seed: u64,
    /// Run this many top blocks without gradient checkpointing, keeping their graphs: faster, and more memory.
    pub keep_graphs: usize,
    /// MiB for graphs that are kept: as many top blocks as fit run without gradient checkpointing, and no fewer than
    /// `keep_graphs`.
    pub graph_memory: usize,
    /// Steps between readings of the loss, at most 8.
    pub log_every: usize,
    /// Steps between validations; 0 validates only at the end.
    pub eval_every: usize,
    /// Stop after this many validations without improvement; 0 never stops early.
    pub patience: usize,
    /// Steps between checkpoints; 0 writes one only at the end.
    pub checkpoint_every: usize,
    /// Share of a run's time that validations and samples may take together: fewer rows are measured, and samples are shorter,
    /// where it would be more. 1: as long as it takes.
    pub evaluation_share: f32,
    /// Prompts that the model continues at log-spaced steps, to be read while it trains.
    pub sample_prompts: Vec<String>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            objective: Objective::Auto,
            class_weights: ClassWeights::None,
            steps: 0,
            epochs: 3.0,
            batch_size: 8,
            accumulation: 1,
            packing: true,
            optimiser: OptimiserKind::Adamw,
            perturbation: 1e-3,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            warmup_steps: 10,
            weight_decay: 0.0,
            clip_norm: 1.0,
            seed: 0,
            keep_graphs: 0,
            graph_memory: 512,
            log_every: 1,
            eval_every: 50,
            patience: 0,
            checkpoint_every: 50,
            evaluation_share: 0.1,
            sample_prompts: Vec::new(),
        }
    }
}

impl TrainConfig {
    /// Checks every field against its range; `held_out` says whether there are rows to measure on.
    ///
    /// # Errors
    /// Names the first that is out of range.
    pub fn check(&self, held_out: bool) -> Result<(), Problem> {
        let bad = |field: &str, what: String, next: &str| Err(Problem::input(what).at(field).next(next));
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad(
                "train.learning_rate",
                format!("learning rate is {}", self.learning_rate),
                "use a positive number, such as 1e-3",
            );
        }
        if !(self.perturbation.is_finite() && self.perturbation > 0.0) {
            return bad(
                "train.perturbation",
                format!("perturbation is {}", self.perturbation),
                "use a positive number",
            );
        }
        if self.class_weights != ClassWeights::None
            && matches!(self.objective, Objective::NextToken | Objective::Regression)
        {
            return bad(
                "train.class_weights",
                "class weights are for classification, and the objective is another".into(),
                "use none, or the objective classification",
            );
        }
        for (field, what, value) in [
            ("train.batch_size", "batch size", self.batch_size),
            ("train.accumulation", "accumulation", self.accumulation),
            ("train.log_every", "log_every", self.log_every),
        ] {
            if value == 0 {
                return bad(field, format!("{what} is 0"), "use 1 or more");
            }
        }
        if self.steps == 0 && !(self.epochs.is_finite() && self.epochs > 0.0) {
            return bad(
                "train.epochs",
                format!("steps is 0 and epochs is {}", self.epochs),
                "give steps or a positive number of epochs",
            );
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return bad("train.weight_decay", format!("weight decay is {}", self.weight_decay), "use 0 or more");
        }
        if !(self.clip_norm.is_finite() && self.clip_norm >= 0.0) {
            return bad("train.clip_norm", format!("clip norm is {}", self.clip_norm), "use 0 or more");
        }
        if !(self.evaluation_share > 0.0 && self.evaluation_share <= 1.0) {
            return bad(
                "train.evaluation_share",
                format!("evaluation_share is {}", self.evaluation_share),
                "use more than 0 and at most 1",
            );
        }
        if self.patience > 0 && !held_out {
            return bad(
                "train.patience",
                "early stopping needs held-out rows".into(),
                "set data.validation_split above 0",
            );
        }
        Ok(())
    }
}
