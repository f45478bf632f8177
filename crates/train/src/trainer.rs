//! The loop.

use std::cell::OnceCell;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use stratune_data::{Dataset, Plan, Sequence};
use stratune_kernels::{Compute, compute_dtypes};
use stratune_models::Model;
use stratune_peft::{count_trainable, restore, snapshot};
use stratune_protocol::{EndReason, ModelReport, Problem, ProblemKind};
use stratune_runtime::{Control, RunRequest, Stopwatch, sleep_briefly, yield_now};
use stratune_store::Checkpoint;

use crate::evaluation_share::{TimeSpent, rows_to_measure};
use crate::log_spaced::log_spaced;
use crate::metrics_logger::MetricsLogger;
use crate::progress::{ProgressReporter, unless_stopped};
use crate::state::{self, Flat, Identity, TrainState};
use crate::{AdamW, Event, Hook, NextToken, Objective, Record, Run, RunConfig, Selection, Tell, hooks_of};

/// Callbacks of a run: its front end.
pub trait TrainerCallback {
    /// Takes notice of an event.
    fn emit(&mut self, event: Event);

    /// Makes a checkpoint safe before it returns.
    fn save_checkpoint(&mut self, checkpoint: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>>;

    /// Continues its prompts with the model as it stands, as far as so many seconds go; called at log-spaced steps. It is
    /// dropped where it waits when a person wants the run to end.
    fn sample<'a>(&'a mut self, model: &'a Model, step: usize, seconds: f64)
    -> LocalBoxFuture<'a, Result<(), Problem>>;
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOutput {
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
    pub(crate) objective: Rc<dyn Objective>,
    pub(crate) hooks: Vec<Box<dyn Hook>>,
    pub(crate) optimiser: AdamW,
    pub(crate) plan: Plan,
    identity: Identity,
    pub(crate) state: TrainState,
    /// Steps after which the held-out rows were measured last, or were not because a person did not wait for it.
    pub(crate) validated: Option<usize>,
    /// The held-out rows that validations measure.
    pub(crate) measured: Vec<usize>,
    pub(crate) spent: TimeSpent,
    /// What the model is, once a step down the gradient has asked.
    pub(crate) report: OnceCell<ModelReport>,
    /// Whether the hooks have done what comes before training.
    prepared: bool,
    pub(crate) steps: usize,
    /// The mean, of the rows that train.
    pub(crate) tokens_a_step: f64,
}

impl Trainer {
    /// A run at its first step. `model` has its method attached; `hooks` are those beside the methods' own, and come first.
    ///
    /// # Errors
    /// There is nothing to train on, or the device does not multiply as the configuration says.
    pub fn new(
        config: RunConfig,
        mut model: Model,
        dataset: Rc<Dataset>,
        mut hooks: Vec<Box<dyn Hook>>,
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
        let tokens: usize = dataset.train.iter().map(|row| row.tokens.len()).sum();
        let tokens_a_step = tokens as f64 / plan.batches_per_epoch().max(1) as f64 * train.accumulation as f64;
        let measured = rows_to_measure(&dataset, train, steps, tokens_a_step);
        let optimiser = AdamW::new(train.weight_decay);
        hooks.extend(hooks_of(&config.method));
        let state = TrainState::default();
        Ok(Self {
            model,
            config,
            dataset,
            objective: Rc::new(NextToken),
            hooks,
            optimiser,
            plan,
            identity,
            state,
            validated: None,
            measured,
            spent: TimeSpent::default(),
            report: OnceCell::new(),
            prepared: false,
            steps,
            tokens_a_step,
        })
    }

    /// Goes back to where a checkpoint was written.
    ///
    /// # Errors
    /// The checkpoint belongs to another model, other data or another method.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), Problem> {
        let record = Record::of(checkpoint)?;
        record.identity.is_of(&self.identity)?;
        self.hooks.iter().for_each(|hook| hook.reshape(&mut self.model, &record));
        self.state = state::load((checkpoint, record), &mut self.model, &mut self.optimiser, &mut self.hooks)?;
        // A run that was stopped before it measured anything has not prepared yet.
        self.prepared = self.state.step > 0 || self.state.best.is_some();
        Ok(())
    }

    /// Steps done, and steps in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.state.step, self.steps)
    }

    /// Of what model and data it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Trains until the last step, or until `control` asks for an end.
    ///
    /// # Errors
    /// The device fails, a checkpoint cannot be written, or the loss is not finite; then the last checkpoint stands.
    pub async fn run(&mut self, callback: &mut dyn TrainerCallback, control: &Control) -> Result<TrainOutput, Problem> {
        let clock = Stopwatch::start();
        callback.emit(Event::Begun {
            config: Box::new(self.config.clone()),
            step: self.state.step,
            steps: self.steps,
            layers: self.model.layers.len(),
            trainable: count_trainable(&mut self.model),
        });
        self.say_what_is_measured(callback);
        let reason = match Box::pin(self.train(callback, control)).await {
            Err(problem) if problem.kind == ProblemKind::Stopped => EndReason::Stopped,
            ended => ended?,
        };
        self.save_checkpoint(callback).await?;
        if reason == EndReason::Stopped && self.state.step > 0 && self.validated != Some(self.state.step) {
            // After the checkpoint: a run that goes on must not remember a validation that the uninterrupted one lacks.
            self.validate(callback, &Control::default()).await?;
        }
        self.restore_best()?;
        let ended = TrainOutput { reason, step: self.state.step, best: self.state.best };
        let (step, best) = (ended.step, ended.best);
        callback.emit(Event::Ended { reason, step, best, seconds: clock.seconds() });
        Ok(ended)
    }

    /// The steps that are left, with what is between them. A stop within a long phase is an error of its own kind.
    async fn train(&mut self, callback: &mut dyn TrainerCallback, control: &Control) -> Result<EndReason, Problem> {
        if self.state.step == 0 && self.state.best.is_none() {
            // What is measured and kept is of the parameters that the run begins with.
            self.prepare_unless_stopped(callback, control).await?;
            self.state.validation_due = true;
        }
        if self.state.step > 0 && self.is_through() {
            // It was stopped between its last step and its end, or is through.
            self.conclude(callback, control).await?;
        }
        if self.state.validation_due {
            self.validate(callback, control).await?;
            self.state.validation_due = false;
            self.sample(callback, control).await?;
        }
        let mut logger = MetricsLogger::new(self.steps);
        let train = self.config.train.clone();
        let due = |every: usize, step: usize| every > 0 && step.is_multiple_of(every);
        let begun = self.state.step;
        let mut clock = Stopwatch::start();
        while !self.is_through() {
            if train.patience > 0 && self.state.stale >= train.patience {
                return Ok(EndReason::EarlyStop);
            }
            if control.request() != RunRequest::Run {
                logger.finish(callback).await?;
                self.spent.training += clock.seconds();
                if !self.wait(callback, control).await? {
                    return Ok(EndReason::Stopped);
                }
                clock = Stopwatch::start();
                logger.restart();
            }
            match Box::pin(self.step(callback, control)).await {
                Ok(taken) => logger.push(taken),
                Err(problem) => {
                    // What was done before it is told, if the device still answers.
                    let _ = logger.finish(callback).await;
                    return Err(problem);
                }
            }
            let step = self.state.step;
            let last = self.is_through();
            let (validates, keeps) = (due(train.eval_every, step) || last, due(train.checkpoint_every, step));
            let samples = log_spaced(step) || last;
            if validates || keeps || samples {
                logger.finish(callback).await?;
                self.spent.training += clock.seconds();
                self.spent.done = step - begun;
                if last {
                    // What is stopped in here is done, and measured, when the run goes on.
                    self.state.validation_due = true;
                    self.conclude(callback, control).await?;
                    self.state.validation_due = false;
                }
                if validates {
                    self.validate(callback, control).await?;
                }
                if samples {
                    self.sample(callback, control).await?;
                }
                if keeps && !last {
                    self.save_checkpoint(callback).await?;
                }
                clock = Stopwatch::start();
                logger.restart();
            } else if due(train.log_every, step) || logger.is_full() {
                logger.log(callback).await?;
            }
            yield_now().await;
        }
        Ok(EndReason::Steps)
    }

    /// Whether no step is left to take: all are done, or a hook has come to its end.
    fn is_through(&self) -> bool {
        self.state.step >= self.steps || self.hooks.iter().any(|hook| hook.ends_run())
    }

    /// Has the hooks do what comes after the last step.
    async fn conclude(&mut self, callback: &mut dyn TrainerCallback, control: &Control) -> Result<(), Problem> {
        let watch = ProgressReporter::new(control, |event| callback.emit(event));
        let (emit, tell) = (|event| watch.emit(event), |what: &str, done, total| watch.tell(what, done, total));
        let (mut run, hooks) = self.acted_on(&emit, &tell);
        for hook in hooks {
            unless_stopped(control, hook.after_training(&mut run)).await?;
        }
        Ok(())
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
    pub async fn advance(&mut self, callback: &mut dyn TrainerCallback) -> Result<(), Problem> {
        let mut logger = MetricsLogger::new(self.steps);
        logger.push(self.step(callback, &Control::default()).await?);
        logger.finish(callback).await
    }

    /// Minimises another objective.
    #[must_use]
    pub fn with_objective(self, objective: Rc<dyn Objective>) -> Self {
        Self { objective, ..self }
    }

    /// Has the hooks do what comes before training; once, before the first step.
    ///
    /// # Errors
    /// The device fails.
    pub async fn prepare(&mut self, callback: &mut dyn TrainerCallback) -> Result<(), Problem> {
        self.prepare_unless_stopped(callback, &Control::default()).await
    }

    pub(crate) async fn prepare_unless_stopped(
        &mut self,
        callback: &mut dyn TrainerCallback,
        control: &Control,
    ) -> Result<(), Problem> {
        if self.prepared {
            return Ok(());
        }
        let watch = ProgressReporter::new(control, |event| callback.emit(event));
        let (emit, tell) = (|event| watch.emit(event), |what: &str, done, total| watch.tell(what, done, total));
        let (mut run, hooks) = self.acted_on(&emit, &tell);
        for hook in hooks {
            unless_stopped(control, hook.before_training(&mut run)).await?;
        }
        self.prepared = true;
        Ok(())
    }

    /// The blocks that the hooks leave for the step to come.
    pub(crate) async fn select(
        &mut self,
        callback: &mut dyn TrainerCallback,
        control: &Control,
    ) -> Result<Selection, Problem> {
        let watch = ProgressReporter::new(control, |event| callback.emit(event));
        let (emit, tell) = (|event| watch.emit(event), |what: &str, done, total| watch.tell(what, done, total));
        let (mut run, hooks) = self.acted_on(&emit, &tell);
        let mut selection = Selection::of(vec![true; run.model.layers.len()]);
        for hook in hooks {
            if let Some(chosen) = unless_stopped(control, hook.before_step(&mut run)).await? {
                selection = selection.and(&chosen);
            }
        }
        if run.forgets_best {
            (self.state.best, self.state.best_values, self.state.stale) = (None, None, 0);
        }
        Ok(selection)
    }

    /// The run as hooks see it, and the hooks.
    pub(crate) fn acted_on<'a>(
        &'a mut self,
        emit: &'a dyn Fn(Event),
        tell: Tell<'a>,
    ) -> (Run<'a>, &'a mut [Box<dyn Hook>]) {
        let Self { model, optimiser, dataset, config, objective, hooks, steps, state, .. } = self;
        let run = Run::new(model, optimiser, (&**dataset, config), &**objective, *steps);
        (Run { step: state.step, emit, tell, ..run }, hooks)
    }

    /// Halts. False if the run is to end.
    async fn wait(&mut self, callback: &mut dyn TrainerCallback, control: &Control) -> Result<bool, Problem> {
        if control.request() == RunRequest::Pause {
            self.save_checkpoint(callback).await?;
            callback.emit(Event::Paused { step: self.state.step });
            while control.request() == RunRequest::Pause {
                sleep_briefly().await;
            }
            if control.request() == RunRequest::Run {
                callback.emit(Event::Resumed { step: self.state.step });
            }
        }
        Ok(control.request() == RunRequest::Run)
    }

    /// Has the host keep a checkpoint. A run without a step has nothing to keep, and must not take the place of another.
    async fn save_checkpoint(&mut self, callback: &mut dyn TrainerCallback) -> Result<(), Problem> {
        if self.state.step == 0 {
            return Ok(());
        }
        let of = (&self.config, &self.identity, self.steps);
        let checkpoint = state::save(&mut self.model, &self.optimiser, &self.state, &self.hooks, of).await?;
        callback.save_checkpoint(checkpoint).await
    }

    pub(crate) fn values(&mut self) -> Flat {
        snapshot(&mut self.model).into_iter().map(|(path, (_, value))| (path, value)).collect()
    }

    pub(crate) fn rows(&self, indices: &[usize]) -> Vec<&Sequence> {
        indices.iter().filter_map(|i| self.dataset.train.get(*i)).collect()
    }
}
