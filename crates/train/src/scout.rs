//! Looking at some rows before training: FISH, LT-SFT and SparseAdapter choose what trains, and a prefix where it starts.

use burn::tensor::Tensor;
use rand::seq::SliceRandom;
use stratune_data::{Dataset, Plan, Sequence};
use stratune_models::Model;
use stratune_peft::{
    Delta, FromData, Gradients, MethodConfig, MethodKind, Param, ParamId, Parameters, Sparse, Visitor, everything,
    snapshot,
};
use stratune_protocol::{Problem, draws};
use stratune_runtime::{read_f32, yield_now};

use crate::{AdamW, Batching, Demand, Event, Moment, RunConfig, learning_rate, sweep};

/// Lets every method that needs rows of the data before it trains look at them: to choose what trains, or where to start.
/// `steps` are those of the run. Tells how far it is, and gives a sentence about each.
///
/// # Errors
/// The device does not answer.
pub async fn scout(
    model: &mut Model,
    config: &RunConfig,
    dataset: &Dataset,
    steps: usize,
    tell: &mut dyn FnMut(Event),
) -> Result<Vec<String>, Problem> {
    let mut told = Vec::new();
    for method in config.method.iter() {
        let title = method.kind.title();
        let rows = rows(dataset, method, config.train.seed);
        let looked_at = format!("{title} chose what trains from {} rows", rows.len());
        let mut scout = Scout { config, what: format!("{title} looks at the rows"), tell: &mut *tell };
        told.push(match method.kind.method().from_data {
            FromData::Saliency => {
                scout.sparse_adapters(model, &rows).await?;
                looked_at
            }
            FromData::Fisher => {
                let bare = bare(model, method.kind);
                let scores = scout.fisher(&bare.model, &rows).await;
                bare.choose(model, &scores).await?;
                looked_at
            }
            FromData::Moves => {
                let mut bare = bare(model, method.kind);
                let batches = scout.first_phase(method, dataset, &rows, steps);
                let scores = scout.moves(&mut bare.model, &batches).await?;
                bare.choose(model, &scores).await?;
                let count = batches.iter().map(Vec::len).sum::<usize>();
                format!("{title} trained everything on {count} rows, and goes on with what moved most")
            }
            FromData::Beginning => {
                let tokens = beginning(&rows, method.length.unwrap_or(0));
                model.start_prefixes_at(method, &tokens);
                format!("{title} starts at the beginning of a row")
            }
            FromData::Nothing => continue,
        });
    }
    Ok(told)
}

/// The rows to look at, drawn from those that train; all of them where the method does not say how many.
fn rows<'a>(dataset: &'a Dataset, method: &MethodConfig, seed: u64) -> Vec<&'a Sequence> {
    let mut rows: Vec<&Sequence> = dataset.train.iter().collect();
    rows.shuffle(&mut draws(seed, "scout_rows", [0, 0]));
    rows.truncate(method.samples.filter(|n| *n > 0).unwrap_or(rows.len()));
    rows
}

/// The first tokens of a row that is long enough, or if none is of one row behind the other.
fn beginning(rows: &[&Sequence], length: usize) -> Vec<u32> {
    let long = rows.iter().find(|row| row.tokens.len() >= length).map(|row| row.tokens.clone());
    let mut tokens =
        long.unwrap_or_else(|| rows.iter().flat_map(|row| row.tokens.clone()).cycle().take(length).collect());
    tokens.truncate(length);
    tokens
}

fn gradients(model: &Model, rows: &[&Sequence], by: Batching) -> Gradients {
    let batch = by.upload(model, rows);
    let active = vec![true; model.layers.len()];
    let scale = 1.0 / batch.learned.max(1) as f64;
    sweep(model, &batch, &Demand { active: &active, dropout: None, keep_graphs: 0, scale }).gradients
}

/// The model with nothing that trains but the matrices of which a method keeps some weights.
struct Bare {
    model: Model,
    kind: MethodKind,
    /// Where the matrices are: the block, the number among its linear layers, and the path.
    matrices: Vec<(usize, usize, String)>,
}

fn bare(model: &Model, kind: MethodKind) -> Bare {
    let mut model = model.clone();
    freeze(&mut model);
    let mut matrices = Vec::new();
    for (i, block) in model.layers.iter_mut().enumerate() {
        for (k, linear) in block.linears_mut().enumerate() {
            if linear.deltas.iter().any(|delta| chooses(&**delta, kind)) {
                linear.weight.floats_mut().trainable = true;
                matrices.push((i, k, linear.id.param("weight").path));
            }
            linear.deltas.clear();
        }
    }
    Bare { model, kind, matrices }
}

impl Bare {
    /// Lets the method in `model` choose by one score a weight.
    async fn choose(&self, model: &mut Model, scores: &Gradients) -> Result<(), Problem> {
        for (i, k, path) in &self.matrices {
            let Some(score) = scores.get(path) else { continue };
            let score = read_f32(score.clone()).await?;
            for delta in model.layers[*i].linears_mut().nth(*k).into_iter().flat_map(|linear| &mut linear.deltas) {
                if let Some(sparse) = delta.of_mut::<Sparse>()
                    && sparse.kind == self.kind
                {
                    sparse.choose(&score);
                }
            }
        }
        Ok(())
    }
}

fn chooses(delta: &dyn Delta, kind: MethodKind) -> bool {
    delta.of::<Sparse>().is_some_and(|sparse| sparse.kind == kind)
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

/// A look at rows before the first step.
struct Scout<'a> {
    config: &'a RunConfig,
    what: String,
    tell: &'a mut dyn FnMut(Event),
}

impl Scout<'_> {
    /// Tells how far it is and lets others have their turn.
    async fn rest(&mut self, done: usize, total: usize) {
        (self.tell)(Event::Progress { what: self.what.clone(), done: done as u64, total: total as u64 });
        yield_now().await;
    }

    /// The diagonal of the empirical Fisher information: the mean over rows of the squared gradients (FISH, eq. 3).
    async fn fisher(&mut self, model: &Model, rows: &[&Sequence]) -> Gradients {
        let mut sums = Gradients::new();
        for (done, row) in rows.iter().enumerate() {
            let squares = gradients(model, &[row], (&self.config.train).into()).into_iter();
            add(&mut sums, squares.map(|(path, gradient)| (path, gradient.square())));
            self.rest(done + 1, rows.len()).await;
        }
        sums
    }

    /// The batches that everything trains on first: the rows once, or if the method names none as many batches as the
    /// run has (LT-SFT, §3).
    fn first_phase<'d>(
        &self,
        method: &MethodConfig,
        dataset: &'d Dataset,
        rows: &[&'d Sequence],
        steps: usize,
    ) -> Vec<Vec<&'d Sequence>> {
        let train = &self.config.train;
        if method.samples != Some(0) {
            return rows.chunks(train.batch_size).map(<[_]>::to_vec).collect();
        }
        let plan = Plan::new(&dataset.train, train.batch_size, train.seed);
        let rows = |k: usize| plan.batch(k as u64).into_iter().filter_map(|i| dataset.train.get(i)).collect();
        (0..steps * train.accumulation).map(rows).collect()
    }

    /// How far each weight has moved when everything has trained on the batches.
    async fn moves(&mut self, model: &mut Model, batches: &[Vec<&Sequence>]) -> Result<Gradients, Problem> {
        let before = snapshot(model);
        let train = &self.config.train;
        let (mut adam, by) = (AdamW::new(train.weight_decay), Batching::from(train));
        for (step, batch) in batches.iter().enumerate() {
            let at = Moment { seed: train.seed, step };
            let whole = gradients(model, batch, by);
            let rate = learning_rate(train, step, batches.len());
            adam.step(model, whole, train.clip_norm, |_| rate, at).await?;
            self.rest(step + 1, batches.len()).await;
        }
        let moved = |(path, (_, after)): (String, (_, Tensor<1>))| {
            let (_, before) = before.get(&path)?;
            Some((path, (after - before.clone()).abs()))
        };
        Ok(snapshot(model).into_iter().filter_map(moved).collect())
    }

    /// What each weight of the whole bottlenecks does to the loss, |w · ∂L/∂w| (SNIP, Lee et al. 2019, arXiv 1810.02340,
    /// which SparseAdapter found to work best), and the places that stay.
    async fn sparse_adapters(&mut self, model: &mut Model, rows: &[&Sequence]) -> Result<(), Problem> {
        let by = Batching { size: 8, ..Batching::from(&self.config.train) };
        let mut whole = model.clone();
        freeze(&mut whole);
        for (i, block) in whole.layers.iter_mut().enumerate() {
            for adapter in block.adapters.iter_mut().filter(|adapter| adapter.is_sparse()) {
                *adapter = adapter.whole((self.config.train.seed, i));
            }
        }
        let mut sums = Gradients::new();
        for (done, chunk) in rows.chunks(by.size).enumerate() {
            add(&mut sums, gradients(&whole, chunk, by));
            self.rest(done + 1, rows.len().div_ceil(by.size)).await;
        }
        let values = everything(&mut whole);
        for block in &mut model.layers {
            for adapter in block.adapters.iter_mut().filter(|adapter| adapter.is_sparse()) {
                let path = format!("{}.adapters.{}", block.id.path, adapter.place.name());
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
}

/// Adds gradients to those that are there.
fn add(sums: &mut Gradients, more: impl IntoIterator<Item = (String, Tensor<1>)>) {
    for (path, gradient) in more {
        let sum = match sums.remove(&path) {
            Some(there) => there + gradient,
            None => gradient,
        };
        sums.insert(path, sum);
    }
}
