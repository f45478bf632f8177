//! What models of two stacks say of one text when they write another, against transformers and PEFT.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use stratune_data::Sequence;
use stratune_models::{BeamSearch, CachedText, ForwardOptions, Model, Sampling, beam_search, generate, next_logits};
use stratune_runtime::{read_f32, read_scalars};
use stratune_session::merged_tensors;
use stratune_train::{Batching, DeviceBatch, NextToken, Objective, SweepOptions, evaluate, sweep};

use super::logits::apart;
use super::{slopes_along_random_directions, worst};
use crate::fixtures::{adapted, ids, json, model};

/// Both sides compute in f32, in another order: 1e-4 of logits that reach a few units.
const TOLERANCE: f32 = 1e-4;

/// v1.0 with a feed-forward of relu and the embedding as its output layer, and v1.1.
pub const SEQ2SEQ: [&str; 2] = ["tiny-t5", "tiny-t5-gated"];

/// LoRA on all linear layers of both stacks, with gradients.
pub const SEQ2SEQ_ADAPTERS: [&str; 2] = ["peft-t5", "peft-t5-gated"];

#[derive(Deserialize)]
struct Said {
    rows: Vec<Row>,
    /// The mean over all labels of all rows.
    loss: f64,
    /// What the stacks say at each position of the first row, normalised.
    #[serde(default)]
    encoder: Vec<f32>,
    #[serde(default)]
    decoder: Vec<f32>,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    labels: Vec<u32>,
    logits: Vec<Vec<f32>>,
    loss: f64,
    #[serde(default)]
    greedy: Vec<u32>,
    #[serde(default)]
    beams: Vec<Beam>,
}

#[derive(Deserialize)]
struct Beam {
    ids: Vec<u32>,
    score: f64,
}

/// A row as it is trained on: the decoder begins with its own token.
fn sequence(model: &Model, source: &[u32], labels: &[u32]) -> Sequence {
    let start = model.config.seq2seq.as_ref().expect("two stacks").start;
    let tokens: Vec<u32> = [start].into_iter().chain(labels.iter().copied()).collect();
    let loss_mask = (0..tokens.len()).map(|at| at > 0).collect();
    Sequence { tokens, loss_mask, source: source.to_vec(), ..Sequence::default() }
}

impl Row {
    fn sequence(&self, model: &Model) -> Sequence {
        sequence(model, &self.ids, &self.labels)
    }
}

fn last_states(model: &Model, batch: &DeviceBatch) -> Tensor<3> {
    let mut at = batch.model_positions(model);
    let options = ForwardOptions { context: &|i| model.inference_context(i), alter: None };
    at.encoded = batch.source.as_ref().and_then(|source| model.encode(source, None, options));
    model.forward_blocks(model.embed_with_prompt(batch.tokens.clone(), &at), &at, None, options)
}

/// Teacher forcing, each row alone and all padded side by side; and the loss.
async fn says(model: &Model, said: &Said, name: &str) {
    let rows: Vec<Sequence> = said.rows.iter().map(|row| row.sequence(model)).collect();
    for (row, want) in rows.iter().zip(&said.rows) {
        let reading = model.reading(&row.source);
        let alone = reading.logits(ids(&row.tokens[..row.tokens.len() - 1], &model.device()));
        let off = worst(&read_f32(alone).await.expect("logits"), &want.logits.concat());
        assert!(off <= TOLERANCE, "{name}: logits are off by {off:e}");
        let loss = evaluate(&NextToken, model, &[row], Batching::packed(1), None).await.expect("a loss").loss;
        assert!((loss - want.loss).abs() <= 1e-4, "{name}: loss {loss} for {}", want.loss);
    }
    let examples: Vec<&Sequence> = rows.iter().collect();
    let batch = Batching::packed(rows.len()).to_device(model, &examples);
    let x = last_states(model, &batch);
    for (r, want) in said.rows.iter().enumerate() {
        let x = x.clone().narrow(0, r, 1).narrow(1, 0, want.labels.len());
        let of_row = read_f32(model.logits_of(model.final_norm(x))).await.expect("logits");
        let off = worst(&of_row, &want.logits.concat());
        assert!(off <= TOLERANCE, "{name}, row {r} among others: off by {off:e}");
    }
    let loss = evaluate(&NextToken, model, &examples, Batching::packed(rows.len()), None).await.expect("a loss").loss;
    assert!((loss - said.loss).abs() <= 1e-4, "{name}: loss {loss} for {}", said.loss);
}

/// What each stack says by itself.
async fn stacks(model: &Model, said: &Said, name: &str) {
    let row = said.rows[0].sequence(model);
    let batch = Batching::packed(1).to_device(model, &[&row]);
    let options = ForwardOptions { context: &|i| model.inference_context(i), alter: None };
    let encoded = model.encode(batch.source.as_ref().expect("a source"), None, options).expect("an encoder");
    let states = encoded.states.narrow(1, 0, row.source.len());
    let off = worst(&read_f32(states).await.expect("states"), &said.encoder);
    assert!(off <= TOLERANCE, "{name}: the encoder is off by {off:e}");
    let x = last_states(model, &batch).narrow(1, 0, said.rows[0].labels.len());
    let normed = model.norm.as_ref().expect("a last norm").forward(x, &model.inference_context(0));
    let off = worst(&read_f32(normed).await.expect("states"), &said.decoder);
    assert!(off <= TOLERANCE, "{name}: the decoder is off by {off:e}");
}

/// The likeliest token each time, and the three best of a search, through the caches.
async fn writes(model: &Model, said: &Said, name: &str) {
    const END: u32 = 1;
    for row in &said.rows {
        let mut told = Vec::new();
        let take = |token| {
            told.push(token);
            Ok(token != END)
        };
        generate(model, &row.ids, 16, &Sampling::GREEDY, take).await.expect("a text");
        assert_eq!(told, row.greedy, "{name}");
        let search = BeamSearch { beams: row.beams.len(), length_penalty: 1.0, max_tokens: 16 };
        let beams = beam_search(model, &row.ids, &search, |token| token == END).await.expect("texts");
        let found: Vec<&[u32]> = beams.iter().map(|beam| &beam.tokens[..]).collect();
        assert_eq!(found, row.beams.iter().map(|beam| &beam.ids[..]).collect::<Vec<_>>(), "{name}");
        for (beam, want) in beams.iter().zip(&row.beams) {
            assert!((beam.score - want.score).abs() <= 1e-4, "{name}: {} for {}", beam.score, want.score);
        }
    }
    // As a server has them: texts that are continued side by side, each of which reads another.
    let mut texts: Vec<CachedText> = Vec::new();
    for row in &said.rows {
        let mut text = CachedText::default();
        text.begin(model, row.ids.clone());
        texts.push(text);
    }
    for step in 0..4 {
        let said_now = next_logits(model, &mut texts.iter_mut().collect::<Vec<_>>(), None).await.expect("logits");
        for ((text, logits), row) in texts.iter_mut().zip(said_now).zip(&said.rows) {
            let token = Sampling::GREEDY.pick(&logits, &[], 0);
            assert!(row.greedy.get(step).is_none_or(|want| *want == token), "{name}: step {step}");
            text.push(token);
        }
    }
}

/// Models and adapters alike; the parts of each block by themselves, too.
pub async fn seq2seq_agrees_with_transformers(device: &Device) {
    for name in SEQ2SEQ {
        let said: Said = json(name, "logits.json").await;
        let model = model(name, device).await;
        stacks(&model, &said, name).await;
        says(&model, &said, name).await;
        writes(&model, &said, name).await;
        let mut parts = model;
        apart(&mut parts).await;
        says(&parts, &said, name).await;
    }
    for name in SEQ2SEQ_ADAPTERS {
        let said: Said = json(name, "logits.json").await;
        let mut model = adapted(name, device).await;
        says(&model, &said, name).await;
        let (config, tensors) = merged_tensors(model.clone()).await.expect("LoRA merges");
        assert!(config.base_paths().iter().eq(tensors.keys()), "{name}: {:?}", tensors.keys());
        model.merge().expect("LoRA merges");
        says(&model, &said, name).await;
    }
}

#[derive(Deserialize)]
struct Expected {
    ids: Vec<Vec<u32>>,
    labels: Vec<Vec<u32>>,
    loss: f64,
    gradients: BTreeMap<String, Gradient>,
}

#[derive(Deserialize)]
struct Gradient {
    values: Vec<f32>,
}

/// Loss and gradients of one batch, those of the attention to the encoder and of the encoder itself among them, within 1e-4
/// of the largest; whatever graphs are kept, and when some blocks alone train.
pub async fn seq2seq_gradients_agree_with_peft(device: &Device) {
    for name in SEQ2SEQ_ADAPTERS {
        let expected: Expected = json(name, "gradients.json").await;
        let model = adapted(name, device).await;
        let rows = expected.ids.iter().zip(&expected.labels).map(|(ids, labels)| sequence(&model, ids, labels));
        let rows: Vec<Sequence> = rows.collect();
        let batch = Batching::packed(rows.len()).to_device(&model, &rows.iter().collect::<Vec<_>>());
        let (layers, scale) = (model.layers.len(), 1.0 / batch.labelled as f64);
        let encoder = model.config.encoder_layers();
        let block = |path: &str| {
            let number: usize = path.split('.').find_map(|part| part.parse().ok()).expect("a block");
            number + if path.starts_with("decoder.") { encoder } else { 0 }
        };
        let of = |trains: &dyn Fn(usize) -> bool| (0..layers).map(trains).collect::<Vec<bool>>();
        let all = of(&|_| true);
        let some = [
            (all.clone(), 0, layers),
            (all.clone(), 2, layers),
            (all, layers, layers),
            // One block of each stack: nothing below the encoder's runs twice.
            (of(&|i| i == 1 || i == 3), 1, layers - 1),
            // The decoder alone: the encoder runs once.
            (of(&|i| i >= encoder), 0, layers - encoder),
            (of(&|i| i == layers - 1), 0, 1),
        ];
        for (active, keep_graphs, passed) in some {
            let options = SweepOptions { objective: &NextToken, active: &active, dropout: None, keep_graphs, scale };
            let swept = sweep(&model, &batch, &options);
            let loss = read_scalars(vec![swept.loss]).await.expect("a loss")[0] * scale;
            assert!((loss - expected.loss).abs() <= 1e-4, "{name}: loss {loss}, PEFT's {}", expected.loss);
            let forward = NextToken.loss(&model, last_states(&model, &batch), &batch);
            let forward = read_scalars(vec![forward]).await.expect("a loss")[0] * scale;
            assert!((loss - forward).abs() <= 1e-5, "{name}: {loss} with gradients, {forward} without");
            assert_eq!(swept.passed.len(), passed, "{name}: {:?}", swept.passed);
            let trained = |path: &&String| active[block(path.trim_start_matches("base_model.model."))];
            let want = expected.gradients.keys().filter(trained).count();
            assert_eq!(swept.gradients.len(), want, "{name}: {:?}", swept.gradients.keys());
            for (path, gradient) in swept.gradients {
                let want = &expected.gradients[&format!("base_model.model.{path}")].values;
                let got = read_f32(gradient).await.expect("a gradient");
                let scale = want.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
                let off = worst(&got, want);
                assert!(off <= 1e-4 * scale, "{name}, {path}: off by {off:e} where the largest is {scale}");
            }
        }
    }
}

/// With all that trains in pretraining, the tables of relative biases and the norm between the stacks among it: slopes of
/// the loss.
pub async fn seq2seq_finite_differences(device: &Device) {
    for name in SEQ2SEQ {
        let mut model = model(name, device).await;
        model.train_all().expect("floats");
        let said: Said = json(name, "logits.json").await;
        let rows: Vec<Sequence> = said.rows.iter().take(3).map(|row| row.sequence(&model)).collect();
        let examples: Vec<&Sequence> = rows.iter().collect();
        let batch = Batching::packed(rows.len()).to_device(&model, &examples);
        let active = vec![true; model.layers.len()];
        let scale = 1.0 / batch.labelled as f64;
        let options = SweepOptions { objective: &NextToken, active: &active, dropout: None, keep_graphs: 1, scale };
        let mut gradients = BTreeMap::new();
        for (path, gradient) in sweep(&model, &batch, &options).gradients {
            gradients.insert(path, read_f32(gradient).await.expect("a gradient"));
        }
        let own = model.config.base_paths();
        assert!(own.iter().eq(gradients.keys()), "{name}: {:?}", gradients.keys());
        let loss = async |model: Model| {
            evaluate(&NextToken, &model, &examples, Batching::packed(rows.len()), None).await.expect("a loss").loss
        };
        let agree = slopes_along_random_directions(&model, &gradients, loss).await;
        agree.unwrap_or_else(|what| panic!("{name}: {what}"));
    }
}
