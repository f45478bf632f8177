//! What DyLoRA is known for: each of its ranks can be taken out and used.

use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::{Dataset, Sequence};
use stratune_models::{LoadedTensor, Model, Weights};
use stratune_peft::{Adapter, Lora, MethodConfig, MethodKind, Methods, TargetOverride, named_parameters};
use stratune_session::{adapter_of, attach, read_adapter, sliced};
use stratune_store::MemoryFolder;
use stratune_tests::runs::{RecordingCallback, counting, small};
use stratune_tests::worst;
use stratune_train::{Batching, Identity, NextToken, RunConfig, Trainer, evaluate};

use super::suited;
use crate::models::{LAYERS, moved, says};
use crate::proofs::config;

/// Trained at all ranks at once, the slice of each rank gains at least half of what a LoRA of that rank gains: on a model
/// that has learned to count upwards and is to count downwards.
pub async fn every_rank_is_usable(device: &Device) {
    let rank = 4;
    let run = async |config: &RunConfig, model: Model, dataset: &Rc<Dataset>| {
        let hook = Vec::new();
        let mut trainer =
            Trainer::new(config.clone(), model, dataset.clone(), hook, Identity::default()).expect("a run");
        RecordingCallback::default().watch(&mut trainer).await.expect("a run to its end");
        trainer.model
    };
    let up = Rc::new(counting(40, 0));
    let mirrored = |row: &Sequence| Sequence { tokens: row.tokens.iter().map(|t| 31 - t).collect(), ..row.clone() };
    let down = Rc::new(Dataset { train: up.train.iter().map(mirrored).collect(), ..Dataset::default() });
    let of = |kind: MethodKind, rank: usize, steps: usize| {
        let mut config = config(MethodConfig { rank: Some(rank), ..MethodConfig::new(kind) });
        config.train.steps = steps;
        config.train.weight_decay = 0.0;
        config.train.learning_rate = 0.01;
        config
    };
    let mut base = small(LAYERS, device);
    base.train_all().expect("embeddings in one piece");
    let base = run(&of(MethodKind::Lora, 1, 200), base, &up).await;
    let mut weights = Weights::of(&base.config);
    let tensors = named_parameters(&mut base.clone()).into_iter();
    weights.extend(tensors.map(|(path, (_, value))| (path, vec![LoadedTensor::Floats(value)])));
    let base = Model::from_weights((*base.config).clone(), weights, device).expect("the same tensors");
    let trained_at = async |kind: MethodKind, rank: usize| {
        let config = of(kind, rank, 200);
        let mut model = base.clone();
        model.attach(&config.method, 2).await.expect("a rank that fits");
        run(&config, model, &down).await
    };
    let rows: Vec<_> = down.train.iter().collect();
    let loss =
        async |model: &Model| evaluate(&NextToken, model, &rows, Batching::packed(8), None).await.expect("a loss").loss;
    let cut = |model: &Model, rank: usize| {
        let mut model = model.clone();
        for block in &mut model.layers {
            for linear in block.linears_mut() {
                for delta in &mut linear.deltas {
                    let Some(lora) = delta.of_mut::<Lora>() else { continue };
                    let (a, b) = lora.sliced(rank);
                    (lora.a.value, lora.b.value, lora.scale) = (a, b, 16.0 / rank as f32);
                }
            }
        }
        model
    };
    let before = loss(&base).await;
    let whole = trained_at(MethodKind::Dylora, rank).await;
    for slice in 1..=rank {
        let (sliced, own) = (loss(&cut(&whole, slice)).await, loss(&trained_at(MethodKind::Lora, slice).await).await);
        println!("rank {slice}: sliced {sliced:.3}, LoRA {own:.3}, base {before:.3}");
        assert!(before - sliced > 0.5 * (before - own), "rank {slice}: {sliced}, LoRA {own}, base {before}");
    }
}

/// The cut folder holds A's first rows and B's first columns at α over the lower rank, also where layers have ranks of their
/// own; it is read as what the model computes with these.
pub async fn a_slice_is_a_folder_of_its_own(device: &Device) {
    let mut methods: Methods = suited(MethodKind::Dylora).into();
    methods.override_at("q_proj", TargetOverride { rank: Some(5), alpha: None });
    let model = moved(&methods, device).await;
    let files = adapter_of(&model, &config(methods)).await.expect("files");
    let folder = MemoryFolder::new("adapter", files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect());
    let adapter = read_adapter(&folder).await.expect("an adapter");
    for rank in [1, 2, 4, 5] {
        let mut cut = model.clone();
        for linear in cut.layers.iter_mut().flat_map(|block| block.linears_mut()) {
            let lora = linear.deltas[0].of_mut::<Lora>().expect("a LoRA");
            let rank = rank.min(lora.a.value.dims()[0]);
            let (a, b) = lora.sliced(rank);
            (lora.a.value, lora.b.value, lora.scale) = (a, b, 16.0 / rank as f32);
        }
        let mut again = small(LAYERS, device);
        attach(&mut again, &sliced(&adapter, rank).expect("a rank it has")).await.expect("an adapter that fits");
        let off = worst(&says(&again).await, &says(&cut).await);
        assert!(off < 1e-6, "rank {rank}: {off:e}");
    }
    for rank in [0, 6] {
        assert!(sliced(&adapter, rank).expect_err("no such rank").what.contains("own is 5"));
    }
    let dora = Adapter { methods: MethodKind::Dora.into(), ..adapter };
    assert!(sliced(&dora, 1).expect_err("no slice").what.contains("dora"));
}
