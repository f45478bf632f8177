//! A search as the training loop sees it: a hook. The loop trains the weights of all modules together; before a step the
//! searcher learns from a pass over the rows that are set apart, and says which modules the step has.

use std::cell::RefCell;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratune_data::Sequence;
use stratune_peft::{Gradients, Structure, snapshot};
use stratune_protocol::{FrontPoint, ModelReport, Problem, Schedule, SearchBy, SearchReport, draws};
use stratune_train::{Event, Hook, HookState, Rows, Run, RunConfig, Saved, Selection, learning_rate};

use crate::searcher::{Look, Moment, Searcher};
use crate::searchers::searcher;
use crate::second_order::second_order_slopes;
use crate::space::Sizes;
use crate::start::Start;
use crate::supernet::{Gate, Products, Raw, Supernet};
use crate::{Front, Module, Space};

/// Steps between reports when nothing has been pruned.
const REPORT_EVERY: usize = 10;

/// A search.
pub struct Search {
    by: SearchBy,
    space: Space,
    /// The same under the larger budgets, the largest first, and what was noted there.
    wider: Vec<(Space, Option<Sizes>)>,
    searcher: Box<dyn Searcher>,
    /// The parameters of the modules, once the model has been seen.
    supernet: Option<Supernet>,
    /// What the step that is being taken has.
    step: Option<Step>,
    /// Where structures begin that train alone.
    start: Start,
    found: Found,
    /// What was measured, and how much of that is told.
    front: Front,
    front_told: Front,
    /// Sizes of the last report.
    told: Vec<usize>,
    finished: bool,
}

/// What a checkpoint has of a search.
#[derive(Serialize, Deserialize)]
struct State {
    by: SearchBy,
    budget: u64,
    larger_budgets: Vec<u64>,
    modules: usize,
    finished: bool,
    searcher: Value,
    told: Vec<usize>,
    noted: Vec<Option<Sizes>>,
    front: Front,
}

/// What is between the beginning of a step and its gradients.
struct Step {
    gates: Vec<Gate>,
    raw: Raw,
    apart: Products,
}

/// What a search has found so far; it changes as the search goes on.
#[derive(Clone, Debug, Default)]
pub struct Found(Rc<RefCell<Vec<(u64, Structure)>>>);

impl Found {
    /// The structure under the smallest budget; none before the first step.
    pub fn structure(&self) -> Option<Structure> {
        self.0.borrow().first().map(|(_, structure)| structure.clone())
    }

    /// The structure under each budget, upwards.
    pub fn structures(&self) -> Vec<(u64, Structure)> {
        self.0.borrow().clone()
    }
}

impl Search {
    /// The search that a configuration asks for, on this model.
    ///
    /// # Errors
    /// Those of [`Space::new`], the searcher cannot work on the space, or the learning rate moves where one structure trains
    /// after the other.
    pub fn new(config: &RunConfig, model: &ModelReport) -> Result<Self, Problem> {
        let space = Space::new(config, model)?;
        let searcher = searcher(config, &space)?;
        if searcher.trains_alone() && (config.train.schedule != Schedule::Constant || config.train.warmup_steps > 0) {
            let what = "one structure trains after the other, each at the same learning rate";
            return Err(Problem::input(what).at("train.schedule").next("use a constant schedule and no warmup"));
        }
        let by = config.search.as_ref().map(|search| search.by).unwrap_or_default();
        let wider = space.larger.iter().rev().map(|budget| (space.under(*budget), None)).collect();
        Ok(Self {
            by,
            space,
            wider,
            searcher,
            supernet: None,
            step: None,
            start: Start::default(),
            found: Found::default(),
            front: Front::default(),
            front_told: Front::default(),
            told: Vec::new(),
            finished: false,
        })
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
        let sizes = self.keep_found();
        let (first, front) = (self.told.is_empty(), self.front != self.front_told);
        let changed = front || self.told != sizes;
        if first || changed || self.finished || run.step.is_multiple_of(REPORT_EVERY) {
            let modules =
                if first { self.space.modules.iter().map(|module| module.name()).collect() } else { Vec::new() };
            let places = if first { self.space.modules.iter().map(Module::place).collect() } else { Vec::new() };
            let chances = self.searcher.chances(&self.space);
            let whole =
                |point: &FrontPoint| FrontPoint { parameters: self.space.whole(point.parameters), ..point.clone() };
            (run.emit)(Event::Search(SearchReport {
                step: run.step,
                budget: self.space.whole(self.space.budget),
                unit: self.space.unit,
                parameters: self.space.whole(self.space.count(&sizes)),
                left: self.space.whole(self.space.left(&chances)),
                chances,
                sizes: sizes.clone(),
                modules,
                places,
                front: if front { self.front.points().iter().map(whole).collect() } else { Vec::new() },
                done: self.finished,
            }));
        }
        self.told = sizes;
        self.front_told.clone_from(&self.front);
    }

    /// Keeps what has been found under each budget, and gives it for the smallest.
    fn keep_found(&self) -> Sizes {
        let sizes = self.searcher.found(&self.space);
        let wider = self.wider.iter().rev().map(|(space, noted)| {
            let sizes = noted.clone().unwrap_or_else(|| self.searcher.found(space));
            (space.whole(space.budget), space.structure(&sizes))
        });
        let least = (self.space.whole(self.space.budget), self.space.structure(&sizes));
        *self.found.0.borrow_mut() = std::iter::once(least).chain(wider).collect();
        sizes
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
        if self.searcher.is_second_order() {
            let train: Vec<&Sequence> = batch(run.rows(Rows::Train), (run.step, by.size), at.seed);
            let rate = learning_rate(&run.config.train, run.step, run.steps);
            let slopes = second_order_slopes(run, supernet, &gates, [&train, &rows], rate).await?;
            self.searcher.learn(at, &gates, &slopes);
            return Ok(Products::new());
        }
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
            let open = |(space, noted): &(Space, Option<Sizes>)| noted.is_none().then(|| self.searcher.found(space));
            // What a pruning takes from the searcher is still there for the larger budget that it falls below.
            let before: Vec<Option<Sizes>> = self.wider.iter().map(open).collect();
            self.searcher.weigh(at, &sensitivity);
            for ((space, noted), before) in self.wider.iter_mut().zip(before) {
                if let Some(sizes) = before.filter(|_| self.searcher.is_within(space)) {
                    let mut look = Look { run: &mut *run, supernet: &supernet, front: &mut self.front };
                    look.loss(space, &sizes).await?;
                    *noted = Some(sizes);
                }
            }
        }
        Ok(())
    }

    /// Has a structure measured that has trained alone, and tells how it stands, unless it is about to end.
    async fn after_step(&mut self, run: &mut Run<'_>) -> Result<(), Problem> {
        if self.searcher.trains_alone() {
            let supernet = self.supernet(run)?;
            let at = Moment { space: &self.space, step: run.step, steps: run.steps, seed: run.config.train.seed };
            let mut look = Look { run: &mut *run, supernet: &supernet, front: &mut self.front };
            self.searcher.after_step(at, &mut look).await?;
        }
        match run.step == run.steps || self.searcher.is_done() {
            true => _ = self.keep_found(),
            false => self.tell(run),
        }
        Ok(())
    }

    /// Has the searcher decide, and measures what it has found under each budget.
    async fn after_training(&mut self, run: &mut Run<'_>) -> Result<(), Problem> {
        if self.finished {
            return Ok(());
        }
        let supernet = self.supernet(run)?;
        let (step, steps, seed) = (run.step, run.steps, run.config.train.seed);
        for k in 0..=self.wider.len() {
            let space = self.wider.get(k).map_or(&self.space, |(space, _)| space);
            if self.wider.get(k).is_some_and(|(_, noted)| noted.is_some()) {
                continue;
            }
            let mut look = Look { run: &mut *run, supernet: &supernet, front: &mut self.front };
            self.searcher.finish(Moment { space, step, steps, seed }, &mut look).await?;
            let sizes = self.searcher.found(space);
            if !self.searcher.trains_alone() {
                look.loss(space, &sizes).await?;
            }
            if let Some((_, noted)) = self.wider.get_mut(k) {
                *noted = Some(sizes);
            }
        }
        self.finished = true;
        if self.searcher.trains_alone() {
            // What trained last is of one structure alone.
            self.start.restore(run)?;
        }
        // What is measured at the end is what was found.
        let gates: Vec<Gate> = self.searcher.found(&self.space).into_iter().map(Gate::of).collect();
        supernet.close(run.model, &gates);
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
            if self.searcher.trains_alone() {
                self.start = Start::of(run.model);
            }
            let at = Moment { space: &self.space, step: run.step, steps: run.steps, seed: run.config.train.seed };
            let mut look = Look { run: &mut *run, supernet: &supernet, front: &mut self.front };
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
            if self.searcher.starts_anew(at) {
                self.start.restore(run)?;
            }
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

    fn after_training<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.after_training(run))
    }

    fn ends_run(&self) -> bool {
        self.finished || self.searcher.is_done()
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        let state = State {
            by: self.by,
            budget: self.space.budget,
            larger_budgets: self.space.larger.clone(),
            modules: self.space.modules.len(),
            finished: self.finished,
            searcher: self.searcher.save(),
            told: self.told.clone(),
            noted: self.wider.iter().map(|(_, noted)| noted.clone()).collect(),
            front: self.front.clone(),
        };
        let numbers = serde_json::to_value(state).unwrap_or_default();
        Box::pin(async { Ok(HookState { numbers, tensors: self.start.save().await? }) })
    }

    fn load(&mut self, saved: &Saved<'_>) -> Result<(), Problem> {
        let refuse = |what: String| {
            Err(Problem::input(what)
                .at("checkpoint.safetensors")
                .next("go on with the search as it was begun, or start anew"))
        };
        let Ok(state) = serde_json::from_value::<State>(saved.numbers.clone()) else {
            return refuse("the checkpoint is of no search, or what it says of the search is damaged".into());
        };
        let budgets = |all: &[u64]| all.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        for (what, there, here) in [
            ("searcher", state.by.name().to_string(), self.by.name().to_string()),
            ("budget", state.budget.to_string(), self.space.budget.to_string()),
            ("list of larger budgets", budgets(&state.larger_budgets), budgets(&self.space.larger)),
            ("number of modules", state.modules.to_string(), self.space.modules.len().to_string()),
        ] {
            if there != here {
                return refuse(format!("the search was begun with another {what}: {there}, and not {here}"));
            }
        }
        // A structure that has been noted is within its budget.
        let fits =
            |((space, _), noted): (&(Space, _), &Option<Sizes>)| noted.as_ref().is_none_or(|sizes| space.allows(sizes));
        let noted = state.noted.len() == self.wider.len() && self.wider.iter().zip(&state.noted).all(fits);
        if !noted || !state.front.fits(&self.space) || !self.searcher.load(&self.space, &state.searcher) {
            return refuse("what the checkpoint says of the search cannot be: it was changed, or is damaged".into());
        }
        self.wider.iter_mut().zip(state.noted).for_each(|((_, noted), saved)| *noted = saved);
        (self.finished, self.told, self.front) = (state.finished, state.told, state.front);
        self.start = Start::load(saved);
        self.keep_found();
        Ok(())
    }
}
