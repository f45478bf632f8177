//! A run's configuration and its checkpoint.

use std::rc::Rc;

use burn::tensor::Device;
use serde_json::Value;
use stratune_peft::MethodNames;
use stratune_protocol::Problem;
use stratune_runtime::block_on;
use stratune_session::{hooks_for, saved_run};
use stratune_store::{Checkpoint, Tensors};
use stratune_tests::runs::{RecordingCallback, counting, small, trainer};
use stratune_train::{Identity, RunConfig, Trainer};

use crate::damage::{small_sizes, survives, survives_bent};

const LAYERS: usize = 2;

fn configs() -> Vec<RunConfig> {
    let report = small(LAYERS, &Device::flex()).config.report("small", 0);
    ["lora", "adalora", "galore", "did", "lisa", "lt_sft", "prefix", "compacter", "qlora", "ladder", "mam"]
        .iter()
        .map(|name| small_sizes(name.parse::<MethodNames>().unwrap().methods(&report)))
        .map(|method| RunConfig { method, ..RunConfig::default() })
        .collect()
}

/// A run of a configuration, up to its first step.
fn begin(config: RunConfig) -> Result<(), Problem> {
    config.validate()?;
    let mut model = small(LAYERS, &Device::flex());
    block_on(model.attach(&config.method, config.train.seed))?;
    let hooks = hooks_for(&config, LAYERS);
    Trainer::new(config, model, Rc::new(counting(12, 4)), hooks, Identity::default()).map(|_| ())
}

#[test]
fn run_toml() {
    for config in configs() {
        let name = config.method.title();
        survives(&format!("{name}.toml"), config.to_toml().unwrap().as_bytes(), 120, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            begin(RunConfig::from_toml(&text)?)
        });
        // Fields of the wrong kind and numbers out of range, which rarely come of damaged text.
        survives_bent(&name, &serde_json::to_value(&config).unwrap(), 240, |value| {
            begin(serde_json::from_value(value).map_err(|error| Problem::input(error.to_string()))?)
        });
    }
}

/// Resumes a run from a checkpoint.
fn resume(config: &RunConfig, checkpoint: &Checkpoint) -> Result<(), Problem> {
    saved_run(checkpoint)?;
    trainer(config, LAYERS, &Device::flex()).resume(checkpoint)
}

#[test]
fn checkpoints() {
    for name in ["lora", "adalora", "galore", "lisa"] {
        let report = small(LAYERS, &Device::flex()).config.report("small", 0);
        let method = small_sizes(name.parse::<MethodNames>().unwrap().methods(&report));
        let mut config = RunConfig { method, ..RunConfig::default() };
        (config.train.steps, config.train.batch_size) = (3, 2);
        let mut recording = RecordingCallback::default();
        block_on(recording.watch(&mut trainer(&config, LAYERS, &Device::flex()))).unwrap();
        let whole = recording.last();
        survives(&format!("{name}, a checkpoint"), &whole.to_bytes().unwrap(), 150, |bytes| {
            resume(&config, &Checkpoint::from_bytes(bytes, "checkpoint")?)
        });
        // One that was written so, with a checksum that fits.
        survives_bent(&format!("{name}, what is no tensor"), &whole.meta, 300, |meta: Value| {
            resume(&config, &Checkpoint { meta, tensors: whole.tensors.clone() })
        });
        let named: Vec<&String> = whole.tensors.keys().collect();
        survives_bent(&format!("{name}, tensors"), &serde_json::json!(named), 150, |names| {
            let mut tensors = Tensors::new();
            for (name, key) in names.as_array().into_iter().flatten().zip(&named) {
                tensors.insert(name.as_str().unwrap_or("a").into(), whole.tensors[*key].clone());
            }
            resume(&config, &Checkpoint { meta: whole.meta.clone(), tensors })
        });
        survives_bent(&format!("{name}, shapes"), &shapes(&whole.tensors), 150, |shapes| {
            let mut tensors = whole.tensors.clone();
            for (tensor, shape) in tensors.values_mut().zip(shapes.as_array().into_iter().flatten()) {
                tensor.shape =
                    shape.as_array().into_iter().flatten().filter_map(|n| n.as_u64().map(|n| n as usize)).collect();
            }
            // Only what a file can hold: as many numbers as the shape says.
            let bytes = Checkpoint { meta: whole.meta.clone(), tensors }.to_bytes()?;
            resume(&config, &Checkpoint::from_bytes(&bytes, "checkpoint")?)
        });
    }
}

fn shapes(tensors: &Tensors) -> Value {
    serde_json::json!(tensors.values().map(|tensor| &tensor.shape).collect::<Vec<_>>())
}
