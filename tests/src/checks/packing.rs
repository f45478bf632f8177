//! Examples that share a row say and learn what they do with a row each.

use std::collections::BTreeMap;

use burn::tensor::Device;
use rand::RngExt;
use stratune_data::Sequence;
use stratune_models::Model;
use stratune_peft::Dropout;
use stratune_protocol::draws;
use stratune_runtime::{read_f32, read_scalars};
use stratune_train::{Batching, NextToken, SweepOptions, evaluate, sweep};

use super::worst;
use crate::fixtures::adapted;

/// Examples of these lengths, with a third of their tokens masked out of the loss.
pub fn examples(lengths: &[usize], vocabulary: u32) -> Vec<Sequence> {
    let example = |(i, length): (usize, &usize)| {
        let mut rng = draws(8, "examples", [i as u64, 0]);
        let tokens = (0..*length).map(|_| rng.random_range(0..vocabulary)).collect();
        Sequence { tokens, loss_mask: (0..*length).map(|t| t > 0 && t % 3 != 1).collect(), ..Sequence::default() }
    };
    lengths.iter().enumerate().map(example).collect()
}

/// Very different lengths, which take 3 rows of 64 where apart they take 8: 60 3 1 | 41 17 | 24 10 9.
const LENGTHS: [usize; 8] = [3, 60, 9, 17, 10, 41, 1, 24];

/// Loss and gradients of one batch, and the loss that is measured, packed and apart: the same f32 sums in another order,
/// within `allowed` of the largest number. Dropout, where the model has any, drops the same.
pub async fn packed_is_apart(name: &str, model: &Model, allowed: f32) {
    let examples = examples(&LENGTHS, model.config.vocab_size as u32);
    let examples: Vec<&Sequence> = examples.iter().collect();
    let active = vec![true; model.layers.len()];
    let mut found = Vec::new();
    for packing in [false, true] {
        let by = Batching { size: examples.len(), packing };
        let batch = by.to_device(model, &examples);
        let scale = 1.0 / batch.labelled as f64;
        let dropout = Some(Dropout { seed: 3, batch: 1 });
        let swept = sweep(
            model,
            &batch,
            &SweepOptions { objective: &NextToken, active: &active, dropout, keep_graphs: 1, scale },
        );
        let loss = read_scalars(vec![swept.loss]).await.expect("a loss")[0] * scale;
        let mut gradients = BTreeMap::new();
        for (path, gradient) in swept.gradients {
            gradients.insert(path, read_f32(gradient).await.expect("a gradient"));
        }
        let measured = evaluate(&NextToken, model, &examples, by, None).await.expect("a loss").loss;
        found.push((batch.size(), loss, measured, gradients));
    }
    let (room, loss, measured, gradients) = &found[0];
    let (packed_room, packed_loss, packed_measured, packed_gradients) = &found[1];
    let expected = if model.can_pack() { 3 * 64 } else { 8 * 64 };
    assert_eq!((*room, *packed_room), (8 * 64, expected), "{name}");
    let near = |a: &f64, b: &f64| (a - b).abs() <= f64::from(allowed) * b.abs();
    assert!(near(packed_loss, loss), "{name}: loss {packed_loss} packed, {loss} apart");
    assert!(near(packed_measured, measured), "{name}: measured {packed_measured} packed, {measured} apart");
    assert!(packed_gradients.keys().eq(gradients.keys()) && !gradients.is_empty(), "{name}");
    let largest = gradients.values().flatten().fold(0.0_f32, |m, v| m.max(v.abs()));
    for (path, gradient) in gradients {
        let off = worst(&packed_gradients[path], gradient);
        assert!(off <= allowed * largest, "{name}: {path} is off by {off:e} where the largest is {largest:e}");
    }
}

/// A LoRA of PEFT's on this device, within 1e-4 as against PEFT.
pub async fn packing_changes_nothing(device: &Device) {
    packed_is_apart("peft-lora", &adapted("peft-lora", device).await, 1e-4).await;
}
