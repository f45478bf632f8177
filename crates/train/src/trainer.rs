//! The loop.

use std::cell::OnceCell;
use std::rc::Rc;

use burn::tensor::Tensor;
use futures::future::LocalBoxFuture;
use stratune_data::{Dataset, Plan, Sequence};
use stratune_kernels::{Compute, compute_dtypes};
use stratune_models::Model;
use stratune_peft::{Dropout, Gradients, count_trainable, restore, snapshot};
use stratune_protocol::{
    EndReason, Event, ModelReport, OptimiserKind, Problem, ProblemKind, RunConfig, StepReport, blocks_that_fit,
};
use stratune_runtime::{Control, Stopwatch, Wish, memory_in_use, rest, span, yield_now};
use stratune_store::Checkpoint;

use crate::pruning::{make_room, prunes_at};
use crate::spacing::log_spaced;
use crate::state::{self, Flat, Identity, TrainState};
use crate::teller::{Taken, Teller, not_finite};
use crate::{
    AdamW, Batching, Budget, Demand, Direction, Hook, Lab, Moment, Move, Record, Uploaded, learning_rate, measure,
    scout, sweep,
};

/// The front end of a run.
pub trait Host {
    /// Takes notice of an event.
    fn emit(&mut self, event: Event);

    /// Makes a checkpoint safe before it returns.
    fn keep(&mut self, checkpoint: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>>;

    /// Continues its prompts with the model as it stands; called at log-spaced steps.
    fn sample<'a>(&'a mut self, model: &'a Model, step: usize) -> LocalBoxFuture<'a, Result<(), Problem>>;
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// Steps done.
    pub step: usize,
    /// Lowest validation loss, and its step.
    pub best: Option<(usize, f64)>,
}

/// A run.
pub struct Trainer {
    /// The model with its method attached. After the run it holds the parameters with the lowest validation loss.
    pub model: Model,
    pub(crate) config: RunConfig,
    pub(crate) dataset: Rc<Dataset>,
    pub(crate) hook: Box<dyn Hook>,
    pub(crate) optimiser: AdamW,
    budget: Option<Budget>,
    pub(crate) plan: Plan,
    identity: Identity,
    pub(crate) state: TrainState,
    validated: Option<usize>,
    /// What the model is, once a step down the gradient has asked.
    report: OnceCell<ModelReport>,
    /// Whether the methods that look at rows before they train have done so.
    chosen: bool,
    pub(crate) steps: usize,
}

impl Trainer {
    /// A run at its first step. `model` has its method attached.
    ///
    /// # Errors
    /// There is nothing to train on, or the device does not multiply as the configuration says.
    pub fn new(
        config: RunConfig,
        mut model: Model,
        dataset: Rc<Dataset>,
        hook: Box<dyn Hook>,
        identity: Identity,
    ) -> Result<Self, Problem> {
        if dataset.train.is_empty() {
            return Err(Problem::input("there are no rows to train on").next("give a file with rows"));
        }
        config.compute_dtype.check(&compute_dtypes(&model.device()))?;
        model.compute = Compute::new(config.compute_dtype);
        let train = &config.train;
        let plan = Plan::new(&dataset.train, train.batch_size, train.seed);
        let steps = if train.steps > 0 {
            train.steps
        } else {
            let batches = plan.batches_per_epoch() as f64 * f64::from(train.epochs);
            (batches / train.accumulation as f64).ceil().max(1.0) as usize
        };
        let optimiser = AdamW::new(train.weight_decay);
        let budget = Budget::of(&config.method, steps);
        let state = TrainState::default();
        Ok(Self {
            model,
            config,
            dataset,
            hook,
            optimiser,
            budget,
            plan,
            identity,
            state,
            validated: None,
            report: OnceCell::new(),
            chosen: false,
            steps,
        })
    }

    /// Goes back to where a checkpoint was written.
    ///
    /// # Errors
    /// The checkpoint belongs to another model, other data or another method.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), Problem> {
        if prunes_at(&self.config.method, self.steps)
            .is_some_and(|at| Record::of(checkpoint).is_ok_and(|r| r.step > at))
        {
            make_room(&mut self.model);
        }
        let moved_by = (&mut self.optimiser, self.budget.as_mut());
        self.state = state::load(checkpoint, &mut self.model, moved_by, self.hook.as_mut(), &self.identity)?;
        // A run that was stopped before it measured anything has not chosen yet.
        self.chosen = self.state.step > 0 || self.state.best.is_some();
        Ok(())
    }

    /// Steps done, and steps in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.state.step, self.steps)
    }

    /// Trains until the last step, or until `control` asks for an end.
    ///
    /// # Errors
    /// The device fails, a checkpoint cannot be written, or the loss is not finite; then the last checkpoint stands.
    pub async fn run(&mut self, host: &mut dyn Host, control: &Control) -> Result<Ended, Problem> {
        let sitting = Stopwatch::start();
        host.emit(Event::Begun {
            config: Box::new(self.config.clone()),
            step: self.state.step,
            steps: self.steps,
            layers: self.model.layers.len(),
            trainable: count_trainable(&mut self.model),
        });
        if self.state.step == 0 && self.state.best.is_none() {
            // What is measured and kept is of the parameters that the run begins with.
            self.choose(host).await?;
            self.validate(host).await?;
            host.sample(&self.model, 0).await?;
        }
        let mut teller = Teller::new(self.steps);
        let train = self.config.train.clone();
        let due = |every: usize, step: usize| every > 0 && step.is_multiple_of(every);
        let mut reason = EndReason::Steps;
        while self.state.step < self.steps {
            if train.patience > 0 && self.state.stale >= train.patience {
                reason = EndReason::EarlyStop;
                break;
            }
            if control.wish() != Wish::Run {
                teller.finish(host).await?;
                if !self.wait(host, control).await? {
                    reason = EndReason::Stopped;
                    break;
                }
                teller.restart();
            }
            match self.step(host).await {
                Ok(taken) => teller.take(taken),
                Err(problem) => {
                    // What was done before it is told, if the device still answers.
                    let _ = teller.finish(host).await;
                    return Err(problem);
                }
            }
            let step = self.state.step;
            let last = step == self.steps;
            let (validates, keeps) = (due(train.eval_every, step) || last, due(train.checkpoint_every, step));
            let samples = log_spaced(step) || last;
            if validates || keeps || samples {
                teller.finish(host).await?;
                if validates {
                    self.validate(host).await?;
                }
                if samples {
                    host.sample(&self.model, step).await?;
                }
                if keeps && !last {
                    self.keep(host).await?;
                }
                teller.restart();
            } else if due(train.log_every, step) || teller.is_full() {
                teller.tell(host).await?;
            }
            yield_now().await;
        }
        self.keep(host).await?;
        if reason == EndReason::Stopped && self.validated != Some(self.state.step) {
            // After the checkpoint: a run that goes on must not remember a validation that the uninterrupted one lacks.
            self.validate(host).await?;
        }
        self.restore_best()?;
        let ended = Ended { reason, step: self.state.step, best: self.state.best };
        let (step, best) = (ended.step, ended.best);
        host.emit(Event::Ended { reason, step, best, seconds: sitting.seconds() });
        Ok(ended)
    }

    /// Puts the parameters with the lowest validation loss in place, and gives the step that they are of; none if nothing has
    /// been measured.
    ///
    /// # Errors
    /// The model has lost a parameter.
    pub fn restore_best(&mut self) -> Result<Option<usize>, Problem> {
        if let Some(best) = &self.state.best_values {
            restore(&mut self.model, best)
                .map_err(|path| Problem::new(ProblemKind::Internal, format!("lost {path}")))?;
        }
        Ok(self.state.best.map(|(step, _)| step))
    }

    /// Numbers that the optimiser's state holds.
    pub fn optimiser_state(&self) -> usize {
        self.optimiser.state_size()
    }

    /// One optimiser step on its own, told at once: what a benchmark measures.
    ///
    /// # Errors
    /// The device fails, or the loss is not finite.
    pub async fn advance(&mut self, host: &mut dyn Host) -> Result<(), Problem> {
        let mut teller = Teller::new(self.steps);
        teller.take(self.step(host).await?);
        teller.finish(host).await
    }

    /// Lets the methods that look at rows before they train do so; once, before the first step.
    ///
    /// # Errors
    /// The device fails.
    pub async fn choose(&mut self, host: &mut dyn Host) -> Result<(), Problem> {
        if !std::mem::replace(&mut self.chosen, true) {
            let tell = &mut |event| host.emit(event);
            let told = scout(&mut self.model, &self.config, &self.dataset, self.steps, tell).await?;
            told.into_iter().for_each(|text| host.emit(Event::Notice { text }));
        }
        Ok(())
    }

    /// One optimiser step; its numbers stay on the device.
    async fn step(&mut self, host: &mut dyn Host) -> Result<Taken, Problem> {
        self.choose(host).await?;
        self.prune(host).await?;
        let (step, accumulation) = (self.state.step, self.config.train.accumulation);
        let by = Batching::from(&self.config.train);
        let lab = Lab::new(&self.model, &self.dataset, by);
        let selection = self.hook.before_step(step, &lab).await?;
        selection.events.into_iter().for_each(|e| host.emit(e));
        for block in &selection.released {
            self.optimiser.release(&mut self.model.layers[*block]);
        }
        let first = (step * accumulation) as u64;
        let cursor = first..first + accumulation as u64;
        let upload = |k| (k, by.upload(&self.model, &self.rows(&self.plan.batch(k))));
        let batches: Vec<(u64, Uploaded)> = cursor.map(upload).collect();
        let sum = |of: fn(&Uploaded) -> usize| batches.iter().map(|(_, batch)| of(batch)).sum::<usize>();
        let (learned, tokens, positions) = (sum(|b| b.learned), sum(|b| b.real_tokens), sum(Uploaded::size));
        let rate = learning_rate(&self.config.train, step, self.steps);
        let (loss, norm) = match self.config.train.optimiser {
            OptimiserKind::Adamw => self.descend(&batches, &selection.active, learned, rate).await?,
            OptimiserKind::Mezo => self.feel(&batches, &selection.active, rate).await?,
        };
        self.state.step += 1;
        let report = StepReport {
            step: self.state.step,
            learning_rate: rate,
            tokens: tokens as u64,
            positions: positions as u64,
            memory_bytes: memory_in_use(&self.model.device()),
            sampled: (0..selection.active.len()).filter(|i| selection.active[*i]).collect(),
            ..StepReport::default()
        };
        Ok(Taken { report, loss, learned, norm })
    }

    /// A step down the gradient. Gives the summed loss and the gradient's norm.
    async fn descend(
        &mut self,
        batches: &[(u64, Uploaded)],
        active: &[bool],
        learned: usize,
        rate: f64,
    ) -> Result<(Tensor<1>, Tensor<1>), Problem> {
        let train = &self.config.train;
        let device = self.model.device();
        let report = self.report.get_or_init(|| self.model.config.report("", 0));
        let fits = |batch: &Uploaded| blocks_that_fit(report, &self.config.method, batch.size(), train.graph_memory);
        let mut gradients = Gradients::new();
        let mut loss = Tensor::zeros([1], &device);
        for (k, batch) in batches {
            let demand = Demand {
                active,
                dropout: Some(Dropout { seed: train.seed, batch: *k }),
                keep_graphs: train.keep_graphs.max(fits(batch)),
                scale: 1.0 / learned.max(1) as f64,
            };
            let swept = sweep(&self.model, batch, &demand);
            for (path, gradient) in swept.gradients {
                let sum = match gradients.remove(&path) {
                    Some(there) => there + gradient,
                    None => gradient,
                };
                gradients.insert(path, sum);
            }
            loss = loss + swept.loss;
        }
        self.model.add_penalties(active, &mut gradients);
        if let Some(budget) = &mut self.budget {
            budget.watch(&mut self.model, &gradients);
        }
        let _span = span("optimiser");
        let at = Moment { seed: train.seed, step: self.state.step };
        let norm = self.optimiser.step(&mut self.model, gradients, train.clip_norm, rate, at).await?;
        if let Some(budget) = &mut self.budget {
            budget.allot(&mut self.model, self.state.step + 1).await?;
        }
        Ok((loss, norm))
    }

    /// MeZO's step. Gives the summed loss and the slope along the direction.
    async fn feel(
        &mut self,
        batches: &[(u64, Uploaded)],
        active: &[bool],
        rate: f64,
    ) -> Result<(Tensor<1>, Tensor<1>), Problem> {
        let train = &self.config.train;
        let direction = Direction { seed: train.seed, step: self.state.step };
        let batches: Vec<Uploaded> = batches.iter().map(|(_, batch)| batch.clone()).collect();
        let blocks: Vec<usize> = (0..active.len()).filter(|i| active[*i]).collect();
        let felt = direction.slope(&self.model, &batches, &blocks, train.perturbation).await?;
        let taken = Move { length: rate * felt.slope, blocks };
        direction.take(&mut self.model, &taken);
        self.state.moves.push(taken);
        let number = |x: f64| Tensor::<1>::from_floats([x as f32], &self.model.device());
        Ok((number(felt.loss), number(felt.slope.abs())))
    }

    /// Measures the held-out rows and remembers the best.
    async fn validate(&mut self, host: &mut dyn Host) -> Result<(), Problem> {
        if self.dataset.validation.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<&Sequence> = self.dataset.validation.iter().collect();
        rows.sort_by_key(|r| r.tokens.len());
        let loss = measure(&self.model, &rows, (&self.config.train).into(), None).await?.loss;
        let step = self.state.step;
        if !loss.is_finite() {
            return Err(not_finite(step, "loss", loss));
        }
        self.validated = Some(step);
        let best = self.state.best.is_none_or(|(_, lowest)| loss < lowest);
        if best {
            self.state.best = Some((step, loss));
            self.state.best_values = Some(self.values());
            self.state.stale = 0;
        } else {
            self.state.stale += 1;
        }
        host.emit(Event::Validation { step, loss, perplexity: loss.exp(), best });
        Ok(())
    }

    /// Halts. False if the run is to end.
    async fn wait(&mut self, host: &mut dyn Host, control: &Control) -> Result<bool, Problem> {
        if control.wish() == Wish::Pause {
            self.keep(host).await?;
            host.emit(Event::Paused { step: self.state.step });
            while control.wish() == Wish::Pause {
                rest().await;
            }
            if control.wish() == Wish::Run {
                host.emit(Event::Resumed { step: self.state.step });
            }
        }
        Ok(control.wish() == Wish::Run)
    }

    async fn keep(&mut self, host: &mut dyn Host) -> Result<(), Problem> {
        let of = (&self.config, &self.identity, self.steps);
        let moved_by = (&self.optimiser, self.budget.as_ref());
        let checkpoint = state::save(&mut self.model, moved_by, &self.state, self.hook.as_ref(), of).await?;
        host.keep(checkpoint).await
    }

    fn values(&mut self) -> Flat {
        snapshot(&mut self.model).into_iter().map(|(path, (_, value))| (path, value)).collect()
    }

    pub(crate) fn rows(&self, indices: &[usize]) -> Vec<&Sequence> {
        indices.iter().filter_map(|i| self.dataset.train.get(*i)).collect()
    }
}
