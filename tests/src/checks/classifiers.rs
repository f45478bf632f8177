//! What encoders say of whole texts, against transformers and PEFT.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use stratune_data::{Label, LabelKind, Sequence, Target};
use stratune_models::{ForwardOptions, Model};
use stratune_protocol::ClassWeights;
use stratune_runtime::{read_f32, read_scalars};
use stratune_train::{Batching, Classification, DeviceBatch, Objective, Regression, SweepOptions, sweep};

use super::logits::apart;
use super::worst;
use crate::fixtures::{adapted, json, model};

/// Both sides compute in f32, in another order: 1e-4 of logits that reach a few units.
pub(super) const TOLERANCE: f32 = 1e-4;

/// Encoders of each family, with types of tokens and without, and one named as sentence-transformers names it.
pub const ENCODERS: [&str; 4] = ["tiny-bert", "tiny-roberta", "tiny-distilbert", "tiny-bert-bare"];

/// LoRA and a classifier on each, and one that says a number.
pub const CLASSIFIERS: [&str; 5] =
    ["peft-bert", "peft-roberta", "peft-distilbert", "peft-bert-bare", "peft-bert-regression"];

#[derive(Deserialize)]
struct Said {
    rows: Vec<Row>,
    /// What leaves the last block of the first row.
    hidden: Vec<f32>,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    #[serde(default)]
    type_ids: Vec<u32>,
    #[serde(default)]
    logits: Vec<f32>,
    /// What the pooler says, where there is no classifier.
    #[serde(default)]
    pooled: Vec<f32>,
}

impl Row {
    fn sequence(&self, target: Target) -> Sequence {
        sequence(&self.ids, &self.type_ids, target)
    }
}

fn sequence(ids: &[u32], type_ids: &[u32], target: Target) -> Sequence {
    Sequence {
        tokens: ids.to_vec(),
        loss_mask: vec![false; ids.len()],
        type_ids: type_ids.to_vec(),
        label: Some(Label { at: 0, target }),
        ..Sequence::default()
    }
}

/// What leaves the last block.
pub(super) fn hidden(model: &Model, batch: &DeviceBatch) -> Tensor<3> {
    let at = batch.model_positions(model);
    let options = ForwardOptions { context: &|i| model.inference_context(i), alter: None };
    let x = model.forward_blocks(model.embed_with_prompt(batch.tokens.clone(), &at), &at, None, options);
    model.without_prompt(x)
}

/// Each row by itself, all padded to one width, and packed into as few rows as they need.
async fn says(model: &Model, said: &Said, name: &str) {
    let rows: Vec<Sequence> = said.rows.iter().map(|row| row.sequence(Target::Class(0))).collect();
    let examples: Vec<&Sequence> = rows.iter().collect();
    let alone = Batching { size: 1, packing: false }.to_device(model, &examples[..1]);
    let (x, count) = (hidden(model, &alone), rows[0].tokens.len());
    let first = read_f32(x.narrow(1, 0, count)).await.expect("states");
    let off = worst(&first, &said.hidden);
    assert!(off <= TOLERANCE, "{name}: states are off by {off:e}");
    let mut batches: Vec<Vec<&Sequence>> = examples.iter().map(|row| vec![*row]).collect();
    batches.extend([examples.clone(), examples.clone()]);
    let last = batches.len() - 1;
    for (b, examples) in batches.into_iter().enumerate() {
        let batch = Batching { size: examples.len(), packing: b == last }.to_device(model, &examples);
        let x = hidden(model, &batch);
        let want: Vec<&Row> = if examples.len() == 1 { vec![&said.rows[b]] } else { said.rows.iter().collect() };
        let (got, want) = match want[0].pooled.is_empty() {
            false => (pooled(model, x, &batch).await, want.iter().flat_map(|row| row.pooled.clone()).collect()),
            true => {
                let got = model.classify(x, batch.positions.clone()).expect("a classifier");
                (
                    read_f32(got).await.expect("logits"),
                    want.iter().flat_map(|row| row.logits.clone()).collect::<Vec<_>>(),
                )
            }
        };
        let off = worst(&got, &want);
        assert!(off <= TOLERANCE, "{name}, batch {b}: off by {off:e}");
    }
}

async fn pooled(model: &Model, x: Tensor<3>, batch: &DeviceBatch) -> Vec<f32> {
    let [rows, width, hidden] = x.dims();
    let x = x.reshape([rows * width, hidden]).select(0, batch.positions.clone());
    let (dense, _) = model.classifier.as_ref().and_then(|of| of.dense.as_ref()).expect("a pooler");
    let y = dense.forward(x.unsqueeze(), &model.inference_context(0));
    read_f32(burn::tensor::activation::tanh(y)).await.expect("what is pooled")
}

/// Families and adapters alike.
pub async fn classifiers_agree_with_transformers(device: &Device) {
    for name in ENCODERS {
        let said: Said = json(name, "logits.json").await;
        let model = model(name, device).await;
        says(&model, &said, name).await;
        let mut parts = model;
        apart(&mut parts).await;
        says(&parts, &said, name).await;
    }
    for name in CLASSIFIERS {
        says(&adapted(name, device).await, &json(name, "logits.json").await, name).await;
    }
}

#[derive(Deserialize)]
struct Expected {
    ids: Vec<Vec<u32>>,
    #[serde(default)]
    type_ids: Vec<Vec<u32>>,
    labels: Vec<Value>,
    loss: f64,
    gradients: BTreeMap<String, Gradient>,
}

/// A gradient as PEFT has it.
#[derive(Deserialize)]
pub(super) struct Gradient {
    values: Vec<f32>,
}

/// Loss and gradients of one batch of labelled texts, those of the classifier among them, within 1e-4, padded and packed.
pub async fn classifier_gradients_agree_with_peft(device: &Device) {
    for name in CLASSIFIERS {
        let expected: Expected = json(name, "gradients.json").await;
        let model = adapted(name, device).await;
        let target = |label: &Value| match label.as_u64() {
            Some(class) => Target::Class(class as u32),
            None => Target::Value(label.as_f64().expect("a number") as f32),
        };
        let type_ids = |row: usize| expected.type_ids.get(row).cloned().unwrap_or_default();
        let rows = expected.ids.iter().zip(&expected.labels).enumerate();
        let rows: Vec<Sequence> = rows.map(|(r, (ids, label))| sequence(ids, &type_ids(r), target(label))).collect();
        let objective: &dyn Objective = match rows[0].label.expect("a label").target {
            Target::Class(_) => &Classification::default(),
            Target::Value(_) => &Regression,
        };
        for packing in [false, true] {
            same_gradients(name, (&model, objective), &rows, (expected.loss, &expected.gradients), packing).await;
        }
    }
}

/// Loss and gradients of one batch are these, within 1e-4.
pub(super) async fn same_gradients(
    name: &str,
    (model, objective): (&Model, &dyn Objective),
    rows: &[Sequence],
    (expected_loss, expected): (f64, &BTreeMap<String, Gradient>),
    packing: bool,
) {
    let batch = Batching { size: rows.len(), packing }.to_device(model, &rows.iter().collect::<Vec<_>>());
    let active = vec![true; model.layers.len()];
    let scale = 1.0 / rows.len() as f64;
    let options = SweepOptions { objective, active: &active, dropout: None, keep_graphs: 0, scale };
    let swept = sweep(model, &batch, &options);
    let loss = read_scalars(vec![swept.loss]).await.expect("a loss")[0] * scale;
    assert!((loss - expected_loss).abs() <= 1e-4, "{name}: loss {loss}, PEFT's {expected_loss}");
    let forward = objective.loss(model, hidden(model, &batch), &batch);
    let forward = read_scalars(vec![forward]).await.expect("a loss")[0] * scale;
    assert!((loss - forward).abs() <= 1e-5, "{name}: {loss} with gradients, {forward} without");
    assert_eq!(swept.gradients.len(), expected.len(), "{name}: {:?}", swept.gradients.keys());
    for (path, gradient) in swept.gradients {
        let want = &expected[&format!("base_model.model.{path}")].values;
        let got = read_f32(gradient).await.expect("a gradient");
        let scale = want.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
        let off = worst(&got, want);
        assert!(off <= 1e-4 * scale, "{name}, {path}: off by {off:e} where the largest is {scale}");
    }
}

/// Each class has its weight in the loss: written out here from the probabilities.
pub async fn class_weights_weigh(device: &Device) {
    let model = adapted("peft-bert", device).await;
    let said: Said = json("peft-bert", "logits.json").await;
    let rows: Vec<Sequence> =
        said.rows.iter().enumerate().map(|(r, row)| row.sequence(Target::Class(r as u32 % 3))).collect();
    let batch = Batching::packed(rows.len()).to_device(&model, &rows.iter().collect::<Vec<_>>());
    let classes = LabelKind::Classes(["a", "b", "c"].map(str::to_owned).to_vec());
    let objective = Classification { class_weights: Some(classes.weights(&rows, ClassWeights::Balanced)) };
    let got = read_scalars(vec![objective.loss(&model, hidden(&model, &batch), &batch)]).await.expect("a loss")[0];
    let weights = [4.0 / 6.0, 4.0 / 3.0, 4.0 / 3.0];
    let loss = |(r, row): (usize, &Row)| {
        let sum: f64 = row.logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        weights[r % 3] * (sum.ln() - f64::from(row.logits[r % 3]))
    };
    let want: f64 = said.rows.iter().enumerate().map(loss).sum();
    assert!((got - want).abs() <= 1e-4 * want, "{got} for {want}");
}
