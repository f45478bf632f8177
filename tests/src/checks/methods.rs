//! A sample of the methods trains.

use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::Sequence;
use stratune_peft::{MethodConfig, MethodKind};
use stratune_train::{Batching, Identity, NextToken, RunConfig, Trainer, evaluate};

use crate::runs::{RecordingCallback, counting, small};

/// One of each way to enter a model: update, on few bits, with a budget, magnitude, shared matrices, shared vector, vectors,
/// networks, prefix, prompt, some of the weights, all of them in few directions, norms, a ladder.
const SAMPLE: [MethodKind; 16] = [
    MethodKind::Lora,
    MethodKind::Qlora,
    MethodKind::Adalora,
    MethodKind::Compacter,
    MethodKind::RandomMask,
    MethodKind::Galore,
    MethodKind::Ladder,
    MethodKind::Dora,
    MethodKind::Vera,
    MethodKind::Said,
    MethodKind::Ia3,
    MethodKind::Parallel,
    MethodKind::Prefix,
    MethodKind::Prompt,
    MethodKind::Pafi,
    MethodKind::LayerNorm,
];

/// The loss on the rows falls, for one of each way to enter a model.
pub async fn methods_learn(device: &Device) {
    for kind in SAMPLE {
        let mut method = MethodConfig::new(kind);
        method.rank = method.rank.map(|_| 4);
        method.length = method.length.map(|_| 4);
        method.dimension = method.dimension.map(|_| 60);
        method.share = method.share.map(|_| 0.1);
        method.initial_rank = method.initial_rank.map(|_| 6);
        let mut config = RunConfig { method: method.into(), ..RunConfig::default() };
        config.train.steps = 12;
        config.train.warmup_steps = 0;
        config.train.eval_every = 0;
        config.train.learning_rate = 0.01 * kind.method().usual_rate;
        let mut model = small(2, device);
        model.attach(&config.method, 3).await.expect("a method that fits");
        let dataset = Rc::new(counting(24, 0));
        let rows: Vec<&Sequence> = dataset.train.iter().collect();
        let before = evaluate(&NextToken, &model, &rows, Batching::packed(24), None).await.expect("a loss").loss;
        let mut trainer = Trainer::new(config, model, dataset.clone(), Vec::new(), Identity::default());
        let trainer = trainer.as_mut().expect("a run");
        RecordingCallback::default().watch(trainer).await.expect("a run to its end");
        let after = evaluate(&NextToken, &trainer.model, &rows, Batching::packed(24), None).await.expect("a loss").loss;
        assert!(after < before - 1e-4, "{kind}: from {before} to {after}");
    }
}
