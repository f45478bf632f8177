//! How fast a step is where no command line runs: in a tab.

use std::rc::Rc;

use burn::tensor::Device;
use futures::future::FutureExt;
use rand::RngExt;
use serde_json::json;
use stratune_data::{Dataset, Sequence};
use stratune_models::Model;
use stratune_peft::MethodConfig;
use stratune_protocol::draws;
use stratune_runtime::Stopwatch;
use stratune_session::hooks_for;
use stratune_train::{Identity, NoOutput, RunConfig, Trainer};

use crate::runs::of_json;

/// Rows of a batch, and tokens of a row.
const BATCH: [usize; 2] = [8, 256];

/// Tokens a second of LoRA steps, rank 8 on all linear layers, of a model of the geometry of stories260K: the median of
/// `steps`, after two that prepare kernels and memory.
pub async fn tokens_per_second(device: &Device, steps: usize) -> f64 {
    let geometry = of_json(json!({
        "model_type": "llama",
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 172,
        "num_hidden_layers": 5,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512,
        "tie_word_embeddings": true,
    }));
    let [rows, length] = BATCH;
    let mut config =
        RunConfig { method: MethodConfig { rank: Some(8), ..MethodConfig::default() }.into(), ..RunConfig::default() };
    (config.train.batch_size, config.train.steps) = (rows, steps + 2);
    let row = |i: usize| {
        let mut rng = draws(0, "speed", [i as u64, 0]);
        let tokens = (0..length).map(|_| rng.random_range(0..512)).collect();
        Sequence { tokens, loss_mask: (0..length).map(|t| t > 0).collect(), ..Sequence::default() }
    };
    let dataset = Rc::new(Dataset { train: (0..4 * rows).map(row).collect(), ..Dataset::default() });
    let mut model = Model::random(geometry, 0, device).expect("a sound geometry");
    let attached = model.attach(&config.method, 0).now_or_never();
    attached.expect("an answer at once").expect("a method that fits");
    let hooks = hooks_for(&config, 5);
    let mut trainer = Trainer::new(config, model, dataset, hooks, Identity::default()).expect("a run");
    let mut seconds = Vec::new();
    for step in 0..steps + 2 {
        let clock = Stopwatch::start();
        trainer.advance(&mut NoOutput::default()).await.expect("a step");
        if step >= 2 {
            seconds.push(clock.seconds());
        }
    }
    seconds.sort_by(f64::total_cmp);
    (rows * length) as f64 / seconds[seconds.len() / 2]
}
