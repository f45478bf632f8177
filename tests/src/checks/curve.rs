//! Twelve steps of AdamW with clipping, against transformers, PEFT and PyTorch.

use burn::tensor::Device;
use serde::Deserialize;
use stratune_data::collate;
use stratune_runtime::read_scalars;
use stratune_train::{AdamW, DeviceBatch, NextToken, StepKey, SweepOptions, sweep};

use crate::fixtures::{TRAINING, adapted};
use crate::runs::rows;

#[derive(Deserialize)]
struct Expected {
    adapter: String,
    learning_rate: f64,
    betas: (f32, f32),
    weight_decay: f32,
    clip: f32,
    batches: Vec<Batch>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Batch {
    ids: Vec<Vec<u32>>,
    labels: Vec<Vec<i64>>,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
    gradient_norm: f64,
}

/// The loss of each step within 1e-3, the norm within 1e-3 of itself: rounding grows from step to step, and after twelve
/// the fixture itself is within 2e-4 of what f64 gives.
pub async fn training_follows_pytorch(device: &Device) {
    let expected: Expected = serde_json::from_slice(TRAINING).expect("the fixture's form");
    let mut model = adapted(&expected.adapter, device).await;
    let mut adam = AdamW::with_betas(expected.weight_decay, expected.betas.0, expected.betas.1);
    let active = vec![true; model.layers.len()];
    for (k, step) in expected.steps.iter().enumerate() {
        let batch = &expected.batches[k % expected.batches.len()];
        let rows = rows(&batch.ids, &batch.labels);
        let batch = collate(&rows.iter().collect::<Vec<_>>());
        let labelled = batch.targets.len() as f64;
        let options = SweepOptions {
            objective: &NextToken,
            active: &active,
            dropout: None,
            keep_graphs: 0,
            scale: 1.0 / labelled,
        };
        let swept = sweep(&model, &DeviceBatch::new(&batch, device), &options);
        let step_key = StepKey { seed: 0, step: k };
        let norm = adam.step(&mut model, swept.gradients, expected.clip, |_| expected.learning_rate, step_key);
        let read = read_scalars(vec![swept.loss, norm]).await.expect("a loss");
        let loss = read[0] / labelled;
        assert!((loss - step.loss).abs() <= 1e-3, "step {k}: loss {loss}, PyTorch's {}", step.loss);
        let off = (read[1] - step.gradient_norm).abs() / step.gradient_norm;
        assert!(off <= 1e-3, "step {k}: norm {}, PyTorch's {}", read[1], step.gradient_norm);
    }
}
