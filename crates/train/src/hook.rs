//! What acts while a run goes on: methods that choose, narrow or prune what trains, and importance-aware sparse tuning.

use std::collections::BTreeMap;

use burn::tensor::Device;
use futures::future::LocalBoxFuture;
use serde_json::Value;
use stratune_data::{Dataset, Sequence};
use stratune_models::Model;
use stratune_peft::{Gradients, Parameters};
use stratune_protocol::{Problem, ProblemKind};
use stratune_store::HostTensor;

use crate::evaluate::evaluate_with_progress;
use crate::metrics_logger::ADVICE;
use crate::{AdamW, Batching, Event, Objective, Record, RunConfig, SweepOptions, sweep};

/// Which blocks train at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// One flag a block.
    pub active: Vec<bool>,
    /// What each block's learning rate is multiplied by.
    pub rates: Vec<f64>,
}

impl Selection {
    /// These blocks, at the learning rate of the step.
    pub fn of(active: Vec<bool>) -> Self {
        Self { rates: vec![1.0; active.len()], active }
    }

    /// What two hooks leave between them: the blocks that both choose, at the product of their rates.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let active = self.active.iter().zip(&other.active).map(|(one, other)| *one && *other).collect();
        let rates = self.rates.iter().zip(&other.rates).map(|(one, other)| one * other).collect();
        Self { active, rates }
    }
}

/// The state of a hook in a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct HookState {
    /// Plain data.
    pub numbers: Value,
    /// Tensors. All hooks share the names of a checkpoint's tensors, so each begins its own with a word of its own.
    pub tensors: BTreeMap<String, HostTensor>,
}

/// What a checkpoint has for a hook.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// The hook's plain data.
    pub numbers: &'a Value,
    /// All tensors of the checkpoint.
    pub tensors: &'a BTreeMap<String, HostTensor>,
    /// Where its own are to live.
    pub device: &'a Device,
}

/// Acts on a run at five moments, each of which may fail with the device. What it does not use it leaves as it is here; what
/// it remembers it must save. Of several hooks each sees what those before it have done.
pub trait Hook {
    /// What its state is kept under in a checkpoint.
    fn name(&self) -> &'static str;

    /// Once, before anything trains and is measured: may look at rows, and choose what trains or where it starts. A run that
    /// goes on from a checkpoint is past it.
    fn before_training<'a>(&'a mut self, _: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    /// Before each step: may say which blocks train; none for all of them. It is dropped where it waits when a person wants
    /// the run to end, so that nothing must be half done there.
    fn before_step<'a>(&'a mut self, _: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<Option<Selection>, Problem>> {
        Box::pin(async { Ok(None) })
    }

    /// When the gradients of a step are there, penalties included, and before they are clipped: may change them. A step without
    /// a gradient (MeZO) leaves this out.
    fn after_backward<'a>(
        &'a mut self,
        _: &'a mut Run<'_>,
        _: &'a mut Gradients,
    ) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    /// After each step: may change the model.
    fn after_step<'a>(&'a mut self, _: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    /// When no step is left to take, before what is measured last: may look at losses, and change the model. Like before a
    /// step it is dropped where it waits when a person wants the run to end; it is called again when the run goes on.
    fn after_training<'a>(&'a mut self, _: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether nothing is left to do, so that the run ends before its last step. Asked before each.
    fn ends_run(&self) -> bool {
        false
    }

    /// What a resumed run needs to go on as if nothing had happened.
    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>>;

    /// Gives the model the shape that it had when the checkpoint was written, before its values are read.
    fn reshape(&self, _: &mut Model, _: &Record) {}

    /// Takes its state back.
    ///
    /// # Errors
    /// It belongs to another run.
    fn load(&mut self, saved: &Saved<'_>) -> Result<(), Problem>;
}

/// Where a hook takes its rows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The rows that train.
    Train,
    /// The rows that are set apart to learn on which layers matter.
    Importance,
}

/// Hears how far a long phase is: what it does, how much is done, and of how much.
pub type Tell<'a> = &'a dyn Fn(&str, usize, usize);

/// A run as a hook sees it.
pub struct Run<'a> {
    /// The model.
    pub model: &'a mut Model,
    /// The optimiser's state.
    pub optimiser: &'a mut AdamW,
    /// The rows.
    pub dataset: &'a Dataset,
    /// The configuration.
    pub config: &'a RunConfig,
    /// What is minimised.
    pub objective: &'a dyn Objective,
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Hears of events.
    pub emit: &'a dyn Fn(Event),
    /// Hears how far a long phase is.
    pub tell: Tell<'a>,
    /// Whether what was measured before is of another model.
    pub(crate) forgets_best: bool,
}

impl<'a> Run<'a> {
    /// A run before its first step, of which nobody hears.
    pub fn new(
        model: &'a mut Model,
        optimiser: &'a mut AdamW,
        (dataset, config): (&'a Dataset, &'a RunConfig),
        objective: &'a dyn Objective,
        steps: usize,
    ) -> Self {
        let (emit, tell) = (&|_| {}, &|_: &str, _, _| {});
        Self { model, optimiser, dataset, config, objective, step: 0, steps, emit, tell, forgets_best: false }
    }

    /// The rows of a split.
    pub fn rows(&self, from: Rows) -> &'a [Sequence] {
        match from {
            Rows::Train => &self.dataset.train,
            Rows::Importance => &self.dataset.importance,
        }
    }

    /// How the run takes its rows.
    pub fn batching(&self) -> Batching {
        (&self.config.train).into()
    }

    /// The mean loss on some rows, each block's update multiplied by its `damping`. Nothing is changed in the model, so
    /// there is nothing to restore.
    ///
    /// # Errors
    /// The loss is not finite, or the device does not answer.
    pub async fn loss(&self, from: Rows, rows: &[usize], damping: &[f32]) -> Result<f64, Problem> {
        let all = self.rows(from);
        let rows: Vec<&Sequence> = rows.iter().filter_map(|i| all.get(*i)).collect();
        self.loss_of(self.model, &rows, Some(damping), "learning which layers matter").await
    }

    /// The mean loss of `model` on `rows`, told as `what`.
    ///
    /// # Errors
    /// The loss is not finite, or the device does not answer.
    pub async fn loss_of(
        &self,
        model: &Model,
        rows: &[&Sequence],
        damping: Option<&[f32]>,
        what: &str,
    ) -> Result<f64, Problem> {
        let mut tell = |done: usize| (self.tell)(what, done, rows.len());
        let of = (self.objective, self.batching());
        let measured = evaluate_with_progress(of.0, model, rows, of.1, (damping, None), &mut tell).await?;
        if !measured.loss.is_finite() {
            let what = format!("{what}: the loss is {} and the run stops; the last checkpoint stands", measured.loss);
            return Err(Problem::new(ProblemKind::Numeric, what).next(ADVICE));
        }
        Ok(measured.loss)
    }

    /// The gradients of the mean loss on some rows with respect to all that trains in `model`, without dropout: one batch.
    pub fn gradients(&self, model: &Model, rows: &[&Sequence], by: Batching) -> Gradients {
        let batch = by.to_device(model, rows);
        let active = vec![true; model.layers.len()];
        let scale = 1.0 / batch.labelled.max(1) as f64;
        let options = SweepOptions { objective: self.objective, active: &active, dropout: None, keep_graphs: 0, scale };
        sweep(model, &batch, &options).gradients
    }

    /// Gives up the optimiser's state of these parameters.
    pub fn release(&mut self, of: &mut impl Parameters) {
        self.optimiser.release(of);
    }

    /// Says that what was measured before is of another model: the best of it is not gone back to.
    pub fn forget_best(&mut self) {
        self.forgets_best = true;
    }

    /// Says something once.
    pub fn notice(&self, text: impl Into<String>) {
        (self.emit)(Event::Notice { text: text.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_selections_both_hold() {
        let one = Selection { active: vec![true, true, false], rates: vec![2.0, 1.0, 1.0] };
        let other = Selection { active: vec![true, false, true], rates: vec![1.5, 4.0, 1.0] };
        assert_eq!(one.and(&other), Selection { active: vec![true, false, false], rates: vec![3.0, 4.0, 1.0] });
    }
}
