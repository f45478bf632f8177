//! A structure trains, merges, is saved as PEFT reads it, and is read back to the same numbers.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use rand::RngExt;
use serde_json::{Value, json};
use stratune_models::Model;
use stratune_peft::{Structure, count_trainable, restore, snapshot};
use stratune_protocol::draws;
use stratune_runtime::{block_on, read_f32};
use stratune_session::{adapter_of, attach, read_adapter};
use stratune_store::MemoryFolder;
use stratune_tests::fixtures::ids;
use stratune_tests::runs::{RecordingCallback, small, trainer_of};
use stratune_tests::worst;
use stratune_train::RunConfig;

use crate::loss;

const LAYERS: usize = 3;
/// What a random model's embeddings are multiplied by, so that it is sure of what it says, and wrong.
const SURE: f32 = 20.0;
const TEXT: [u32; 12] = [1, 9, 17, 4, 30, 2, 2, 8, 11, 25, 3, 19];

fn says(model: &Model) -> Vec<f32> {
    block_on(read_f32(model.logits(ids(&TEXT, &model.device())))).unwrap()
}

/// Moves every number that trains.
fn move_what_trains(model: &mut Model) {
    let mut values = BTreeMap::new();
    for (i, (path, (_, value))) in snapshot(model).into_iter().enumerate() {
        let mut rng = draws(9, "moved", [i as u64, 0]);
        let there = block_on(read_f32(value)).unwrap();
        let there: Vec<f32> = there.iter().map(|v| v + rng.random_range(-0.1..0.1)).collect();
        values.insert(path, Tensor::<1>::from_floats(there.as_slice(), &model.device()));
    }
    restore(model, &values).unwrap();
}

fn structure(sites: Value) -> Structure {
    let text = json!({ "stratune_structure": 1, "sites": sites }).to_string();
    Structure::from_json(text.as_bytes(), "structure.json").unwrap()
}

#[test]
fn a_structure_trains_and_goes_through_a_folder() {
    let device = Device::flex();
    let lora = structure(json!([
        { "site": "model.layers.0.self_attn.q_proj", "method": "lora", "rank": 1, "alpha": 1 },
        { "site": "model.layers.2.self_attn.q_proj", "method": "lora", "rank": 4, "alpha": 4 },
        { "block": 1, "role": "up", "method": "lora", "rank": 2, "alpha": 4 },
    ]));
    let mixed = structure(json!([
        { "site": "model.layers.0.self_attn.v_proj", "method": "lora", "rank": 2, "alpha": 2 },
        { "site": "model.layers.0.self_attn.v_proj", "method": "bitfit" },
        { "block": 1, "method": "layer_norm" },
        { "block": 2, "method": "pfeiffer", "width": 3 },
    ]));
    for (name, structure, peft_type, merges, trained) in [
        // 16 in and 16 out at queries, 16 and 24 at up.
        ("lora", lora, "LORA", true, 32 + 4 * 32 + 2 * 40),
        // 16 in and 8 out at values; two norms; a bottleneck with its biases.
        ("mixed", mixed, "STRATUNE", false, 2 * 24 + 8 + 32 + (2 * 16 * 3 + 3 + 16)),
    ] {
        let report = small(LAYERS, &device).config.report("small", 0);
        let mut config = RunConfig { method: structure.methods(&report).unwrap(), ..RunConfig::default() };
        (config.train.steps, config.train.batch_size, config.train.learning_rate) = (20, 4, 0.02);
        config.validate().unwrap();

        let mut model = small(LAYERS, &device);
        let table = model.embed_tokens.single_piece_mut().unwrap().floats_mut();
        table.value = table.value.clone().mul_scalar(SURE);
        let mut trainer = trainer_of(&config, model.clone());
        let base = model;
        assert_eq!(count_trainable(&mut trainer.model), trained, "{name}");
        let before = loss(&trainer.model);
        block_on(RecordingCallback::default().watch(&mut trainer)).unwrap();
        let after = loss(&trainer.model);
        assert!(after < before - 1e-3, "{name}: from {before} to {after}");

        let mut model = trainer.model;
        move_what_trains(&mut model);
        let said = says(&model);
        let files = block_on(adapter_of(&model, &config)).unwrap();
        let peft: Value =
            serde_json::from_slice(&files.iter().find(|f| f.0 == "adapter_config.json").unwrap().1).unwrap();
        assert_eq!(peft["peft_type"], peft_type);
        if peft_type == "LORA" {
            let mut targets: Vec<&str> =
                peft["target_modules"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
            targets.sort_unstable();
            let [first, second, third] =
                ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "model.layers.2.self_attn.q_proj"];
            assert_eq!(targets, [first, second, third]);
            let at = |pattern: &str, usual: &str, path: &str, name: &str| {
                let pattern = &peft[pattern];
                pattern.get(path).or(pattern.get(name)).unwrap_or(&peft[usual]).as_f64().unwrap()
            };
            let sizes = |path: &str, name: &str| {
                (at("rank_pattern", "r", path, name), at("alpha_pattern", "lora_alpha", path, name))
            };
            assert_eq!(
                [sizes(first, "q_proj"), sizes(second, "up_proj"), sizes(third, "q_proj")],
                [(1.0, 1.0), (2.0, 4.0), (4.0, 4.0)]
            );
        }
        let folder =
            MemoryFolder::new("adapter", files.into_iter().map(|(file, bytes)| (file, bytes.into())).collect());
        let mut again = base;
        block_on(attach(&mut again, &block_on(read_adapter(&folder)).unwrap())).unwrap();
        assert_eq!(says(&again), said, "{name}");
        assert_eq!(again.merge().is_ok(), merges, "{name}");
        if merges {
            let largest = said.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
            // The same sums in another order.
            assert!(worst(&says(&again), &said) < 1e-5 * largest, "{name}");
        }
    }
}
