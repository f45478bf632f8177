//! A base in fewer bits is the base with those numbers, whatever the method.

use std::collections::BTreeMap;

use burn::tensor::Device;
use stratune_data::Sequence;
use stratune_models::Model;
use stratune_peft::Methods;
use stratune_protocol::BaseDtype;
use stratune_runtime::read_f32;
use stratune_tests::checks::examples;
use stratune_tests::runs::{small, small_as};
use stratune_tests::worst;
use stratune_train::{Batching, NextToken, RunConfig, SweepOptions, sweep};

use super::models::{LAYERS, moved_on, says};

/// What a method says and learns on a quantized base, and on floats of the same numbers: the same sums, of which the
/// CPU's product may make a row in another order, within 2e-5 of the largest. A method that moves the base is refused.
pub async fn is_its_numbers(name: &str, methods: &Methods, device: &Device) {
    for base_dtype in BaseDtype::ALL {
        let config = RunConfig { method: methods.clone(), base_dtype, ..RunConfig::default() };
        if let Err(problem) = config.validate() {
            let moves = methods.iter().any(|m| m.kind.method().in_place() || m.kind.method().few_bits);
            assert!(problem.at == "base_dtype" && moves, "{name}: {problem}");
            continue;
        }
        let quantized = small_as(LAYERS, base_dtype, device);
        let mut floats = quantized.clone();
        floats.dequantize();
        let quantized = moved_on(quantized, methods).await;
        let floats = moved_on(floats, methods).await;
        let (said, expected) = (says(&quantized).await, says(&floats).await);
        let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let off = worst(&said, &expected);
        assert!(off <= 2e-5 * largest, "{name} on {base_dtype}: off by {off:e} of {largest}");
        let (learned, expected) = (gradients(&quantized).await, gradients(&floats).await);
        assert!(learned.keys().eq(expected.keys()) && !learned.is_empty(), "{name} on {base_dtype}");
        let largest = expected.values().flatten().fold(0.0_f32, |m, v| m.max(v.abs()));
        for (path, gradient) in &expected {
            let off = worst(&learned[path], gradient);
            assert!(off <= 2e-5 * largest, "{name} on {base_dtype}: {path} is off by {off:e} of {largest:e}");
        }
    }
}

async fn gradients(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let rows = examples(&[9, 14, 20], model.config.vocab_size as u32);
    let rows: Vec<&Sequence> = rows.iter().collect();
    let batch = Batching::packed(3).to_device(model, &rows);
    let active = [true; LAYERS];
    let mut read = BTreeMap::new();
    for (path, gradient) in sweep(
        model,
        &batch,
        &SweepOptions { objective: &NextToken, active: &active, dropout: None, keep_graphs: 1, scale: 1.0 },
    )
    .gradients
    {
        read.insert(path, read_f32(gradient).await.expect("a gradient"));
    }
    read
}

/// Fewer bits say what the base says less exactly, in the order of their bits; none says something else.
pub async fn fewer_bits_are_less_exact(device: &Device) {
    let expected = says(&small(LAYERS, device)).await;
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let mut offs = Vec::new();
    for dtype in BaseDtype::ALL {
        offs.push(worst(&says(&small_as(LAYERS, dtype, device)).await, &expected) / largest);
    }
    // f16 has 11 bits, an integer of 8 bits is half of a 127th of its block's largest off, and one of 4 a 14th.
    assert_eq!(offs[..2], [0.0; 2]);
    for (off, most) in offs[2..].iter().zip([2e-3, 2e-2, 0.3]) {
        assert!(*off > 0.0 && *off < most, "{offs:?}");
    }
    assert!(offs.is_sorted(), "{offs:?}");
}
