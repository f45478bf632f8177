//! An embedding and an output layer in pieces say and learn what they do as a whole.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::Sequence;
use stratune_models::{Model, Sampling, generate};
use stratune_peft::{MethodConfig, MethodKind, Weight};
use stratune_protocol::{BaseDtype, WeightStorage};
use stratune_runtime::{read_f32, read_scalars};
use stratune_session::{merged_tensors, model_config, read_model};
use stratune_store::{ModelFolder, Stored, write_safetensors};
use stratune_train::{Batching, Identity, NextToken, RunConfig, SweepOptions, Trainer, sweep};

use super::{examples, worst};
use crate::fixtures::{folder, ids};
use crate::runs::{RecordingCallback, counting, small};

/// The same f32 sums, of up to 34 products, in another order: within this of the largest.
const ALLOWED: f32 = 2e-5;

/// Trained with its embeddings in three pieces, and with them as a whole, a model has the same losses; and what it is
/// then is the same with the other's embeddings in the place of its own.
pub async fn pieces_are_the_whole(device: &Device) {
    folders_are_read_in_pieces(device).await;
    for dtype in BaseDtype::ALL {
        for (vocab_size, tie_word_embeddings) in [(32, true), (34, false)] {
            let name = format!("{dtype}, {vocab_size} tokens");
            let values = [("vocab_size", vocab_size.into()), ("tie_word_embeddings", tie_word_embeddings.into())];
            let config = small(2, device).config.changed(values).expect("a sound geometry");
            let of = |buffer: Option<u64>| {
                Model::random_as(config.clone(), WeightStorage { dtype, buffer }, 11, device).expect("a sound geometry")
            };
            let row = dtype.of_embeddings().bytes(1.0, config.hidden_size as f64) as u64;
            let (whole, split) = (of(None), of(Some(13 * row)));
            for table in split.embeddings() {
                let path = &table.id.path;
                let rows: Vec<usize> = table.pieces().map(|piece| piece.dims()[0]).collect();
                let expected: &[usize] = if vocab_size == 32 { &[12, 12, 8] } else { &[12, 12, 8, 2] };
                assert_eq!(rows, expected, "{name}: {path}");
                assert!(table.pieces().all(|piece| matches!(piece, Weight::Floats(_)) == dtype.can_train()));
            }
            assert_eq!(split.embeddings().count(), if tie_word_embeddings { 1 } else { 2 }, "{name}");

            let (tuned, losses) = trained(&split, dtype).await;
            let (_, expected) = trained(&whole, dtype).await;
            assert_eq!(losses.len(), expected.len());
            for (loss, expected) in losses.iter().zip(&expected) {
                // Steps carry rounding on.
                assert!((loss / expected - 1.0).abs() < 1e-4, "{name}: {losses:?} in pieces, {expected:?}");
            }
            let joined = Model { embed_tokens: whole.embed_tokens, lm_head: whole.lm_head, ..tuned.clone() };
            same(&name, &Seen::of(&tuned).await, &Seen::of(&joined).await);
            an_embedding_that_trains_is_in_one_piece(&name, split).await;
        }
    }
}

/// What is read of a folder some rows at a time is what is read of it at once.
async fn folders_are_read_in_pieces(device: &Device) {
    for (name, dtype) in
        [("tiny-llama", BaseDtype::F32), ("tiny-llama-f16", BaseDtype::F16), ("tiny-llama3", BaseDtype::Int8)]
    {
        let files = ModelFolder::open(folder(name)).await.expect("a model folder");
        let columns = model_config(&files).expect("a model of this family").hidden_size;
        let row = dtype.of_embeddings().bytes(1.0, columns as f64) as u64;
        let mut read = Vec::new();
        for buffer in [None, Some(13 * row)] {
            let model =
                read_model(&files, WeightStorage { dtype, buffer }, device, &mut |_| {}).await.expect("a model");
            let mut tables = Vec::new();
            for table in model.embeddings() {
                let path = &table.id.path;
                let fours = |piece: &Weight| piece.dims()[0].is_multiple_of(4) || piece.dims()[0] < 4;
                assert_eq!(table.pieces().count() > 2, buffer.is_some(), "{name}: {path}");
                assert!(buffer.is_none() || table.pieces().all(fours), "{name}: {path}");
                tables.push((table.dims(), table.read().await.expect("its numbers")));
            }
            read.push(tables);
        }
        assert!(read[0] == read[1] && read[0][0].0[0] > 24, "{name}");
    }
}

async fn trained(base: &Model, dtype: BaseDtype) -> (Model, Vec<f64>) {
    let method = MethodConfig { rank: Some(2), ..MethodConfig::default() };
    let mut config = RunConfig { method: method.into(), base_dtype: dtype, ..RunConfig::default() };
    (config.train.steps, config.train.log_every, config.train.warmup_steps) = (4, 1, 0);
    config.train.learning_rate = 2e-3;
    let mut model = base.clone();
    model.attach(&config.method, 3).await.expect("a rank that fits");
    let dataset = Rc::new(counting(24, 4));
    let mut trainer = Trainer::new(config, model, dataset, Vec::new(), Identity::default()).expect("a run");
    let mut recording = RecordingCallback::default();
    recording.watch(&mut trainer).await.expect("a run to its end");
    (trainer.model, recording.losses())
}

/// All that an embedding has a part in.
struct Seen {
    embedded: Vec<f32>,
    logits: Vec<f32>,
    loss: f64,
    gradients: BTreeMap<String, Vec<f32>>,
    told: Vec<u32>,
    file: Vec<u8>,
}

impl Seen {
    async fn of(model: &Model) -> Self {
        let (vocabulary, device) = (model.config.vocab_size as u32, model.device());
        let every: Vec<u32> = (0..vocabulary).rev().collect();
        let embedded = read_f32(model.embed(ids(&every, &device))).await.expect("rows");
        let logits = read_f32(model.logits(ids(&every, &device))).await.expect("logits");

        let rows = examples(&[9, 14, 20], vocabulary);
        let batch = Batching::packed(3).to_device(model, &rows.iter().collect::<Vec<&Sequence>>());
        let active = vec![true; model.layers.len()];
        let swept = sweep(
            model,
            &batch,
            &SweepOptions { objective: &NextToken, active: &active, dropout: None, keep_graphs: 1, scale: 1.0 },
        );
        let loss = read_scalars(vec![swept.loss]).await.expect("a loss")[0];
        let mut gradients = BTreeMap::new();
        for (path, gradient) in swept.gradients {
            gradients.insert(path, read_f32(gradient).await.expect("a gradient"));
        }

        let mut told = Vec::new();
        let take = |token| {
            told.push(token);
            Ok(true)
        };
        generate(model, &[3, 13, 31], 12, &Sampling::GREEDY, take).await.expect("a text");

        let (_, tensors) = merged_tensors(model.clone()).await.expect("LoRA merges");
        let file = write_safetensors(&tensors, Stored::F32, &BTreeMap::new()).expect("a file");
        Self { embedded, logits, loss, gradients, told, file }
    }
}

fn same(name: &str, split: &Seen, whole: &Seen) {
    assert_eq!(split.embedded, whole.embedded, "{name}: a row is the same numbers, with zeros added to them");
    let largest = |values: &mut dyn Iterator<Item = &f32>| values.fold(0.0_f32, |m, v| m.max(v.abs()));
    let off = worst(&split.logits, &whole.logits);
    assert!(off <= ALLOWED * largest(&mut whole.logits.iter()), "{name}: logits are off by {off:e}");
    let off = (split.loss / whole.loss - 1.0).abs();
    assert!(off <= f64::from(ALLOWED), "{name}: {} in pieces, {}", split.loss, whole.loss);
    assert!(split.gradients.keys().eq(whole.gradients.keys()) && !whole.gradients.is_empty(), "{name}");
    let most = largest(&mut whole.gradients.values().flatten());
    for (path, gradient) in &whole.gradients {
        let off = worst(&split.gradients[path], gradient);
        assert!(off <= ALLOWED * most, "{name}: {path} is off by {off:e} of {most:e}");
    }
    assert_eq!((split.told.len(), &split.told), (12, &whole.told), "{name}");
    assert!(split.file == whole.file, "{name}: the merged files differ");
}

async fn an_embedding_that_trains_is_in_one_piece(name: &str, mut split: Model) {
    let lisa = MethodConfig { blocks: Some(1), ..MethodConfig::new(MethodKind::Lisa) };
    let problem = split.attach(&[lisa], 3).await.expect_err("its embedding would train");
    assert!(problem.at.contains("lisa") && problem.what.contains("model.embed_tokens.weight"), "{name}: {problem}");
    split.attach(&[MethodConfig::new(MethodKind::Full)], 3).await.expect("it trains blocks alone");
    assert!(!split.embed_tokens.trains(), "{name}");
}
