//! The checks of runs: that a method learns, resumes to the same numbers, and obeys IST.

use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::Sequence;
use stratune_models::Model;
use stratune_peft::{MethodKind, Methods, adapter_values, snapshot};
use stratune_protocol::{IstConfig, IstMode, OptimiserKind, Role};
use stratune_session::hooks_for;
use stratune_tests::runs::{RecordingCallback, counting};
use stratune_train::{Batching, Classification, Identity, NextToken, Objective, RunConfig, Trainer, evaluate};

use super::models::{LAYERS, base_of, fresh, in_place, moved, read};

/// What runs minimise: at the tokens of counting rows, and of images at their classes.
fn of_runs(model: &Model) -> Rc<dyn Objective> {
    if model.config.image.is_some() { Rc::new(Classification::default()) } else { Rc::new(NextToken) }
}

pub async fn learns(name: &str, methods: &Methods, device: &Device) {
    let mut config = RunConfig { method: methods.clone(), ..RunConfig::default() };
    config.train.steps = 40;
    config.train.learning_rate = 0.02;
    config.train.eval_every = 0;
    let dataset = Rc::new(counting(40, 12));
    let model = fresh(methods, device).await;
    let rows: Vec<&Sequence> = dataset.train.iter().collect();
    let before = evaluate(&NextToken, &model, &rows, Batching::packed(8), None).await.expect("a loss").loss;
    let mut trainer = Trainer::new(config, model, dataset.clone(), Vec::new(), Identity::default()).expect("a run");
    RecordingCallback::default().watch(&mut trainer).await.expect("a run to its end");
    let after = evaluate(&NextToken, &trainer.model, &rows, Batching::packed(8), None).await.expect("a loss").loss;
    assert!(after < before - 5e-4, "{name}: from {before} to {after}");
}

/// Stopped before its first step, after its third or its fifth, and resumed: bit for bit the run that was not, with all that a method
/// keeps beside its parameters (what data have chosen, AdaLoRA's budget, GaLore's directions).
pub async fn resumed_is_uninterrupted(name: &str, methods: &Methods, optimiser: OptimiserKind, device: &Device) {
    let mut config = RunConfig { method: methods.clone(), ..RunConfig::default() };
    config.train.steps = 7;
    config.train.eval_every = 0;
    config.train.optimiser = optimiser;
    match optimiser {
        OptimiserKind::Adamw => config.train.weight_decay = 0.01,
        OptimiserKind::Mezo => config.train.perturbation = 1e-2,
    }
    if let Err(problem) = config.validate() {
        assert!(optimiser == OptimiserKind::Mezo && problem.at == "train.optimiser", "{name}: {problem}");
        return;
    }
    let dataset = Rc::new(counting(40, 0));
    let new = async || {
        let model = fresh(methods, device).await;
        let hooks = hooks_for(&config, LAYERS);
        let objective = of_runs(&model);
        let trainer = Trainer::new(config.clone(), model, dataset.clone(), hooks, Identity::default());
        trainer.expect("a run").with_objective(objective)
    };
    let of = async |trainer: &mut Trainer| {
        let base = trainer.model.config.base_paths();
        read(adapter_values(&mut trainer.model, &base)).await
    };
    let mut whole = new().await;
    RecordingCallback::default().watch(&mut whole).await.expect("a run to its end");
    for stop in [1, 3, 5] {
        let mut first = RecordingCallback { stop_after: Some(stop), ..RecordingCallback::default() };
        first.watch(&mut new().await).await.expect("a run until it is stopped");
        let mut again = new().await;
        again.resume(first.last()).unwrap_or_else(|p| panic!("{name}: {p}"));
        assert_eq!(again.progress(), (stop, 7), "{name}");
        RecordingCallback::default().watch(&mut again).await.expect("a run to its end");
        let same = of(&mut again).await == of(&mut whole).await;
        assert!(same, "{name} with {optimiser:?}: stopped after {stop}, it is another run");
    }
}

/// Under IST only the drawn blocks move; a block damped to nothing says what the base says. A method without numbers of
/// each block's own is refused.
pub async fn obeys_ist(name: &str, methods: &Methods, device: &Device) {
    let mut config = RunConfig { method: methods.clone(), ..RunConfig::default() };
    config.ist = IstConfig::preset(if in_place(methods) { IstMode::Random } else { IstMode::Faithful });
    config.ist.interval = 2;
    if methods.iter().any(|m| !m.kind.method().per_layer) {
        assert_eq!(config.validate().expect_err("no blocks to choose among").at, "ist.mode", "{name}");
        return;
    }
    config.validate().unwrap_or_else(|p| panic!("{name}: {p}"));
    let model = fresh(methods, device).await;
    let dataset = Rc::new(counting(40, 12));
    let hooks = hooks_for(&config, LAYERS);
    config.train.steps = 4;
    let objective = of_runs(&model);
    let trainer = Trainer::new(config.clone(), model, dataset.clone(), hooks, Identity::default()).expect("a run");
    let mut trainer = trainer.with_objective(objective);
    trainer.prepare(&mut RecordingCallback::default()).await.expect("a choice");
    let mut before = read(snapshot(&mut trainer.model)).await;
    for step in 0..4 {
        let mut recording = RecordingCallback::default();
        trainer.advance(&mut recording).await.expect("a step");
        let sampled = recording.sampled().pop().expect("a step's report");
        let after = read(snapshot(&mut trainer.model)).await;
        for (path, value) in &after {
            // The first number of a path is that of its block, but for a ladder's; a decoder's begin behind the encoder's.
            let block = path.split('.').find_map(|part| part.parse().ok()).filter(|_| !path.starts_with("ladder."));
            let Some(block): Option<usize> = block else { continue };
            let decoder = path.starts_with("decoder.");
            let block = if decoder { block + trainer.model.config.encoder_layers() } else { block };
            // AdaLoRA's budget is the whole model's: it may close a direction of any block.
            if path.ends_with("lora_E") {
                continue;
            }
            // Where the gradient is zero nothing moves: U = 0 stops D's at the first step. What is left of pruned differences
            // is new.
            if let Some(there) = before.get(path).filter(|_| !sampled.contains(&block)) {
                assert_eq!(value, there, "{name}, step {step}: {path} moved though its block was not drawn");
            }
        }
        before = after;
    }
    if in_place(methods) {
        return;
    }
    let model = moved(methods, device).await;
    let rows: Vec<&Sequence> = dataset.train.iter().take(6).collect();
    let objective = &*of_runs(&model);
    let base = evaluate(objective, &base_of(methods, device).await, &rows, Batching::packed(8), None)
        .await
        .expect("a loss")
        .loss;
    let damped =
        evaluate(objective, &model, &rows, Batching::packed(8), Some(&[0.0; LAYERS])).await.expect("a loss").loss;
    // The last norm belongs to no block and is not damped.
    let mut whole = methods.iter().all(|m| m.kind != MethodKind::LayerNorm);
    // A prefix moves the text to later positions, which only learned ones show.
    if model.config.module(None, Role::PositionEmbedding).is_some() {
        whole &= methods.iter().all(|m| m.kind != MethodKind::Prefix);
    }
    assert!(!whole || (damped - base).abs() < 1e-6 * base.abs(), "{name}: damped to nothing {damped}, base {base}");
    let full =
        evaluate(objective, &model, &rows, Batching::packed(8), Some(&[1.0; LAYERS])).await.expect("a loss").loss;
    let plain = evaluate(objective, &model, &rows, Batching::packed(8), None).await.expect("a loss").loss;
    assert_eq!(full, plain, "{name}: undamped is untouched");
    assert!(damped != plain, "{name}: damping does something");
}
