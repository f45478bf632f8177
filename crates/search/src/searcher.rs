//! Who searches: what a searcher is asked while the network of all modules trains.

use futures::future::LocalBoxFuture;
use serde_json::Value;
use stratune_data::Sequence;
use stratune_peft::{Gradients, snapshot};
use stratune_protocol::{FrontPoint, Problem};
use stratune_train::{Rows, Run};

use crate::space::Sizes;
use crate::supernet::{Gate, Sensitivity, Slopes, Supernet};
use crate::{Front, Space};

/// A moment of a search.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The space.
    pub space: &'a Space,
    /// Steps done before this one.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Seed of the run.
    pub seed: u64,
}

/// Decides what a budget is spent on. Its parameters are few and live on the host; what it remembers it saves.
pub trait Searcher {
    /// Before anything trains: may look at gradients.
    fn begin<'a>(&'a mut self, _: Moment<'a>, _: &'a mut Look<'_, '_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    /// The gates of a pass over the rows that are set apart; none if it has nothing to learn of them at this step.
    fn explore(&mut self, _: Moment<'_>) -> Option<Vec<Gate>> {
        None
    }

    /// Whether the slopes are to be those behind a step of the weights. Then it does not weigh.
    fn is_second_order(&self) -> bool {
        false
    }

    /// Learns from the slopes of that pass.
    fn learn(&mut self, _: Moment<'_>, _: &[Gate], _: &[Slopes]) {}

    /// The gates of a pass that trains the weights.
    fn gates(&self, at: Moment<'_>) -> Vec<Gate> {
        at.space.modules.iter().map(|module| Gate::of(module.largest())).collect()
    }

    /// Whether it wants to be told how much modules matter at each step.
    fn weighs(&self) -> bool {
        false
    }

    /// Hears how much each module matters, by the rows of this step.
    fn weigh(&mut self, _: Moment<'_>, _: &[Sensitivity]) {}

    /// Whether each structure trains alone and is measured then, and not as a part of all modules.
    fn trains_alone(&self) -> bool {
        false
    }

    /// Of such: whether with this step another structure begins, from where the run began.
    fn starts_anew(&self, _: Moment<'_>) -> bool {
        false
    }

    /// After a step, which is counted: may look at losses.
    fn after_step<'a>(&'a mut self, _: Moment<'a>, _: &'a mut Look<'_, '_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether what it keeps is down to the space's budget: the moment to note what is best under it.
    fn is_within(&self, _: &Space) -> bool {
        false
    }

    /// After the last step, for each budget: may look at losses. It is dropped where it waits when a person wants the run to
    /// end, and called again when the run goes on.
    fn finish<'a>(&'a mut self, _: Moment<'a>, _: &'a mut Look<'_, '_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether it has found what it looks for, so that nothing need train any longer.
    fn is_done(&self) -> bool {
        false
    }

    /// The best that it knows of now, within the space's budget.
    fn found(&self, space: &Space) -> Sizes;

    /// How likely each module is to stay, as it stands.
    fn chances(&self, space: &Space) -> Vec<f32>;

    /// What it needs to go on as if nothing had happened.
    fn save(&self) -> Value;

    /// Takes that back; false, and nothing is taken, if it is no state of such a search in this space: it comes from a file.
    fn load(&mut self, space: &Space, saved: &Value) -> bool;
}

/// A look at the model before or after training.
pub struct Look<'a, 'r> {
    pub(crate) run: &'a mut Run<'r>,
    pub(crate) supernet: &'a Supernet,
    /// Where what is measured goes.
    pub(crate) front: &'a mut Front,
}

/// Batches of rows that are set apart that a look takes at most.
const BATCHES: usize = 4;

impl Look<'_, '_> {
    fn rows(&self) -> usize {
        self.run.rows(Rows::Importance).len().min(BATCHES * self.run.batching().size)
    }

    /// The mean loss on some of the rows that are set apart, always the same ones, of modules of these sizes.
    pub(crate) async fn loss(&mut self, space: &Space, sizes: &[usize]) -> Result<f64, Problem> {
        let gates: Vec<Gate> = sizes.iter().map(|size| Gate::of(*size)).collect();
        let rows: Vec<&Sequence> = self.run.rows(Rows::Importance).iter().take(self.rows()).collect();
        // A copy, whose tensors are shared: there is nothing to put back if this is dropped half way.
        let mut model = self.run.model.clone();
        self.supernet.close(&mut model, &gates);
        let loss = self.run.loss_of(&model, &rows, None, "comparing structures").await?;
        self.front.add(FrontPoint { parameters: space.count(sizes), loss, sizes: sizes.to_vec() });
        Ok(loss)
    }

    /// Of each module the squared gradient, over its numbers.
    pub(crate) async fn squared_gradients(&mut self) -> Result<Vec<f64>, Problem> {
        let by = self.run.batching();
        let rows: Vec<&Sequence> = self.run.rows(Rows::Importance).iter().take(self.rows()).collect();
        let mut sum = Gradients::new();
        for chunk in rows.chunks(by.size.max(1)) {
            for (path, gradient) in self.run.gradients(self.run.model, chunk, by) {
                let there = sum.remove(&path);
                sum.insert(path, there.map_or(gradient.clone(), |there| there + gradient));
            }
        }
        self.supernet.squares(&sum, false).await
    }

    /// Of each module the squared magnitude of the parameters that what it adds is linear in.
    pub(crate) async fn squared_magnitudes(&mut self) -> Result<Vec<f64>, Problem> {
        let values = snapshot(self.run.model).into_iter().map(|(path, (_, value))| (path, value)).collect();
        self.supernet.squares(&values, true).await
    }
}
