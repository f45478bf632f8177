//! MeZO: what two losses say, and a run that is the list of its moves.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::{Sequence, collate};
use stratune_models::Model;
use stratune_peft::{MethodConfig, MethodKind, Methods, snapshot};
use stratune_protocol::OptimiserKind;
use stratune_tests::runs::{RecordingCallback, counting};
use stratune_train::{
    DeviceBatch, Identity, MezoStep, NextToken, Perturbation, Record, RunConfig, SweepOptions, Trainer, sweep,
};

use super::suited;
use crate::models::{LAYERS, fresh, moved};
use crate::proofs::{config, numbers};

pub async fn all(device: &Device) {
    estimates_come_nearer_the_gradient(device).await;
    a_parameters_rate_is_of_its_step_alone(device).await;
    a_run_is_its_start_and_its_moves(device).await;
    a_block_goes_as_far_as_its_rate_says(device).await;
    resumed_is_uninterrupted(device).await;
}

fn rows() -> Vec<Sequence> {
    counting(8, 0).train
}

fn batch(device: &Device) -> DeviceBatch {
    DeviceBatch::new(&collate(&rows().iter().collect::<Vec<_>>()), device)
}

type Numbers = BTreeMap<String, Vec<f32>>;

fn dot(a: &Numbers, b: &Numbers) -> f64 {
    let pairs = a.iter().flat_map(|(path, values)| values.iter().zip(&b[path]));
    pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// The mean of n estimates g·z in D dimensions lies at a cosine of √(n / (n + D + 1)) to the gradient: D is 112.
async fn estimates_come_nearer_the_gradient(device: &Device) {
    let model = moved(&MethodKind::LayerNorm.into(), device).await;
    let batch = batch(device);
    let options = SweepOptions {
        objective: &NextToken,
        active: &[true; LAYERS],
        dropout: None,
        keep_graphs: 0,
        scale: 1.0 / batch.labelled as f64,
    };
    let mut gradient = Numbers::new();
    for (path, value) in sweep(&model, &batch, &options).gradients {
        gradient.insert(path, stratune_runtime::read_f32(value).await.expect("a gradient"));
    }
    let start = numbers(snapshot(&mut model.clone())).await;
    let mut sum: Numbers = start.iter().map(|(path, v)| (path.clone(), vec![0.0; v.len()])).collect();
    let blocks: Vec<usize> = (0..LAYERS).collect();
    let mut cosines = Vec::new();
    for step in 0..400 {
        let perturbation = Perturbation { seed: 2, step };
        let estimate = perturbation
            .projected_gradient(&NextToken, &model, std::slice::from_ref(&batch), &blocks, 1e-2)
            .await
            .expect("a slope");
        let mut shifted = model.clone();
        perturbation.apply(&mut shifted, &MezoStep { length: -1.0, blocks: blocks.clone(), rates: Vec::new() });
        for (path, value) in numbers(snapshot(&mut shifted)).await {
            let z = value.iter().zip(&start[&path]).map(|(a, b)| a - b);
            let along = sum.get_mut(&path).expect("a parameter");
            along.iter_mut().zip(z).for_each(|(s, z)| *s += estimate.projected_grad as f32 * z);
        }
        if step + 1 == 25 || step + 1 == 400 {
            cosines.push(dot(&sum, &gradient) / (dot(&sum, &sum) * dot(&gradient, &gradient)).sqrt());
        }
    }
    let expected = [25.0_f64, 400.0].map(|n| (n / (n + 113.0)).sqrt());
    // The cosine of 25 estimates spreads by about 0.08, that of 400 by less.
    for (got, want) in cosines.iter().zip(expected) {
        assert!((got - want).abs() < 0.25, "{cosines:?}, expected {expected:?}");
    }
    assert!(cosines[1] > cosines[0]);
}

/// LoRA+ with a ratio of 16 feels the same slope as without, and moves B 16 times as far.
async fn a_parameters_rate_is_of_its_step_alone(device: &Device) {
    let (batch, blocks) = (batch(device), (0..LAYERS).collect::<Vec<_>>());
    let perturbation = Perturbation { seed: 2, step: 0 };
    let (mut slopes, mut moves) = (Vec::new(), Vec::new());
    for ratio in [1.0, 16.0] {
        let model = moved(&MethodConfig { ratio: Some(ratio), ..suited(MethodKind::LoraPlus) }.into(), device).await;
        let batch = std::slice::from_ref(&batch);
        slopes.push(perturbation.projected_gradient(&NextToken, &model, batch, &blocks, 1e-2).await.expect("a slope"));
        let mut stepped = model.clone();
        perturbation.apply(&mut stepped, &MezoStep { length: 1e-2, blocks: blocks.clone(), rates: Vec::new() });
        let (before, after) = (numbers(snapshot(&mut model.clone())).await, numbers(snapshot(&mut stepped)).await);
        let length = |end: &str| {
            let of = before.iter().filter(|(path, _)| path.ends_with(end));
            let moved = of.flat_map(|(path, x)| x.iter().zip(&after[path])).map(|(a, b)| f64::from(b - a).powi(2));
            moved.sum::<f64>().sqrt()
        };
        moves.push([length("lora_A.weight"), length("lora_B.weight")]);
    }
    assert_eq!(slopes[0], slopes[1]);
    // f32 sums of numbers near 0.1 with steps of 1e-2.
    let times = [0, 1].map(|i| moves[1][i] / moves[0][i]);
    assert!((times[0] - 1.0).abs() < 1e-4 && (times[1] - 16.0).abs() < 1e-3, "{times:?}");
}

fn mezo() -> RunConfig {
    let mut config = config(MethodKind::Lora);
    config.train.optimiser = OptimiserKind::Mezo;
    config.train.weight_decay = 0.0;
    config.train.steps = 12;
    config.train.checkpoint_every = 6;
    config
}

async fn run(model: Model, recording: &mut RecordingCallback) -> Trainer {
    let dataset = Rc::new(counting(40, 0));
    let mut trainer = Trainer::new(mezo(), model, dataset, Vec::new(), Identity::default()).expect("a run");
    recording.watch(&mut trainer).await.expect("a run to its end");
    trainer
}

async fn a_run_is_its_start_and_its_moves(device: &Device) {
    let methods: Methods = MethodKind::Lora.into();
    let mut recording = RecordingCallback::default();
    let mut trainer = run(fresh(&methods, device).await, &mut recording).await;
    let checkpoint = recording.last();
    assert!(checkpoint.tensors.is_empty(), "no tensor is stored: {:?}", checkpoint.tensors.keys());
    let record = Record::of(checkpoint).expect("a record");
    assert_eq!(record.mezo_steps.len(), 12);
    let mut again = fresh(&methods, device).await;
    for (step, of) in record.mezo_steps.iter().enumerate() {
        Perturbation { seed: 0, step }.apply(&mut again, of);
    }
    let (there, here) = (numbers(snapshot(&mut trainer.model)).await, numbers(snapshot(&mut again)).await);
    assert_eq!(there, here, "bit for bit");
    assert_ne!(there, numbers(snapshot(&mut fresh(&methods, device).await)).await);
}

/// A move in a block is multiplied by the block's rate, and one outside of blocks is not.
async fn a_block_goes_as_far_as_its_rate_says(device: &Device) {
    let model = fresh(&MethodKind::LayerNorm.into(), device).await;
    let start = numbers(snapshot(&mut model.clone())).await;
    let perturbation = Perturbation { seed: 0, step: 3 };
    let mut ends = Vec::new();
    for rates in [Vec::new(), vec![1.0, 4.0]] {
        let mut moved = model.clone();
        perturbation.apply(&mut moved, &MezoStep { length: -0.5, blocks: vec![0, 1], rates });
        ends.push(numbers(snapshot(&mut moved)).await);
    }
    for (path, start) in &start {
        let times = if path.contains("layers.1.") { 4.0 } else { 1.0 };
        for ((start, once), end) in start.iter().zip(&ends[0][path]).zip(&ends[1][path]) {
            // Rounding of numbers around one.
            assert!((end - start - times * (once - start)).abs() < 2e-6, "{path}: {start} {once} {end}");
        }
    }
}

async fn resumed_is_uninterrupted(device: &Device) {
    let methods: Methods = MethodKind::Lora.into();
    let mut whole = run(fresh(&methods, device).await, &mut RecordingCallback::default()).await;
    let mut first = RecordingCallback { stop_after: Some(5), ..RecordingCallback::default() };
    run(fresh(&methods, device).await, &mut first).await;
    let dataset = Rc::new(counting(40, 0));
    let model = fresh(&methods, device).await;
    let mut second = Trainer::new(mezo(), model, dataset, Vec::new(), Identity::default()).expect("a run");
    second.resume(first.last()).expect("its own checkpoint");
    assert_eq!(second.progress().0, 5);
    RecordingCallback::default().watch(&mut second).await.expect("a run to its end");
    assert_eq!(numbers(snapshot(&mut whole.model)).await, numbers(snapshot(&mut second.model)).await);
}
