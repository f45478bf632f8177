//! Sliding windows cost what they show, forward and back, on each device.

use burn::tensor::{Device, Distribution, Tensor};
use stratune_kernels::{AttentionMask, Scores, causal_attention};
use stratune_runtime::{Stopwatch, block_on, open_wgpu, read_f32};
use stratune_tests::skipped;

const SEQ: usize = 2048;
const WINDOW: usize = 256;
const WIDTH: usize = 16;

/// Seconds of the forward and of the backward pass, the least of several turns.
fn seconds(device: &Device, window: Option<usize>, scores: Scores) -> [f64; 2] {
    let mask = AttentionMask::causal(SEQ, device);
    let mask = match window {
        None => mask,
        Some(window) => mask.sliding_window(window, 0),
    };
    let random = || Tensor::<4>::random([1, 1, SEQ, WIDTH], Distribution::Default, device);
    let turn = || {
        let operands = [random(), random(), random()].map(|t| t.autodiff().require_grad());
        let [q, k, v] = operands.clone();
        let clock = Stopwatch::start();
        let y = causal_attention(q, k, v, &mask, scores);
        block_on(read_f32(y.clone().inner())).unwrap();
        let forward = clock.seconds();
        let tape = y.sum().backward();
        for operand in operands {
            block_on(read_f32(operand.grad(&tape).unwrap())).unwrap();
        }
        [forward, clock.seconds() - forward]
    };
    (0..5).map(|_| turn()).reduce(|a, b| [0, 1].map(|i: usize| a[i].min(b[i]))).unwrap()
}

/// A window of 256 shows 0.23 of what 2048 queries see without one. Where the whole is a few milliseconds, what every call costs
/// is part of it; and a machine may be busy. Capped scores are made by plain operations on an adapter, which work on the keys
/// that blocks of queries see: a test beside them counts these.
#[test]
fn keys_outside_of_a_window_take_no_time() {
    let adapter = block_on(open_wgpu()).inspect_err(|problem| skipped(problem)).ok();
    let plain = Scores::of(WIDTH);
    let capped = Scores { softcap: Some(20.0), ..plain };
    let cpu = Device::flex();
    let on_adapter = adapter.iter().map(|opened| ("adapter", &opened.device, plain));
    for (name, device, scores) in [("CPU", &cpu, plain), ("CPU, capped", &cpu, capped)].into_iter().chain(on_adapter) {
        let (all, few) = (seconds(device, None, scores), seconds(device, Some(WINDOW), scores));
        let ratios = [0, 1].map(|i: usize| few[i] / all[i]);
        println!("{name}: {all:.4?} s, in a window {few:.4?} s, {ratios:.2?}");
        assert!(ratios.iter().all(|ratio| *ratio < 0.6), "{name}: {all:?}, {few:?}");
    }
}
