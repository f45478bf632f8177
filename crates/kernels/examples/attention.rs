//! How long attention takes on the CPU.
//!
//! `cargo run --release -p stratune-kernels --no-default-features --features cpu --example attention`

use std::error::Error;

use burn::tensor::{Device, Distribution, Tensor};
use stratune_kernels::{AttentionMask, Scores, attention};
use stratune_runtime::{Stopwatch, block_on, open_cpu, read_f32};

/// Batch, heads, key heads, queries, keys before them, numbers in a head, keys that a query sees at most: of stories260K and of
/// smollm2-135m, the last in windows.
const SIZES: [[usize; 7]; 9] = [
    [8, 8, 4, 256, 0, 8, ALL],
    [1, 8, 4, 1, 200, 8, ALL],
    [2, 9, 3, 128, 0, 64, ALL],
    [1, 9, 3, 512, 0, 64, ALL],
    [1, 9, 3, 1024, 0, 64, ALL],
    [1, 9, 3, 2048, 0, 64, ALL],
    [1, 9, 3, 4096, 0, 64, ALL],
    [1, 9, 3, 1, 200, 64, ALL],
    [1, 9, 3, 4096, 0, 64, 256],
];

/// In no window.
const ALL: usize = usize::MAX;

/// Runs of which the fastest counts.
const RUNS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let device = open_cpu()?.device;
    println!("batch × heads / key heads × queries after keys × head, milliseconds and GFLOP/s");
    for [batch, heads, kv_heads, seq, past, head_dim, window] in SIZES {
        let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let q = random([batch, heads, seq, head_dim]);
        let [k, v] = [(); 2].map(|()| random([batch, kv_heads, past + seq, head_dim]));
        let (mask, scores) = (AttentionMask::causal(seq, &device).sliding_window(window, past), Scores::of(head_dim));

        let forward = seconds(&device, || Some(attention(q.clone(), k.clone(), v.clone(), &mask, scores)))?;
        let step = seconds(&device, || {
            let [q, k, v] = [&q, &k, &v].map(|x| x.clone().autodiff().require_grad());
            q.grad(&attention(q.clone(), k, v, &mask, scores).sum().backward())
        })?;

        // Two products forward, five back, over the keys that each query sees.
        let seen: usize = (past + 1..=past + seq).map(|keys| keys.min(window)).sum();
        let work = 2e-9 * (batch * heads * seen * head_dim) as f64;
        let in_window = if window == ALL { String::new() } else { format!(" in {window}") };
        println!(
            "{batch} × {heads}/{kv_heads} × {seq} after {past} × {head_dim}{in_window}: forward {:.3} ms, {:.1}; and back {:.3} ms, {:.1}",
            forward * 1e3,
            2.0 * work / forward,
            step * 1e3,
            7.0 * work / step
        );
    }
    Ok(())
}

/// The fastest of some runs, after one that is not counted. A value is read, because only that waits for the device.
fn seconds(device: &Device, run: impl Fn() -> Option<Tensor<4>>) -> Result<f64, Box<dyn Error>> {
    let mut fastest = f64::INFINITY;
    for i in 0..=RUNS {
        device.sync()?;
        let clock = Stopwatch::start();
        let result = run().ok_or("no gradient")?;
        block_on(read_f32(result.slice([0..1, 0..1, 0..1, 0..1])))?;
        if i > 0 {
            fastest = fastest.min(clock.seconds());
        }
    }
    Ok(fastest)
}
