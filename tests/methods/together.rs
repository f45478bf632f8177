//! Methods behind gates, in some layers, and several adapters in one model.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use stratune_data::collate;
use stratune_models::Model;
use stratune_peft::{
    Adalora, Enters, ForwardContext, Gate, Matrix, MethodConfig, MethodKind, MethodPreset, Methods, Param, ParamId,
    Parameters, Visitor, count_trainable, named_parameters, restore, snapshot,
};
use stratune_runtime::read_f32;
use stratune_tests::fixtures::ids;
use stratune_tests::runs::{RecordingCallback, counting, small};
use stratune_tests::worst;
use stratune_train::{AdaLora, DeviceBatch, Identity, NextToken, SweepOptions, Trainer, sweep};

use super::suited;
use crate::models::{LAYERS, TEXT, fresh, moved, says};
use crate::proofs::{config, numbers};

pub async fn all(device: &Device) {
    mam_is_a_prefix_and_a_scaled_bottleneck(device).await;
    a_gate_at_zero_is_the_base_and_at_one_the_plain_sum(device).await;
    gates_depend_on_the_text(device).await;
    dropped_adapters_need_no_backward_pass(device).await;
    a_ladder_needs_no_backward_pass_through_the_model(device).await;
    rows_of_a_batch_may_have_adapters_of_their_own(device).await;
    weighted_adapters_add_up_and_merge(device).await;
    loftq_loses_less_than_the_few_bits(device).await;
    adalora_ends_in_its_budget_and_its_directions_part(device).await;
}

/// Without the prefix and with a scale of zero it is the base; what the bottleneck adds is `s (U relu(D x + b) + c)`, made
/// here number by number.
async fn mam_is_a_prefix_and_a_scaled_bottleneck(device: &Device) {
    let report = small(LAYERS, device).config.report("small", 0);
    let sized = |m: &MethodConfig| MethodConfig { width: m.width.map(|w| w.min(5)), ..m.clone() };
    let mam = Methods(MethodPreset::Mam.methods(&report).iter().map(sized).collect());
    let mut model = moved(&mam, device).await;
    let block = &model.layers[1];
    let (prefix, adapter) = (block.self_attn.prefix.as_ref().expect("a prefix"), block.adapters[0].clone());
    assert_eq!((prefix.length(), adapter.scale), (30, 4.0));
    let x: Vec<f32> = (0..16).map(|i| (i as f32).cos()).collect();
    let (Matrix::Dense(down), Matrix::Dense(up)) = (&adapter.down, &adapter.up) else { panic!("dense matrices") };
    let of = async |t: Tensor<2>| read_f32(t).await.expect("numbers");
    let (d, u) = (of(down.value.clone()).await, of(up.value.clone()).await);
    let (b, c) = (
        read_f32(adapter.down_bias.value.clone()).await.expect("numbers"),
        read_f32(adapter.up_bias.value.clone()).await.expect("numbers"),
    );
    let dot = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
    let narrow: Vec<f32> = d.chunks(16).zip(&b).map(|(row, b)| (dot(row, &x) + b).max(0.0)).collect();
    let want: Vec<f32> = u.chunks(5).zip(&c).map(|(row, c)| 4.0 * (dot(row, &narrow) + c)).collect();
    let input = Tensor::<1>::from_floats(x.as_slice(), device).reshape([1, 1, 16]);
    let got = read_f32(adapter.forward(input, &ForwardContext::inference(1, Rc::default()))).await.expect("numbers");
    assert!(worst(&got, &want) < 1e-5, "{got:?} {want:?}");

    for block in &mut model.layers {
        block.self_attn.prefix = None;
        block.adapters.iter_mut().for_each(|adapter| adapter.scale = 0.0);
    }
    assert_eq!(says(&model).await, says(&small(LAYERS, device)).await);
}

/// Opens or closes every gate for good.
fn force(model: &mut Model, to: f32) {
    struct Force(f32);
    impl Visitor for Force {
        fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
            if id.path.ends_with("gate.bias") {
                param.value = param.value.zeros_like() + self.0;
            }
        }
    }
    model.each(&mut Force(to));
}

async fn a_gate_at_zero_is_the_base_and_at_one_the_plain_sum(device: &Device) {
    let report = small(LAYERS, device).config.report("small", 0);
    let gated = MethodPreset::Unipelt.methods(&report);
    let mut model = moved(&gated, device).await;
    force(&mut model, -1e4);
    // The prefix moves the text's positions, whose angles are then rounded otherwise.
    let off = worst(&says(&model).await, &says(&small(LAYERS, device)).await);
    assert!(off < 1e-6, "closed: {off:e}");

    force(&mut model, 1e4);
    // LoRA's gate stands in the place of its scale: an alpha like the rank makes that one.
    let open = |m: &MethodConfig| MethodConfig {
        gated: m.gated.map(|_| false),
        alpha: m.alpha.and(m.rank).map(|rank| rank as f32),
        ..m.clone()
    };
    let mut plain = fresh(&Methods(gated.iter().map(open).collect()), device).await;
    let values: BTreeMap<String, Tensor<1>> =
        snapshot(&mut model).into_iter().map(|(path, (_, value))| (path, value)).collect();
    restore(&mut plain, &values).expect("the same modules");
    let off = worst(&says(&model).await, &says(&plain).await);
    assert!(off < 1e-5, "open: {off:e}");
}

async fn gates_depend_on_the_text(device: &Device) {
    let gate = Gate::new(16, &mut stratune_protocol::draws(1, "gate", [0, 0]), device);
    let base = small(1, device);
    let mut means = Vec::new();
    for text in [[1, 2, 3, 4], [30, 5, 17, 9]] {
        // Embeddings are small; a trained gate's row is larger than a new one's.
        let open = read_f32(gate.open(base.embed(ids(&text, device)).mul_scalar(50.0))).await.expect("gates");
        assert!(open.iter().all(|g| *g > 0.0 && *g < 1.0), "{open:?}");
        means.push(open.iter().sum::<f32>() / open.len() as f32);
    }
    assert!((means[0] - means[1]).abs() > 1e-3, "{means:?}");
}

fn passed(model: &Model, device: &Device) -> Vec<usize> {
    let rows = counting(3, 0).train;
    let batch = DeviceBatch::new(&collate(&rows.iter().collect::<Vec<_>>()), device);
    sweep(
        model,
        &batch,
        &SweepOptions { objective: &NextToken, active: &[true; LAYERS], dropout: None, keep_graphs: 0, scale: 1.0 },
    )
    .passed
}

async fn dropped_adapters_need_no_backward_pass(device: &Device) {
    let report = small(LAYERS, device).config.report("small", 0);
    let model = fresh(&MethodPreset::AdapterDrop.methods(&report), device).await;
    assert_eq!(passed(&model, device), [2, 1]);
}

async fn a_ladder_needs_no_backward_pass_through_the_model(device: &Device) {
    let model = fresh(&MethodKind::Ladder.into(), device).await;
    assert!(passed(&model, device).is_empty());
}

/// The base, and two adapters of different kinds, in the rows of one batch: what each says by itself.
async fn rows_of_a_batch_may_have_adapters_of_their_own(device: &Device) {
    let base = small(LAYERS, device);
    let linear: Vec<MethodKind> = MethodKind::ALL
        .into_iter()
        .filter(|k| matches!(k.method().enters, Enters::Linear(_)) && !k.method().few_bits)
        .collect();
    let rows = [0, 1, 1, 2, 0, 2];
    for (k, kind) in linear.iter().enumerate() {
        let other = linear[(k + 1) % linear.len()];
        let alone =
            [base.clone(), moved(&suited(*kind).into(), device).await, moved(&suited(other).into(), device).await];
        let adapters = vec![(alone[1].clone(), 1.0), (alone[2].clone(), 1.0)];
        let mixed = base.mixed(adapters).expect("both enter linear layers").for_rows(&rows);
        let batch = ids(&TEXT, device).repeat(&[rows.len(), 1]);
        let together = read_f32(mixed.logits(batch)).await.expect("logits");
        for (row, adapter) in together.chunks(together.len() / rows.len()).zip(rows) {
            let off = worst(row, &says(&alone[adapter]).await);
            assert!(off < 1e-6, "{kind} and {other}, adapter {adapter}: {off:e}");
        }
    }
    let prefix = moved(&suited(MethodKind::Prefix).into(), device).await;
    let problem = base.mixed(vec![(prefix, 1.0)]).expect_err("a prefix is no addition");
    assert!(problem.what.contains("adapter 1"), "{problem}");
}

async fn weighted_adapters_add_up_and_merge(device: &Device) {
    let base = small(LAYERS, device);
    let of = async |kind: MethodKind| moved(&suited(kind).into(), device).await;
    let adapters = vec![(of(MethodKind::Lora).await, 0.3), (of(MethodKind::Bitfit).await, -0.5)];
    let mut mixed = base.mixed(adapters).expect("both enter linear layers");
    let before = says(&mixed).await;
    mixed.merge().expect("both merge");
    assert!(worst(&says(&mixed).await, &before) < 1e-6);

    // What cannot be merged by itself cannot be merged in a mixture either.
    let gated = MethodConfig { gated: Some(true), ..suited(MethodKind::Lora) };
    let mut mixed = base.mixed(vec![(moved(&gated.into(), device).await, 0.5)]).expect("it enters linear layers");
    let before = says(&mixed).await;
    assert!(mixed.merge().expect_err("a gate depends on the text").what.contains("gate"));
    assert_eq!(says(&mixed).await, before);

    // One adapter by one is that adapter, by zero the base.
    let lora = of(MethodKind::Lora).await;
    for (weight, alone) in [(1.0, &lora), (0.0, &base)] {
        let mixed = base.mixed(vec![(lora.clone(), weight)]).expect("it enters linear layers");
        assert!(worst(&says(&mixed).await, &says(alone).await) < 1e-6, "{weight}");
    }
}

/// ‖W − Q − s·BA‖ < ‖W − Q‖ for every matrix, and training leaves Q as it is (with the base's other tensors).
async fn loftq_loses_less_than_the_few_bits(device: &Device) {
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let whole = numbers(named_parameters(&mut small(LAYERS, device))).await;
    for kind in [MethodKind::Qlora, MethodKind::Loftq] {
        let method = MethodConfig { bits: Some(4), ..suited(kind) };
        let mut model = fresh(&method.into(), device).await;
        let mut few = model.clone();
        few.dequantize();
        let few = numbers(named_parameters(&mut few)).await;
        model.merge().expect("LoRA merges");
        let merged = numbers(named_parameters(&mut model)).await;
        for (path, weight) in whole.iter().filter(|(path, _)| path.ends_with("_proj.weight")) {
            let lost: Vec<f32> = weight.iter().zip(&few[path]).map(|(a, b)| a - b).collect();
            let left: Vec<f32> = weight.iter().zip(&merged[path]).map(|(a, b)| a - b).collect();
            assert!(length(&lost) > 0.0, "{path} is kept in four bits");
            assert_eq!(length(&left) < 0.95 * length(&lost), kind == MethodKind::Loftq, "{kind}, {path}");
        }
    }
}

async fn adalora_ends_in_its_budget_and_its_directions_part(device: &Device) {
    let method =
        MethodConfig { initial_rank: Some(5), rank: Some(2), interval: Some(2), ..suited(MethodKind::Adalora) };
    let mut config = config(method.clone());
    config.train.steps = 60;
    let rank_allocator = AdaLora::of(&method).expect("a budget");
    let model = fresh(&config.method, device).await;
    let orthogonal_penalty = async |model: &Model| {
        let (mut sum, mut model) = (0.0, model.clone());
        for block in &mut model.layers {
            for linear in block.linears_mut() {
                for delta in &linear.deltas {
                    let Some(adalora) = delta.of::<Adalora>() else { continue };
                    sum += read_f32(adalora.orthogonal_penalty()).await.expect("a number")[0];
                }
            }
        }
        sum
    };
    let before = orthogonal_penalty(&model).await;
    let dataset = Rc::new(counting(40, 0));
    let mut trainer = Trainer::new(config, model, dataset, Vec::new(), Identity::default()).expect("a run");
    let matrices = LAYERS * 7;
    for step in 1..=60 {
        trainer.advance(&mut RecordingCallback::default()).await.expect("a step");
        let values = numbers(snapshot(&mut trainer.model)).await;
        let gains = values.iter().filter(|(path, _)| path.ends_with("lora_E")).flat_map(|(_, v)| v);
        let open = gains.filter(|e| **e != 0.0).count();
        // Between two decisions closed directions may come back; in the last three tenths none may.
        if step % 2 == 0 && step > 6 || step >= 42 {
            assert_eq!(open, rank_allocator.rank_budget(step, 60, matrices), "step {step}");
        }
    }
    assert_eq!(rank_allocator.rank_budget(60, 60, matrices), 2 * matrices);
    let after = orthogonal_penalty(&trainer.model).await;
    assert!(after < before, "the penalty falls: {before} to {after}");
    assert_eq!(count_trainable(&mut trainer.model), method.trainable(&small(LAYERS, device).config.report("", 0)));
}
