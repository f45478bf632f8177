//! From a configuration to a run.

use std::rc::Rc;

use stratune_data::Dataset;
use stratune_ist::{Ist, Lisa};
use stratune_protocol::{IstMode, Problem, RunConfig, SavedRun};
use stratune_store::Checkpoint;
use stratune_train::{Everything, Hook, Identity, Record, Trainer};

use crate::Base;

/// How many held-out prompts are continued while training when the configuration names none.
const DEFAULT_PROMPTS: usize = 2;

/// The prompts that a run continues while it trains.
pub fn prompts(config: &RunConfig, dataset: &Dataset) -> Vec<String> {
    match &config.train.sample_prompts[..] {
        [] => dataset.prompts.iter().take(DEFAULT_PROMPTS).cloned().collect(),
        named => named.to_vec(),
    }
}

/// A run of `config` on a model and its data: a copy of the model with the method attached (weights are shared, not
/// copied), at its first step or where `checkpoint` was written.
///
/// # Errors
/// The configuration is out of range, does not fit the model, or is not the checkpoint's; or the device computes wrongly at
/// the sizes of the run.
pub async fn trainer(
    config: RunConfig,
    base: &Base,
    dataset: Rc<Dataset>,
    checkpoint: Option<&Checkpoint>,
) -> Result<Trainer, Problem> {
    config.validate()?;
    if config.ist.mode.holds_out() && dataset.validation.is_empty() {
        return Err(Problem::input("this mode of IST measures on held-out rows and there are none")
            .at("data.validation_split")
            .next("give more rows or a larger validation_split, or use --ist=faithful"));
    }
    let longest = dataset.train.iter().chain(&dataset.validation).map(|row| row.tokens.len()).max().unwrap_or(0);
    let room = base.context().saturating_sub(config.method.taken_positions());
    if longest > room {
        let what = format!(
            "{} leaves {room} positions of the context to a row, and a row has {longest}",
            config.method.title()
        );
        return Err(Problem::input(what)
            .at("data.max_length")
            .next(format!("set max_length to {room}, or use a shorter length")));
    }
    let (batch_size, compute) = (config.train.batch_size, config.compute_dtype);
    let mut model = base.model.clone();
    model.attach(&config.method, config.train.seed).await?;
    if config.ist.mode != IstMode::All
        && let Some(layer) = model.layers.iter().position(|block| !block.trains(&model.shared))
    {
        return Err(Problem::input(format!("IST chooses among all layers, and no method enters layer {layer}"))
            .at("method.layers")
            .next("leave the layers out, or use --ist=all"));
    }
    let hook = hook_for(&config, model.layers.len());
    let identity = Identity { model: base.fingerprint.clone(), data: data_fingerprint(&dataset) };
    let mut trainer = Trainer::new(config, model, dataset, hook, identity)?;
    if let Some(checkpoint) = checkpoint {
        trainer.resume(checkpoint)?;
    }
    // What is not the device's fault is told before, for this takes a moment.
    base.test_device(batch_size, longest, compute).await?;
    Ok(trainer)
}

/// The hook that the configuration names.
pub fn hook_for(config: &RunConfig, layers: usize) -> Box<dyn Hook> {
    if let Some(lisa) = Lisa::of(&config.method, layers, config.train.seed) {
        return Box::new(lisa);
    }
    match config.ist.mode {
        IstMode::All => Box::new(Everything),
        _ => {
            let rows = config.train.batch_size * config.train.accumulation;
            Box::new(Ist::new(&config.ist, layers, rows, config.train.seed))
        }
    }
}

/// What tells these rows from others: the 64-bit FNV-1a hash over tokens and masks, in order.
pub fn data_fingerprint(dataset: &Dataset) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for rows in [&dataset.train, &dataset.validation] {
        for row in rows {
            row.tokens.iter().flat_map(|t| t.to_le_bytes()).for_each(&mut eat);
            row.learned.iter().for_each(|l| eat(u8::from(*l)));
            eat(0xff);
        }
        eat(0xfe);
    }
    format!("{hash:016x}")
}

/// What a checkpoint would go on with.
///
/// # Errors
/// It is no run's checkpoint.
pub fn saved_run(checkpoint: &Checkpoint) -> Result<SavedRun, Problem> {
    let record = Record::of(checkpoint)?;
    Ok(SavedRun {
        step: record.step,
        steps: record.steps,
        model: record.config.model.clone(),
        written: record.written,
        config: Box::new(record.config),
    })
}
