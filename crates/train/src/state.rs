//! The state of a run, and its way into a checkpoint and back.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use stratune_models::Model;
use stratune_peft::{FromData, StateMismatch, Values, adapter_values, restore_adapter, snapshot};
use stratune_protocol::{OptimiserKind, Problem, ProblemKind};
use stratune_runtime::{read_f32, unix_millis};
use stratune_store::{Checkpoint, HostTensor};

use crate::{AdamW, Hook, HookState, MezoStep, Perturbation, RunConfig, Saved};

/// Values of the trainable parameters by path, flattened, on the device.
pub type Flat = BTreeMap<String, Tensor<1>>;

/// What a run trains on: a checkpoint fits only the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Fingerprint of the model.
    pub model: String,
    /// Fingerprint of the tokenised rows.
    pub data: String,
}

impl Identity {
    /// Checks that a checkpoint of this fits a run on `ours`.
    ///
    /// # Errors
    /// It is of another model, or other data.
    pub fn is_of(&self, ours: &Self) -> Result<(), Problem> {
        for (what, theirs, ours) in [("model", &self.model, &ours.model), ("data", &self.data, &ours.data)] {
            if theirs != ours {
                return Err(Problem::input(format!("the checkpoint was made with another {what}"))
                    .at("checkpoint.safetensors")
                    .next(format!("use the {what} the run began with, or start anew in another folder")));
            }
        }
        Ok(())
    }
}

/// How far a run has come, besides the model and the optimiser.
#[derive(Clone, Debug, Default)]
pub struct TrainState {
    /// Steps done.
    pub step: usize,
    /// The lowest validation loss and its step.
    pub best: Option<(usize, f64)>,
    /// The parameters that had it.
    pub best_values: Option<Flat>,
    /// Validations since then.
    pub stale: usize,
    /// Whether a person did not wait for the validation that is due.
    pub validation_due: bool,
    /// MeZO's steps, which with the start are the parameters.
    pub mezo_steps: Vec<MezoStep>,
}

/// The part of a checkpoint that is not tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Everything the run depends on.
    pub config: RunConfig,
    /// What it trains on.
    pub identity: Identity,
    /// Steps done. The data cursor and every random draw follow from it and the configuration.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The lowest validation loss and its step.
    pub best: Option<(usize, f64)>,
    /// Validations since then.
    pub stale: usize,
    /// Whether a validation is due before the next step.
    #[serde(default, alias = "owes")]
    pub validation_due: bool,
    /// MeZO's steps.
    #[serde(default, alias = "moves")]
    pub mezo_steps: Vec<MezoStep>,
    /// Steps of each parameter so far.
    #[serde(alias = "times")]
    pub step_counts: BTreeMap<String, usize>,
    /// What the hooks remember, by their names.
    #[serde(default)]
    pub hooks: BTreeMap<String, serde_json::Value>,
    /// What earlier versions wrote of the one hook that they knew.
    #[serde(default, skip_serializing)]
    hook: serde_json::Value,
    /// When it was written: milliseconds since 1970.
    pub written: u64,
}

impl Record {
    /// The record of a checkpoint.
    ///
    /// # Errors
    /// It is not a run's checkpoint, or of another version.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, Problem> {
        serde_json::from_value(checkpoint.meta["run"].clone()).map_err(|e| {
            Problem::input(format!("the checkpoint's record cannot be read: {e}"))
                .at("checkpoint.safetensors")
                .next("resume with the version that wrote it, or start anew in another folder")
        })
    }
}

/// Whether the parameters follow from where methods start and MeZO's steps, so that they need not be written. They do
/// not where data have chosen the start.
fn replays(config: &RunConfig) -> bool {
    match config.train.optimiser {
        OptimiserKind::Adamw => false,
        OptimiserKind::Mezo => !config.method.iter().any(|m| m.kind.method().from_data != FromData::Nothing),
    }
}

/// Everything a run has come to, as a checkpoint.
pub(crate) async fn save(
    model: &mut Model,
    optimiser: &AdamW,
    state: &TrainState,
    hooks: &[Box<dyn Hook>],
    (config, identity, steps): (&RunConfig, &Identity, usize),
) -> Result<Checkpoint, Problem> {
    let (mut tensors, step_counts) = optimiser.save().await?;
    let mut remembered = BTreeMap::new();
    for hook in hooks {
        let HookState { numbers, tensors: own } = hook.save().await?;
        tensors.extend(own);
        remembered.insert(hook.name().to_string(), numbers);
    }
    let replayed = if replays(config) { snapshot(model) } else { Values::new() };
    let base = model.config.base_paths();
    for (path, (shape, value)) in
        adapter_values(model, &base).into_iter().filter(|(path, _)| !replayed.contains_key(path))
    {
        tensors.insert(format!("value/{path}"), HostTensor { shape, data: read_f32(value).await? });
    }
    for (path, value) in state.best_values.iter().flatten() {
        let data = read_f32(value.clone()).await?;
        tensors.insert(format!("best/{path}"), HostTensor { shape: vec![data.len()], data });
    }
    let record = Record {
        config: config.clone(),
        identity: identity.clone(),
        step: state.step,
        steps,
        best: state.best,
        stale: state.stale,
        validation_due: state.validation_due,
        mezo_steps: state.mezo_steps.clone(),
        step_counts,
        hooks: remembered,
        hook: serde_json::Value::Null,
        written: unix_millis(),
    };
    let run = serde_json::to_value(record)
        .map_err(|e| Problem::new(ProblemKind::Internal, format!("the run's record cannot be written: {e}")))?;
    Ok(Checkpoint { tensors, meta: serde_json::json!({ "run": run }) })
}

/// Takes all that back. `model` has its method attached already.
pub(crate) fn load(
    (checkpoint, record): (&Checkpoint, Record),
    model: &mut Model,
    optimiser: &mut AdamW,
    hooks: &mut [Box<dyn Hook>],
) -> Result<TrainState, Problem> {
    let device = model.device();
    model.check_indices(|path| checkpoint.tensors.get(&format!("value/{path}")).map(|host| host.data.as_slice()))?;
    let mut values = shaped(checkpoint, "value/", &device);
    let start = snapshot(model);
    // Checkpoints of earlier versions have the steps alone whatever the method.
    let moved = start.keys().any(|path| !values.contains_key(path)) && !record.mezo_steps.is_empty();
    if record.config.train.optimiser == OptimiserKind::Mezo {
        start.into_iter().for_each(|(path, value)| _ = values.entry(path).or_insert(value));
    }
    let base = model.config.base_paths();
    restore_adapter(model, &base, &values).map_err(|mismatch| {
        let path = match mismatch {
            StateMismatch::Missing(path) | StateMismatch::Unexpected(path) | StateMismatch::Shape(path, ..) => path,
        };
        Problem::input(format!("the checkpoint does not fit: {path} is missing, too many or of another size"))
            .at("checkpoint.safetensors")
            .next("use the model and the method the run began with")
    })?;
    for (step, of) in record.mezo_steps.iter().enumerate().filter(|_| moved) {
        Perturbation { seed: record.config.train.seed, step }.apply(model, of);
    }
    optimiser.load(model, &checkpoint.tensors, &record.step_counts, &device)?;
    for hook in hooks {
        let numbers = record.hooks.get(hook.name()).unwrap_or(&record.hook);
        hook.load(&Saved { numbers, tensors: &checkpoint.tensors, device: &device })?;
    }
    let flat = |values: Values| values.into_iter().map(|(path, (_, value))| (path, value)).collect();
    let best_values = record.best.is_some().then(|| flat(shaped(checkpoint, "best/", &device)));
    let Record { step, best, stale, validation_due, mezo_steps, .. } = record;
    Ok(TrainState { step, best, best_values, stale, validation_due, mezo_steps })
}

fn shaped(checkpoint: &Checkpoint, prefix: &str, device: &Device) -> Values {
    let mut values = Values::new();
    for (name, host) in &checkpoint.tensors {
        if let Some(path) = name.strip_prefix(prefix) {
            let data = TensorData::new(host.data.clone(), [host.data.len()]);
            values.insert(path.to_string(), (host.shape.clone(), Tensor::from_data(data, device)));
        }
    }
    values
}
