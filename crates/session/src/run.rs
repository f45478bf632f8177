//! From a configuration to a run.

use std::rc::Rc;

use stratune_data::{Dataset, Label, LabelKind, Sequence, Target};
use stratune_ist::{Ist, Lisa};
use stratune_protocol::{IstMode, Problem};
use stratune_search::{Found, Search, in_blocks};
use stratune_store::Checkpoint;
use stratune_train::{Hook, Identity, ProgressReporter, Record, RunConfig, SavedRun, Trainer};

use crate::labels::for_dataset;
use crate::{Base, step_time};

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
    watched_trainer(config, base, dataset, checkpoint, &ProgressReporter::silent()).await
}

/// The same; what takes long in it is told to `watch`, and ends when a person does not wait for it.
///
/// # Errors
/// Those of [`trainer`], and that it was stopped.
pub async fn watched_trainer(
    config: RunConfig,
    base: &Base,
    dataset: Rc<Dataset>,
    checkpoint: Option<&Checkpoint>,
    watch: &ProgressReporter<'_>,
) -> Result<Trainer, Problem> {
    if config.search.is_some() {
        return Err(Problem::input("the configuration asks for a search, and this would train all that it is among")
            .at("search")
            .next("run `stratune search`, or leave [search] out"));
    }
    with_search(config, base, dataset, checkpoint, watch, None).await
}

/// The search that a configuration asks for, as a run of all modules together, and where what it finds is told.
///
/// # Errors
/// Those of [`trainer`], and that it cannot search on this model.
pub async fn watched_search(
    config: RunConfig,
    base: &Base,
    dataset: Rc<Dataset>,
    checkpoint: Option<&Checkpoint>,
    watch: &ProgressReporter<'_>,
) -> Result<(Trainer, Found), Problem> {
    let report = base.report();
    let config = in_blocks(config, &report);
    config.validate()?;
    let dataset = set_apart(dataset, &config)?;
    let config = step_time::with_step_time(config, base, &dataset, watch).await?;
    let search = Search::new(&config, &report)?;
    let found = search.found();
    Ok((with_search(config, base, dataset, checkpoint, watch, Some(Box::new(search))).await?, found))
}

async fn with_search(
    config: RunConfig,
    base: &Base,
    dataset: Rc<Dataset>,
    checkpoint: Option<&Checkpoint>,
    watch: &ProgressReporter<'_>,
    search: Option<Box<dyn Hook>>,
) -> Result<Trainer, Problem> {
    config.validate()?;
    if base.model.config.image.is_some() && config.method.virtual_tokens() > 0 {
        let what = format!("{} adds positions, and a model of images has one for each patch", config.method.title());
        return Err(Problem::input(what).at("method").next("use a method that adds none, such as lora"));
    }
    let dataset = set_apart(dataset, &config)?;
    let rows = dataset.train.iter().chain(&dataset.validation).chain(&dataset.importance);
    let longest = rows.map(Sequence::width).max().unwrap_or(0);
    let room = base.context().saturating_sub(config.method.virtual_tokens());
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
    let (mut model, objective) = for_dataset(&base.model, &dataset, &config)?;
    if config.method.is_empty() && dataset.labels.is_none() {
        return Err(Problem::input("no method is named, and there is no classifier that could train alone")
            .at("method")
            .next("name one, such as lora"));
    }
    let what = match config.method.iter().any(|method| method.kind.method().few_bits) {
        true => format!("quantizing the model's matrices and attaching {}", config.method.title()),
        false => format!("attaching {}", config.method.title()),
    };
    watch.during(&what, model.attach(&config.method, config.train.seed)).await?;
    model.train_classifier();
    if config.ist.mode != IstMode::All && !model.layers.iter().any(|block| block.trains(&model.shared)) {
        return Err(Problem::input("IST chooses among the layers that a method enters, and none enters any")
            .at("method")
            .next("add a method, or use --ist=all"));
    }
    let hooks = hooks_for(&config, model.layers.len()).into_iter().chain(search).collect();
    let identity = Identity { model: base.fingerprint.clone(), data: data_fingerprint(&dataset) };
    let mut trainer = Trainer::new(config, model, dataset, hooks, identity)?.with_objective(objective);
    if let Some(checkpoint) = checkpoint {
        trainer.resume(checkpoint)?;
    }
    // What is not the device's fault is told before, for this takes a moment.
    watch.during("testing the device at the sizes of the run", base.test_device(batch_size, longest, compute)).await?;
    Ok(trainer)
}

/// The data set with rows set apart for IST, if its mode learns on such, or for a search.
///
/// # Errors
/// There is no row to spare.
pub fn set_apart(mut dataset: Rc<Dataset>, config: &RunConfig) -> Result<Rc<Dataset>, Problem> {
    let rows = dataset.train.len();
    let count = config.rows_apart(rows);
    if count > 0 && dataset.importance.is_empty() {
        Rc::make_mut(&mut dataset).set_apart(count, config.train.seed);
    }
    if config.search.is_some() && (dataset.importance.is_empty() || dataset.train.is_empty()) {
        let what = format!("a search splits the rows that train in two, and of {rows} none would be left");
        return Err(Problem::input(what).at("search.share").next("give more rows, or another share"));
    }
    if config.ist.mode.sets_apart() && dataset.importance.is_empty() {
        return Err(Problem::input("this mode of IST sets training rows apart and there is only one")
            .at("ist.mode")
            .next("give more rows, or use --ist=faithful"));
    }
    Ok(dataset)
}

/// The hooks that choose blocks as the configuration says; those of its methods are the trainer's own.
pub fn hooks_for(config: &RunConfig, layers: usize) -> Vec<Box<dyn Hook>> {
    let seed = config.train.seed;
    let lisa = Lisa::of(&config.method, layers, seed).map(|hook| Box::new(hook) as Box<dyn Hook>);
    let ist = (config.ist.mode != IstMode::All).then(|| {
        let rows = config.train.batch_size * config.train.accumulation;
        Box::new(Ist::new(&config.ist, layers, rows, seed)) as Box<dyn Hook>
    });
    lisa.into_iter().chain(ist).collect()
}

/// What tells these rows from others: the 64-bit FNV-1a hash over tokens and masks, in order.
pub fn data_fingerprint(dataset: &Dataset) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    if let Some(LabelKind::Classes(names)) = &dataset.labels {
        names.iter().for_each(|name| name.bytes().chain([0xfd]).for_each(&mut eat));
    }
    let apart = Some(&dataset.importance).filter(|rows| !rows.is_empty());
    for rows in [&dataset.train, &dataset.validation].into_iter().chain(apart) {
        for row in rows {
            row.tokens.iter().flat_map(|t| t.to_le_bytes()).for_each(&mut eat);
            row.loss_mask.iter().for_each(|l| eat(u8::from(*l)));
            row.source.iter().flat_map(|t| t.to_le_bytes()).for_each(&mut eat);
            row.type_ids.iter().for_each(|id| eat(*id as u8));
            row.patches.iter().flat_map(|patches| patches.values.iter()).for_each(|value| eat(*value));
            if let Some(Label { at, target }) = row.label {
                eat(at as u8);
                let value = match target {
                    Target::Class(class) => class.to_le_bytes(),
                    Target::Value(value) => value.to_le_bytes(),
                };
                value.into_iter().for_each(&mut eat);
            }
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
