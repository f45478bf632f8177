//! What may look into a run and narrow what trains.

use futures::future::LocalBoxFuture;
use serde_json::Value;
use stratune_data::{Dataset, Sequence};
use stratune_models::Model;
use stratune_protocol::{Problem, ProblemKind};

use crate::evaluate::measure_telling;
use crate::teller::ADVICE;
use crate::{Batching, Event};

/// Which blocks train at a step, and what to tell about it.
#[derive(Clone, Debug)]
pub struct Selection {
    /// One flag a block.
    pub active: Vec<bool>,
    /// What each block's learning rate is multiplied by.
    pub rates: Vec<f64>,
    /// What happened on the way.
    pub events: Vec<Event>,
    /// Blocks whose optimiser state is given up.
    pub released: Vec<usize>,
}

impl Selection {
    /// These blocks, at the learning rate of the step.
    pub fn of(active: Vec<bool>) -> Self {
        Self { rates: vec![1.0; active.len()], active, events: Vec::new(), released: Vec::new() }
    }
}

/// Looks into a run before each step. Its state is part of every checkpoint.
pub trait Hook {
    /// Called once per optimiser step, before it.
    fn before_step<'a>(&'a mut self, step: usize, lab: &'a Lab<'a>) -> LocalBoxFuture<'a, Result<Selection, Problem>>;

    /// What a resumed run needs to go on as if nothing had happened.
    fn save(&self) -> Value;

    /// Takes that back.
    ///
    /// # Errors
    /// It belongs to another run.
    fn load(&mut self, state: &Value) -> Result<(), Problem>;
}

/// Trains every block at every step.
#[derive(Clone, Copy, Debug)]
pub struct Everything;

impl Hook for Everything {
    fn before_step<'a>(&'a mut self, _: usize, lab: &'a Lab<'a>) -> LocalBoxFuture<'a, Result<Selection, Problem>> {
        Box::pin(async { Ok(Selection::of(vec![true; lab.layers()])) })
    }

    fn save(&self) -> Value {
        Value::Null
    }

    fn load(&mut self, _: &Value) -> Result<(), Problem> {
        Ok(())
    }
}

/// Where a hook takes its rows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The rows that train.
    Train,
    /// The rows that are set apart to learn on which layers matter.
    Importance,
}

/// What a hook may try on the model as it stands.
pub struct Lab<'a> {
    pub(crate) model: &'a Model,
    pub(crate) dataset: &'a Dataset,
    pub(crate) by: Batching,
    tell: Option<&'a dyn Fn(&str, usize, usize)>,
}

impl<'a> Lab<'a> {
    /// A lab on a model and its data, whose rows are taken as `by` says.
    pub fn new(model: &'a Model, dataset: &'a Dataset, by: Batching) -> Self {
        Self { model, dataset, by, tell: None }
    }

    /// The same; `tell` hears what takes long in it, and how far that is.
    pub fn telling(self, tell: &'a dyn Fn(&str, usize, usize)) -> Self {
        Self { tell: Some(tell), ..self }
    }

    /// How many blocks there are.
    pub fn layers(&self) -> usize {
        self.model.layers.len()
    }

    /// How many rows there are to choose from.
    pub fn count(&self, from: Rows) -> usize {
        self.rows(from).len()
    }

    /// The mean loss on some rows, each block's update multiplied by its `damping`. Nothing is changed in the model, so
    /// there is nothing to restore.
    ///
    /// # Errors
    /// The loss is not finite, or the device does not answer.
    pub async fn loss(&self, from: Rows, rows: &[usize], damping: &[f32]) -> Result<f64, Problem> {
        let all = self.rows(from);
        let rows: Vec<&Sequence> = rows.iter().filter_map(|i| all.get(*i)).collect();
        let mut tell = |done: usize| {
            if let Some(tell) = self.tell {
                tell("learning which layers matter", done, rows.len());
            }
        };
        let loss = measure_telling(self.model, &rows, self.by, Some(damping), &mut tell).await?.loss;
        if !loss.is_finite() {
            let what =
                format!("the loss of the importance batch is {loss} and the run stops; the last checkpoint stands");
            return Err(Problem::new(ProblemKind::Numeric, what).next(ADVICE));
        }
        Ok(loss)
    }

    fn rows(&self, from: Rows) -> &[Sequence] {
        match from {
            Rows::Train => &self.dataset.train,
            Rows::Importance => &self.dataset.importance,
        }
    }
}
