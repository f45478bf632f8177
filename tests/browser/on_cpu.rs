//! In a browser's worker, on the CPU device: the same proofs as natively, and the browser's own storage.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::Device;
use serde_json::json;
use stratune_protocol::{IstConfig, IstMode};
use stratune_store::{Checkpoint, CheckpointStore, EventLog, Folder, HostTensor, OpfsCheckpoints, OpfsFiles};
use stratune_tests::runs::{RecordingCallback, trainer};
use stratune_tests::{checks, fixtures, skipped};
use stratune_train::RunConfig;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use crate::common;

#[wasm_bindgen_test]
async fn numbers_are_right() {
    common::start();
    checks::all(&Device::flex()).await;
    common::no_errors();
}

#[wasm_bindgen_test]
async fn stories_are_told() {
    common::start();
    if !checks::stories_are_told(&Device::flex(), 120).await {
        skipped("STRATUNE_DATA was not set when this was built");
    }
}

/// A practical run learns, and goes on exactly after its checkpoint went through the browser's storage.
#[wasm_bindgen_test]
async fn a_run_learns_and_goes_on_from_the_browsers_storage() {
    common::start();
    let device = Device::flex();
    let mut config = RunConfig { ist: IstConfig::preset(IstMode::Practical), ..RunConfig::default() };
    config.ist.interval = 4;
    config.method[0].rank = Some(4);
    config.train.steps = 30;
    config.train.learning_rate = 1e-2;
    let mut whole = RecordingCallback::default();
    whole.watch(&mut trainer(&config, 4, &device)).await.unwrap();
    let losses = whole.losses();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(mean(&losses[25..]) < mean(&losses[..5]) - 0.02, "{losses:?}");

    let mut first = RecordingCallback { stop_after: Some(13), ..RecordingCallback::default() };
    first.watch(&mut trainer(&config, 4, &device)).await.unwrap();
    let checkpoints = OpfsCheckpoints::open("test-run").await.unwrap();
    checkpoints.save(first.last()).await.unwrap();
    let kept = OpfsCheckpoints::open("test-run").await.unwrap().load().await.unwrap().unwrap();
    let mut again = trainer(&config, 4, &device);
    again.resume(&kept).unwrap();
    let mut second = RecordingCallback::default();
    second.watch(&mut again).await.unwrap();
    assert_eq!(second.losses(), losses[13..]);
    assert_eq!(second.last().tensors, whole.last().tensors);
    checkpoints.clear().await.unwrap();
    assert!(checkpoints.load().await.unwrap().is_none());
}

#[wasm_bindgen_test]
async fn storage_keeps_the_newest_checkpoint_and_files_of_a_run() {
    common::start();
    let checkpoints = OpfsCheckpoints::open("test-vault").await.unwrap();
    checkpoints.clear().await.unwrap();
    for step in 0..3 {
        let tensors =
            BTreeMap::from([("value/x".to_string(), HostTensor { shape: vec![2], data: vec![step as f32; 2] })]);
        let checkpoint = Checkpoint { tensors, meta: json!({ "step": step }) };
        checkpoints.save(&checkpoint).await.unwrap();
        assert_eq!(checkpoints.load().await.unwrap(), Some(checkpoint));
    }
    checkpoints.clear().await.unwrap();
    checkpoints.erase("test-events").await.unwrap();
    for line in ["1\n", "2\n", "3"] {
        checkpoints.append("test-events", line).await.unwrap();
    }
    assert_eq!(checkpoints.lines("test-events").await.unwrap(), "1\n2\n", "a line that was cut off is left out");
    checkpoints.erase("test-events").await.unwrap();
    assert_eq!(checkpoints.lines("test-events").await.unwrap(), "");

    let files = OpfsFiles::open("test-files").await.unwrap();
    let source: Rc<dyn Folder> = fixtures::folder("tokenizer");
    for name in source.names() {
        files.put_from(&name, source.as_ref()).await.unwrap();
        assert_eq!(files.get(&name).await.unwrap().unwrap(), source.read(&name, None).await.unwrap());
        files.remove(&name).await.unwrap();
    }
    assert!(files.names().await.unwrap().is_empty());
}

/// No proof: what `cargo xtask bench tab` prints.
#[wasm_bindgen_test]
#[ignore = "a measurement"]
async fn speed() {
    common::start();
    let device = Device::flex();
    console_log!("{:.0} tokens/s", stratune_tests::speed::tokens_per_second(&device, 10).await);
    common::no_errors();
}
