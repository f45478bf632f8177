//! Gradients of the reverse sweep, against PEFT and against differences.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::module::{LoraAdapter, Reparameterization};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use serde::Deserialize;
use stratune_data::{Sequence, collate};
use stratune_models::Model;
use stratune_peft::{ForwardContext, Gradients, Linear, Lora, ModuleId, Param, restore, snapshot};
use stratune_protocol::draws;
use stratune_runtime::{read_f32, read_scalars};
use stratune_train::{DeviceBatch, NextToken, SweepOptions, SweepOutput, sweep};

use super::logits::{FAMILY_FOLDERS, apart};
use super::worst;
use crate::fixtures::{GRADIENTS, adapted, json};
use crate::runs::rows;

#[derive(Deserialize)]
struct Expected {
    adapter: String,
    ids: Vec<Vec<u32>>,
    labels: Vec<Vec<i64>>,
    loss: f64,
    gradients: BTreeMap<String, Gradient>,
}

#[derive(Deserialize)]
struct Gradient {
    values: Vec<f32>,
}

fn expected() -> Expected {
    serde_json::from_slice(GRADIENTS).expect("the fixture's form")
}

/// One sweep over all blocks of `model`.
fn swept(model: &Model, rows: &[Sequence], keep_graphs: usize) -> (SweepOutput, usize) {
    let batch = collate(&rows.iter().collect::<Vec<_>>());
    let labelled = batch.targets.len();
    let active = vec![true; model.layers.len()];
    let options = SweepOptions {
        objective: &NextToken,
        active: &active,
        dropout: None,
        keep_graphs,
        scale: 1.0 / labelled as f64,
    };
    (sweep(model, &DeviceBatch::new(&batch, &model.device()), &options), labelled)
}

async fn read(gradients: Gradients) -> BTreeMap<String, Vec<f32>> {
    let mut values = BTreeMap::new();
    for (path, gradient) in gradients {
        values.insert(path, read_f32(gradient).await.expect("a gradient"));
    }
    values
}

/// Loss and LoRA gradients of one masked batch, against transformers and PEFT, for each family: as one operation where its
/// switches allow that, and of the parts.
pub async fn gradients_agree_with_peft(device: &Device) {
    agree(expected(), device).await;
    for name in FAMILY_FOLDERS {
        agree(json(name, "gradients.json").await, device).await;
    }
}

/// Within 1e-4, both in f32.
async fn agree(expected: Expected, device: &Device) {
    let whole = adapted(&expected.adapter, device).await;
    let mut parts = whole.clone();
    apart(&mut parts).await;
    agrees(&expected, &whole).await;
    agrees(&expected, &parts).await;
}

async fn agrees(expected: &Expected, model: &Model) {
    let rows = rows(&expected.ids, &expected.labels);
    let (swept, labelled) = swept(model, &rows, 0);
    let loss = read_scalars(vec![swept.loss]).await.expect("a loss")[0] / labelled as f64;
    let of = &expected.adapter;
    assert!((loss - expected.loss).abs() <= 1e-4, "{of}: loss {loss}, PEFT's {}", expected.loss);
    let ours = read(swept.gradients).await;
    let factors = ours.keys().filter(|path| path.contains(".lora_")).count();
    assert_eq!(expected.gradients.len(), factors, "{of}: every factor has a gradient");
    for (name, gradient) in &expected.gradients {
        let path = name.trim_start_matches("base_model.model.");
        let ours = ours.get(path).unwrap_or_else(|| panic!("no gradient of {path}"));
        let scale = gradient.values.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
        let off = worst(ours, &gradient.values);
        assert!(off <= 1e-4 * scale, "{of}, {path}: off by {off:e} where the largest is {scale}");
    }
}

/// Blocks that keep their graphs and blocks that run twice give the same gradients, bit for bit: both ways a block is the
/// same function, and its gradient the same sum.
pub async fn keeping_graphs_changes_nothing(device: &Device) {
    for expected in [expected(), json("peft-qwen3", "gradients.json").await] {
        keeping_graphs_changes_nothing_of(expected, device).await;
    }
}

async fn keeping_graphs_changes_nothing_of(expected: Expected, device: &Device) {
    let model = adapted(&expected.adapter, device).await;
    let rows = rows(&expected.ids, &expected.labels);
    let twice = read(swept(&model, &rows, 0).0.gradients).await;
    for keep_graphs in [1, model.layers.len()] {
        let kept = read(swept(&model, &rows, keep_graphs).0.gradients).await;
        assert!(kept.keys().eq(twice.keys()));
        for (path, gradient) in &kept {
            let off = worst(gradient, &twice[path]);
            assert!(*gradient == twice[path], "keep_graphs {keep_graphs}, {path}: off by {off:e}");
        }
    }
}

/// Our factors' gradients against those of burn's own LoRA, which composes the dense `W + s·ab` and goes back through it:
/// two orders of the same f32 sums of 40 terms, within 1e-5 of the largest.
pub async fn gradients_agree_with_burns_lora(device: &Device) {
    let random = |what: &str, shape: [usize; 2]| {
        let mut rng = draws(6, what, [0, 0]);
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| rng.random_range(-1.0..1.0)).collect();
        Tensor::<2>::from_data(TensorData::new(values, shape), device)
    };
    let (rank, alpha, inputs, outputs, tokens) = (3, 6.0, 12, 20, 40);
    let weight = random("weight", [outputs, inputs]);
    let (a, b) = (random("a", [rank, inputs]), random("b", [outputs, rank]));
    let (x, dy) = (random("x", [tokens, inputs]), random("dy", [tokens, outputs]));

    // burn has W as [in, out] and its factors as [in, rank] and [rank, out].
    let leaf = |t: Tensor<2>| t.autodiff().require_grad();
    let theirs = LoraAdapter {
        a: burn::module::Param::from_tensor(leaf(a.clone().transpose())),
        b: burn::module::Param::from_tensor(leaf(b.clone().transpose())),
        scale: alpha / rank as f64,
    };
    let their_x = leaf(x.clone());
    let dense = theirs.apply(weight.clone().transpose().autodiff());
    let mut tape = (their_x.clone().matmul(dense) * dy.clone()).sum().backward();
    let taken = |t: Tensor<2>, tape: &mut _| t.grad_remove(tape).expect("a gradient").inner();
    let expected = [
        taken(theirs.a.val(), &mut tape).transpose(),
        taken(theirs.b.val(), &mut tape).transpose(),
        taken(their_x, &mut tape),
    ];

    let mut layer = Linear::new(ModuleId::new(None, "layer"), weight);
    layer.deltas.push(Box::new(Lora {
        a: Param::trainable(leaf(a)),
        b: Param::trainable(leaf(b)),
        start: None,
        start_in_base: false,
        gate: None,
        dynamic: None,
        scale: (alpha / rank as f64) as f32,
        dropout: 0.0,
        site: 0,
    }));
    let our_x = leaf(x);
    let y = layer.forward(our_x.clone().unsqueeze(), &ForwardContext::inference(0, Rc::default()));
    let mut tape = (y * dy.unsqueeze()).sum().backward();
    let Some(lora) = layer.deltas[0].of::<Lora>().cloned() else { panic!("a LoRA") };
    let ours = [taken(lora.a.value, &mut tape), taken(lora.b.value, &mut tape), taken(our_x, &mut tape)];
    for ((ours, theirs), name) in ours.into_iter().zip(expected).zip(["A", "B", "x"]) {
        let (ours, theirs) = (read_f32(ours).await.expect("numbers"), read_f32(theirs).await.expect("numbers"));
        let scale = theirs.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let off = worst(&ours, &theirs);
        assert!(off <= 1e-5 * scale, "{name}: off by {off:e} where the largest is {scale}");
    }
}

/// (f(x + h) − f(x − h)) / 2h at the largest entry of every factor. In f32 the loss carries 1e-6, which h = 1e-2 turns
/// into 1e-4; the third derivative adds as much. 2 % of the gradient and 1e-3 hold both.
pub async fn finite_differences(device: &Device) {
    let expected = expected();
    let model = adapted(&expected.adapter, device).await;
    let rows = rows(&expected.ids, &expected.labels);
    let gradients = read(swept(&model, &rows, 0).0.gradients).await;
    assert_eq!(gradients.len(), 2 * 7 * model.layers.len());
    let step = 1e-2;
    for (path, gradient) in gradients.iter().step_by(3) {
        let at = (0..gradient.len()).max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs())).unwrap_or(0);
        let mut values: BTreeMap<String, Tensor<1>> = BTreeMap::new();
        for (name, (_, value)) in snapshot(&mut model.clone()) {
            values.insert(name, value);
        }
        let there = read_f32(values[path].clone()).await.expect("a factor");
        let mut losses = Vec::new();
        for h in [step, -step] {
            let mut nudged = there.clone();
            nudged[at] += h;
            values.insert(path.clone(), Tensor::from_floats(nudged.as_slice(), device));
            let mut moved = model.clone();
            restore(&mut moved, &values).expect("the same factors");
            let (swept, labelled) = swept(&moved, &rows, 0);
            losses.push(read_scalars(vec![swept.loss]).await.expect("a loss")[0] / labelled as f64);
        }
        let difference = (losses[0] - losses[1]) / f64::from(2.0 * step);
        let ours = f64::from(gradient[at]);
        let allowed = 0.02 * ours.abs() + 1e-3;
        assert!((difference - ours).abs() <= allowed, "{path}[{at}]: {ours} by hand, {difference} by difference");
    }
}
