//! A search as the training loop sees it: a hook. The loop trains the weights of all modules together; before a step the
//! searcher learns from a pass over the rows that are set apart, and says which modules the step has.

use std::cell::RefCell;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use stratune_data::Sequence;
use stratune_peft::{Gradients, Structure, snapshot};
use stratune_protocol::{ModelReport, Problem, SearchReport, draws};
use stratune_train::{Event, Hook, HookState, Rows, Run, RunConfig, Saved, Selection};

use crate::searcher::{Look, Moment, Searcher};
use crate::searchers::searcher;
use crate::supernet::{Gate, Products, Raw, Supernet};
use crate::{Module, Space};

/// Steps between reports when nothing has been pruned.
const REPORT_EVERY: usize = 10;

/// A search.
pub struct Search {
    space: Space,
    searcher: Box<dyn Searcher>,
    /// The parameters of the modules, once the model has been seen.
    supernet: Option<Supernet>,
    /// What the step that is being taken has.
    step: Option<Step>,
    found: Found,
    /// Sizes of the last report.
    told: Vec<usize>,
    finished: bool,
}

/// What is between the beginning of a step and its gradients.
struct Step {
    gates: Vec<Gate>,
    raw: Raw,
    apart: Products,
}

/// What a search has found so far; it changes as the search goes on.
#[derive(Clone, Debug, Default)]
pub struct Found(Rc<RefCell<Option<Structure>>>);

impl Found {
    /// The structure; none before the first step.
    pub fn structure(&self) -> Option<Structure> {
        self.0.borrow().clone()
    }
}

impl Search {
    /// The search that a configuration asks for, on this model.
    ///
    /// # Errors
    /// Those of [`Space::new`], or the searcher cannot work on the space.
    pub fn new(config: &RunConfig, model: &ModelReport) -> Result<Self, Problem> {
        let space = Space::new(config, model)?;
        let searcher = searcher(config, &space)?;
        let (supernet, step, found) = (None, None, Found::default());
        Ok(Self { space, searcher, supernet, step, found, told: Vec::new(), finished: false })
    }

    /// Where its structure is found.
    pub fn found(&self) -> Found {
        self.found.clone()
    }

    /// The space that it searches.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Who searches.
    pub fn searcher(&self) -> &dyn Searcher {
        &*self.searcher
    }

    /// The parameters of the modules in the run's model.
    fn supernet(&mut self, run: &mut Run<'_>) -> Result<Supernet, Problem> {
        // Tensors are shared, so a copy is cheap.
        let supernet = self.supernet.take().map_or_else(|| Supernet::new(&self.space, run.model), Ok)?;
        self.supernet = Some(supernet.clone());
        Ok(supernet)
    }

    /// Keeps what has been found, and tells it when it is another.
    fn tell(&mut self, run: &Run<'_>) {
        let sizes = self.searcher.found(&self.space);
        *self.found.0.borrow_mut() = Some(self.space.structure(&sizes));
        let (first, changed) = (self.told.is_empty(), self.told != sizes);
        if first || changed || self.finished || run.step.is_multiple_of(REPORT_EVERY) {
            let modules =
                if first { self.space.modules.iter().map(|module| module.name()).collect() } else { Vec::new() };
            let places = if first { self.space.modules.iter().map(Module::place).collect() } else { Vec::new() };
            let chances = self.searcher.chances(&self.space);
            (run.emit)(Event::Search(SearchReport {
                step: run.step,
                budget: self.space.budget,
                parameters: self.space.count(&sizes),
                left: self.space.left(&chances),
                chances,
                sizes: sizes.clone(),
                modules,
                places,
                front: Vec::new(),
                done: self.finished,
            }));
        }
        self.told = sizes;
    }

    /// The pass over the rows that are set apart.
    async fn explore(&mut self, run: &mut Run<'_>, supernet: &Supernet) -> Result<Products, Problem> {
        let at = Moment { space: &self.space, step: run.step, steps: run.steps, seed: run.config.train.seed };
        let Some(gates) = self.searcher.explore(at) else { return Ok(Products::new()) };
        let by = run.batching();
        let rows: Vec<&Sequence> = batch(run.rows(Rows::Importance), (run.step, by.size), at.seed);
        let values = snapshot(run.model);
        let mut model = run.model.clone();
        supernet.close(&mut model, &gates);
        let mut gradients = run.gradients(&model, &rows, by);
        let slopes = supernet.slopes(&values, &gradients).await?;
        supernet.through_gates(&mut gradients, &gates);
        let products = if self.searcher.weighs() { supernet.products(&values, &gradients) } else { Products::new() };
        // Nothing is waited for from here on: a search that is stopped has learned all of this step or nothing.
        self.searcher.learn(at, &gates, &slopes);
        Ok(products)
    }

    async fn after_backward(&mut self, run: &mut Run<'_>, gradients: &mut Gradients) -> Result<(), Problem> {
        let supernet = self.supernet(run)?;
        let Some(Step { gates, raw, apart }) = self.step.take() else { return Ok(()) };
        Supernet::open(run.model, &raw);
        supernet.through_gates(gradients, &gates);
        if self.searcher.weighs() {
            let train = supernet.products(&snapshot(run.model), gradients);
            let sensitivity = supernet.sensitivity(&train, &apart).await?;
            let at = Moment { space: &self.space, step: run.step, steps: run.steps, seed: run.config.train.seed };
            self.searcher.weigh(at, &sensitivity);
        }
        Ok(())
    }

    /// Has the searcher decide, if this was its last step.
    async fn after_step(&mut self, run: &mut Run<'_>) -> Result<(), Problem> {
        if !self.finished && (run.step == run.steps || self.searcher.is_done()) {
            let supernet = self.supernet(run)?;
            let at = Moment { space: &self.space, step: run.step, steps: run.steps, seed: run.config.train.seed };
            let mut look = Look { run: &mut *run, supernet: &supernet };
            self.searcher.finish(at, &mut look).await?;
            self.finished = true;
            // What is measured at the end is what was found.
            let gates: Vec<Gate> = self.searcher.found(&self.space).into_iter().map(Gate::of).collect();
            supernet.close(run.model, &gates);
        }
        self.tell(run);
        Ok(())
    }
}

/// The rows of a step: those of a shuffled loader that starts anew when it is through.
fn batch(rows: &[Sequence], (step, size): (usize, usize), seed: u64) -> Vec<&Sequence> {
    let batches = rows.len().div_ceil(size.max(1)).max(1);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.shuffle(&mut draws(seed, "search_rows", [(step / batches) as u64, 0]));
    order.into_iter().skip(step % batches * size).take(size).map(|row| &rows[row]).collect()
}

impl Hook for Search {
    fn name(&self) -> &'static str {
        "search"
    }

    fn before_training<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async {
            let supernet = self.supernet(run)?;
            let at = Moment { space: &self.space, step: run.step, steps: run.steps, seed: run.config.train.seed };
            let mut look = Look { run: &mut *run, supernet: &supernet };
            self.searcher.begin(at, &mut look).await?;
            self.finished = self.searcher.is_done();
            self.tell(run);
            Ok(())
        })
    }

    fn before_step<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<Option<Selection>, Problem>> {
        Box::pin(async {
            let supernet = self.supernet(run)?;
            let apart = self.explore(run, &supernet).await?;
            let at = Moment { space: &self.space, step: run.step, steps: run.steps, seed: run.config.train.seed };
            let gates = self.searcher.gates(at);
            let raw = supernet.close(run.model, &gates);
            self.step = Some(Step { gates, raw, apart });
            Ok(None)
        })
    }

    fn after_backward<'a>(
        &'a mut self,
        run: &'a mut Run<'_>,
        gradients: &'a mut Gradients,
    ) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.after_backward(run, gradients))
    }

    fn after_step<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.after_step(run))
    }

    fn ends_run(&self) -> bool {
        self.finished
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        let numbers = json!({
            "budget": self.space.budget,
            "modules": self.space.modules.len(),
            "finished": self.finished,
            "searcher": self.searcher.save(),
            "told": self.told,
        });
        Box::pin(async { Ok(HookState { numbers, ..HookState::default() }) })
    }

    fn load(&mut self, saved: &Saved<'_>) -> Result<(), Problem> {
        let refuse = |what: String| {
            Err(Problem::input(what)
                .at("checkpoint.safetensors")
                .next("go on with the search as it was begun, or start anew"))
        };
        let Value::Object(numbers) = saved.numbers else {
            return refuse("the checkpoint is of no search".into());
        };
        let number = |name: &str| numbers.get(name).and_then(Value::as_u64);
        for (what, there, here) in [
            ("budget", number("budget"), self.space.budget),
            ("number of modules", number("modules"), self.space.modules.len() as u64),
        ] {
            if there != Some(here) {
                return refuse(format!(
                    "the search was begun with another {what}: {}, and not {here}",
                    there.unwrap_or(0)
                ));
            }
        }
        if !numbers.get("searcher").is_some_and(|state| self.searcher.load(state)) {
            return refuse("the search was begun by another searcher".into());
        }
        self.finished = numbers.get("finished").and_then(Value::as_bool).unwrap_or(false);
        self.told = numbers.get("told").and_then(|told| serde_json::from_value(told.clone()).ok()).unwrap_or_default();
        let sizes = self.searcher.found(&self.space);
        *self.found.0.borrow_mut() = Some(self.space.structure(&sizes));
        Ok(())
    }
}
