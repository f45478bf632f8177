//! Sliding windows cost what they show, forward and back, on each device.

use burn::tensor::{Device, Distribution, Tensor};
use stratune_kernels::{AttentionMask, Scores, attention};
use stratune_runtime::{Stopwatch, block_on, open_wgpu, read_f32};
use stratune_tests::skipped;

const SEQ: usize = 2048;
const WINDOW: usize = 256;

/// Seconds of the forward and of the backward pass of heads of this width, without a window and with one: the least of turns in
/// which one follows the other.
fn seconds(device: &Device, [heads, width]: [usize; 2], scores: Scores) -> [[f64; 2]; 2] {
    let mask = AttentionMask::causal(SEQ, device);
    let masks = [mask.clone(), mask.sliding_window(WINDOW, 0)];
    let random = || Tensor::<4>::random([1, heads, SEQ, width], Distribution::Default, device);
    let turn = |mask: &AttentionMask| {
        let operands = [random(), random(), random()].map(|t| t.autodiff().require_grad());
        let [q, k, v] = operands.clone();
        let clock = Stopwatch::start();
        let y = attention(q, k, v, mask, scores);
        block_on(read_f32(y.clone().inner())).unwrap();
        let forward = clock.seconds();
        let tape = y.sum().backward();
        for operand in operands {
            block_on(read_f32(operand.grad(&tape).unwrap())).unwrap();
        }
        [forward, clock.seconds() - forward]
    };
    let least = |a: [f64; 2], b: [f64; 2]| [a[0].min(b[0]), a[1].min(b[1])];
    let turns = (0..5).map(|_| masks.each_ref().map(&turn));
    turns.reduce(|a, b| [least(a[0], b[0]), least(a[1], b[1])]).unwrap()
}

/// A window of 256 shows 0.23 of what 2048 queries see without one; a machine may be busy. Capped scores are made by plain
/// operations on an adapter, which work on the keys that blocks of queries see: a test beside them counts these.
#[test]
fn keys_outside_of_a_window_take_no_time() {
    let adapter = block_on(open_wgpu()).inspect_err(|problem| skipped(problem)).ok();
    let capped = |scores| Scores { softcap: Some(20.0), ..scores };
    let cpu = Device::flex();
    let on_cpu = [("CPU", Scores::of(64)), ("CPU, capped", capped(Scores::of(64)))];
    let on_cpu = on_cpu.into_iter().map(|(name, scores)| (name, &cpu, [8, 64], scores));
    let on_adapter = adapter.iter().map(|opened| ("adapter", &opened.device, [1, 16], Scores::of(16)));
    for (name, device, heads, scores) in on_cpu.chain(on_adapter) {
        let [all, few] = seconds(device, heads, scores);
        let ratios = [0, 1].map(|i: usize| few[i] / all[i]);
        println!("{name}: {all:.4?} s, in a window {few:.4?} s, {ratios:.2?}");
        assert!(ratios.iter().all(|ratio| *ratio < 0.6), "{name}: {all:?}, {few:?}");
    }
}
