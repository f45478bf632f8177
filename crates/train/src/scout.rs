//! Looking at some rows before training, to choose what trains: FISH, LT-SFT and SparseAdapter.

use burn::tensor::Tensor;
use rand::seq::SliceRandom;
use stratune_data::{Dataset, Sequence};
use stratune_models::Model;
use stratune_peft::{Delta, Gradients, Param, ParamId, Parameters, Visitor, everything, snapshot};
use stratune_protocol::{MethodConfig, MethodKind, Problem, RunConfig, draws};
use stratune_runtime::{read_f32, yield_now};

use crate::{AdamW, Batching, Demand, Moment, sweep};

/// Lets every method that needs it choose what trains. Gives a sentence about each.
///
/// # Errors
/// The device does not answer.
pub async fn scout(model: &mut Model, config: &RunConfig, dataset: &Dataset) -> Result<Vec<String>, Problem> {
    let mut told = Vec::new();
    for method in config.method.iter().filter(|m| m.kind.scouts()) {
        let rows = rows(dataset, method, config.train.seed);
        match method.kind {
            MethodKind::SparseAdapter => sparse_adapters(model, config, &rows).await?,
            _ => sparse_weights(model, method, config, &rows).await?,
        }
        told.push(format!("{} chose what trains from {} rows", method.kind.title(), rows.len()));
    }
    Ok(told)
}

/// The rows to look at, drawn from those that train.
fn rows<'a>(dataset: &'a Dataset, method: &MethodConfig, seed: u64) -> Vec<&'a Sequence> {
    let mut rows: Vec<&Sequence> = dataset.train.iter().collect();
    rows.shuffle(&mut draws(seed, "scout_rows", [0, 0]));
    rows.truncate(method.samples.unwrap_or(0).max(1));
    rows
}

fn gradients(model: &Model, rows: &[&Sequence], by: Batching) -> Gradients {
    let batch = by.upload(model, rows);
    let active = vec![true; model.layers.len()];
    let scale = 1.0 / batch.learned.max(1) as f64;
    sweep(model, &batch, &Demand { active: &active, dropout: None, keep_graphs: 0, scale }).gradients
}

/// Scores every weight of the matrices that the method enters, and lets it choose.
async fn sparse_weights(
    model: &mut Model,
    method: &MethodConfig,
    config: &RunConfig,
    rows: &[&Sequence],
) -> Result<(), Problem> {
    // The model as it is, with these matrices the only thing that trains.
    let mut bare = model.clone();
    freeze(&mut bare);
    let mut paths = Vec::new();
    for (i, block) in bare.layers.iter_mut().enumerate() {
        for (k, linear) in block.linears_mut().enumerate() {
            let mine = |delta: &Delta| matches!(delta, Delta::Sparse(sparse) if sparse.kind == method.kind);
            if linear.deltas.iter().any(mine) {
                linear.weight.floats_mut().trainable = true;
                paths.push((i, k, linear.id.param("weight").path));
            }
            linear.deltas.clear();
        }
    }
    let scores = match method.kind {
        MethodKind::LtSft => moves(&mut bare, config, rows).await?,
        _ => fisher(&bare, rows, (&config.train).into()).await,
    };
    for (i, k, path) in paths {
        let Some(score) = scores.get(&path) else { continue };
        let score = read_f32(score.clone()).await?;
        let Some(linear) = model.layers[i].linears_mut().nth(k) else { continue };
        for delta in &mut linear.deltas {
            if let Delta::Sparse(sparse) = delta
                && sparse.kind == method.kind
            {
                sparse.choose(&score);
            }
        }
    }
    Ok(())
}

fn freeze(model: &mut Model) {
    struct Freeze;
    impl Visitor for Freeze {
        fn visit<const D: usize>(&mut self, _: &ParamId, param: &mut Param<D>) {
            param.trainable = false;
        }
    }
    model.each(&mut Freeze);
}

/// The diagonal of the empirical Fisher information: the mean over rows of the squared gradients (FISH, eq. 3).
async fn fisher(model: &Model, rows: &[&Sequence], by: Batching) -> Gradients {
    let mut sums = Gradients::new();
    for row in rows {
        for (path, gradient) in gradients(model, &[row], by) {
            let square = gradient.square();
            let sum = match sums.remove(&path) {
                Some(there) => there + square,
                None => square,
            };
            sums.insert(path, sum);
        }
        yield_now().await;
    }
    sums
}

/// How far each weight has moved when everything has trained on the rows once (LT-SFT, §3).
async fn moves(model: &mut Model, config: &RunConfig, rows: &[&Sequence]) -> Result<Gradients, Problem> {
    let before = snapshot(model);
    let mut adam = AdamW::new(config.train.weight_decay);
    let by = Batching::from(&config.train);
    for (step, batch) in rows.chunks(by.size).enumerate() {
        let at = Moment { seed: config.train.seed, step };
        let whole = gradients(model, batch, by);
        adam.step(model, whole, 0.0, config.train.learning_rate, at).await?;
        yield_now().await;
    }
    let moved = |(path, (_, after)): (String, (_, Tensor<1>))| {
        let (_, before) = before.get(&path)?;
        Some((path, (after - before.clone()).abs()))
    };
    Ok(snapshot(model).into_iter().filter_map(moved).collect())
}

/// What each weight of the whole bottlenecks does to the loss, |w · ∂L/∂w| (SNIP, Lee et al. 2019, arXiv 1810.02340, which
/// SparseAdapter found to work best), and the places that stay.
async fn sparse_adapters(model: &mut Model, config: &RunConfig, rows: &[&Sequence]) -> Result<(), Problem> {
    let (seed, by) = (config.train.seed, Batching { size: 8, ..Batching::from(&config.train) });
    let mut whole = model.clone();
    for (i, block) in whole.layers.iter_mut().enumerate() {
        for adapter in &mut block.adapters {
            *adapter = adapter.whole((seed, i));
        }
    }
    let mut sums = Gradients::new();
    for batch in rows.chunks(by.size) {
        for (path, gradient) in gradients(&whole, batch, by) {
            let sum = match sums.remove(&path) {
                Some(there) => there + gradient,
                None => gradient,
            };
            sums.insert(path, sum);
        }
        yield_now().await;
    }
    let values = everything(&mut whole);
    for block in &mut model.layers {
        for adapter in &mut block.adapters {
            let path = format!("{}.adapters.after_mlp", block.id.path);
            let mut read = Vec::new();
            for matrix in ["down", "up"] {
                let path = format!("{path}.{matrix}.weight");
                let Some(((_, value), gradient)) = values.get(&path).zip(sums.get(&path)) else { continue };
                read.push(read_f32(value.clone()).await?);
                read.push(read_f32((value.clone() * gradient.clone()).abs()).await?);
            }
            if let [down, down_scores, _, up_scores] = &read[..] {
                adapter.choose((down, down_scores), up_scores);
            }
        }
    }
    Ok(())
}
