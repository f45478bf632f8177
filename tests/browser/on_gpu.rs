//! In a browser's worker, on WebGPU: whatever adapter the browser offers, a software one too.

use burn::tensor::{Distribution, Tensor};
use stratune_protocol::{IstConfig, IstMode};
use stratune_runtime::{Stopwatch, open_wgpu, read_f32};
use stratune_tests::runs::{RecordingCallback, trainer};
use stratune_tests::{checks, skipped};
use stratune_train::RunConfig;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use crate::common;

#[wasm_bindgen_test]
async fn numbers_are_right() {
    common::start();
    let opened = open_wgpu().await.unwrap();
    console_log!("on {}", opened.info.name);
    checks::all(&opened.device).await;
    common::no_errors();
}

#[wasm_bindgen_test]
async fn stories_are_told() {
    common::start();
    if !checks::stories_are_told(&open_wgpu().await.unwrap().device, 24).await {
        skipped("STRATUNE_DATA was not set when this was built");
    }
    common::no_errors();
}

/// LoRA under practical IST learns on the browser's GPU.
#[wasm_bindgen_test]
async fn a_run_learns() {
    common::start();
    let mut config = RunConfig { ist: IstConfig::preset(IstMode::Practical), ..RunConfig::default() };
    config.ist.interval = 4;
    config.method[0].rank = Some(4);
    config.train.steps = 16;
    config.train.eval_every = 0;
    config.train.learning_rate = 2e-2;
    let mut recording = RecordingCallback::default();
    recording.watch(&mut trainer(&config, 4, &open_wgpu().await.unwrap().device)).await.unwrap();
    let losses = recording.losses();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(mean(&losses[12..]) < mean(&losses[..4]) - 0.01, "{losses:?}");
    common::no_errors();
}

/// The constructors must not run again at every call from JavaScript: that made a dispatch cost milliseconds. A tiny
/// operation costs well below one on any machine; the bound is not a benchmark, it tells 0.05 ms from 5 ms.
#[wasm_bindgen_test]
async fn a_dispatch_is_cheap() {
    common::start();
    let device = open_wgpu().await.unwrap().device;
    let mut x = Tensor::<2>::random([4, 4], Distribution::Default, &device);
    for _ in 0..20 {
        x = x.add_scalar(1.0);
    }
    read_f32(x.clone()).await.unwrap();
    let clock = Stopwatch::start();
    for _ in 0..200 {
        x = x.add_scalar(1.0);
    }
    let each = clock.seconds() / 200.0;
    read_f32(x).await.unwrap();
    console_log!("{:.3} ms a dispatch", 1e3 * each);
    assert!(each < 1.5e-3, "{each} s a dispatch");
}

/// No proof: what `cargo xtask bench tab` prints.
#[wasm_bindgen_test]
#[ignore = "a measurement"]
async fn speed() {
    common::start();
    let device = open_wgpu().await.unwrap().device;
    console_log!("{:.0} tokens/s", stratune_tests::speed::tokens_per_second(&device, 10).await);
    common::no_errors();
}
