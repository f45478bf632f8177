//! Runs of a model whose encoder reads and whose decoder writes.

use std::collections::BTreeSet;
use std::rc::Rc;

use burn::tensor::Device;
use rand::RngExt;
use serde_json::json;
use stratune_data::{Dataset, Sequence};
use stratune_models::{Model, ModelConfig};
use stratune_peft::{MethodConfig, MethodKind, Methods, adapter_values, snapshot};
use stratune_protocol::{IstConfig, IstMode, Targets, draws};
use stratune_session::hooks_for;
use stratune_tests::runs::{RecordingCallback, of_json};
use stratune_train::{Batching, Identity, NextToken, RunConfig, Trainer, evaluate};

use super::suited;
use crate::models::read;

/// Two blocks that read, three that write.
const ENCODER: usize = 2;
const LAYERS: usize = 5;

fn geometry() -> ModelConfig {
    of_json(json!({
        "model_type": "t5", "vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2,
        "num_layers": ENCODER, "num_decoder_layers": LAYERS - ENCODER, "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 16, "feed_forward_proj": "gated-gelu",
    }))
}

fn small(device: &Device) -> Model {
    let mut model = Model::random(geometry(), 11, device).expect("a sound geometry");
    for linear in model.layers.iter_mut().flat_map(|block| block.linears_mut()) {
        let weight = linear.weight.floats_mut();
        weight.value = weight.value.clone().mul_scalar(6.0);
    }
    model
}

/// What is read is written backwards.
fn mirrored(rows: usize) -> Dataset {
    let row = |i: usize| {
        let mut rng = draws(5, "mirrored", [i as u64, 0]);
        let length = rng.random_range(3..9);
        let source: Vec<u32> = (0..length).map(|_| rng.random_range(2..32)).collect();
        let tokens: Vec<u32> = [0].into_iter().chain(source.iter().rev().copied()).chain([1]).collect();
        let loss_mask = (0..tokens.len()).map(|at| at > 0).collect();
        Sequence { tokens, loss_mask, source, ..Sequence::default() }
    };
    Dataset { train: (0..rows).map(row).collect(), ..Dataset::default() }
}

async fn trainer(config: &RunConfig, device: &Device) -> Trainer {
    let mut model = small(device);
    model.attach(&config.method, 4).await.expect("methods that fit");
    let hooks = hooks_for(config, LAYERS);
    let data = Rc::new(mirrored(40));
    Trainer::new(config.clone(), model, data, hooks, Identity::default()).expect("a run")
}

fn lora() -> Methods {
    MethodConfig { targets: Some(Targets::AllLinear), ..suited(MethodKind::Lora) }.into()
}

/// The block of a parameter, those of both stacks counted through.
fn block(path: &str) -> Option<usize> {
    let number: usize = path.split('.').find_map(|part| part.parse().ok())?;
    Some(if path.starts_with("decoder.") { number + ENCODER } else { number })
}

/// IST draws among the blocks of both stacks, and what it has not drawn stays as it is.
async fn ist_chooses_among_both(device: &Device) {
    let mut config = RunConfig { method: lora(), ..RunConfig::default() };
    config.ist = IstConfig { interval: 1, ..IstConfig::preset(IstMode::Faithful) };
    config.train.steps = 8;
    config.train.eval_every = 0;
    let mut trainer = trainer(&config, device).await;
    trainer.prepare(&mut RecordingCallback::default()).await.expect("a choice");
    let mut before = read(snapshot(&mut trainer.model)).await;
    let mut drawn = BTreeSet::new();
    for step in 0..8 {
        let mut recording = RecordingCallback::default();
        trainer.advance(&mut recording).await.expect("a step");
        let sampled = recording.sampled().pop().expect("a step's report");
        let after = read(snapshot(&mut trainer.model)).await;
        for (path, value) in &after {
            let moves = block(path).is_none_or(|block| sampled.contains(&block));
            // The first factor of a LoRA has no gradient while the second is zero.
            let may_stay = path.ends_with("lora_A.weight");
            assert!(moves || *value == before[path], "step {step}: {path} moved though its block was not drawn");
            assert!(!moves || may_stay || *value != before[path], "step {step}: {path} stayed");
        }
        drawn.extend(sampled);
        before = after;
    }
    assert!(drawn.iter().any(|block| *block < ENCODER) && drawn.iter().any(|block| *block >= ENCODER), "{drawn:?}");
}

/// Stopped and resumed it is the run that was not, bit for bit.
async fn resumed_is_uninterrupted(device: &Device) {
    let mut config = RunConfig { method: lora(), ..RunConfig::default() };
    config.ist = IstConfig { interval: 2, ..IstConfig::preset(IstMode::Faithful) };
    config.train.steps = 7;
    config.train.eval_every = 0;
    let of = async |trainer: &mut Trainer| {
        let base = trainer.model.config.base_paths();
        read(adapter_values(&mut trainer.model, &base)).await
    };
    let mut whole = trainer(&config, device).await;
    RecordingCallback::default().watch(&mut whole).await.expect("a run to its end");
    let mut first = RecordingCallback { stop_after: Some(3), ..RecordingCallback::default() };
    first.watch(&mut trainer(&config, device).await).await.expect("a run until it is stopped");
    let mut again = trainer(&config, device).await;
    again.resume(first.last()).expect("its checkpoint");
    RecordingCallback::default().watch(&mut again).await.expect("a run to its end");
    assert!(of(&mut again).await == of(&mut whole).await, "stopped after 3 steps, it is another run");
}

/// It learns to write what it reads, with all methods' home in the attention to the encoder: that alone trains, as Gheini et
/// al. (2021) have it.
async fn cross_attention_alone_learns(device: &Device) {
    let method = MethodConfig { targets: Some(Targets::listed(&["cross_attention"])), ..suited(MethodKind::Full) };
    let mut config = RunConfig { method: method.into(), ..RunConfig::default() };
    config.train.steps = 60;
    config.train.learning_rate = 0.03;
    config.train.eval_every = 0;
    let data = mirrored(40);
    let rows: Vec<&Sequence> = data.train.iter().collect();
    let loss =
        async |model: &Model| evaluate(&NextToken, model, &rows, Batching::packed(8), None).await.expect("a loss").loss;
    let mut trainer = trainer(&config, device).await;
    let trains: Vec<String> = snapshot(&mut trainer.model).into_keys().collect();
    assert_eq!(trains.len(), 4 * (LAYERS - ENCODER), "{trains:?}");
    assert!(trains.iter().all(|path| path.contains("EncDecAttention")), "{trains:?}");
    let before = loss(&trainer.model).await;
    RecordingCallback::default().watch(&mut trainer).await.expect("a run to its end");
    let after = loss(&trainer.model).await;
    assert!(after < before - 0.02, "from {before} to {after}");
}

/// What stands before a text, or beside one stack, has no home in two: named, and nothing is changed.
async fn others_are_refused(device: &Device) {
    for kind in [MethodKind::Prompt, MethodKind::Ladder] {
        let problem = small(device).attach(&[suited(kind)], 4).await.expect_err("no home");
        assert!(problem.what.contains(kind.name()) && problem.what.contains("encoder"), "{problem}");
        assert!(!problem.next.is_empty());
    }
}

/// All of them. Panics with the first that fails.
pub async fn all(device: &Device) {
    ist_chooses_among_both(device).await;
    resumed_is_uninterrupted(device).await;
    cross_attention_alone_learns(device).await;
    others_are_refused(device).await;
}
