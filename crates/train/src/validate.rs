//! Validations and samples between the steps of a run.

use stratune_data::Sequence;
use stratune_protocol::{Problem, ProblemKind};
use stratune_runtime::{Control, Stopwatch};

use crate::evaluate::classify;
use crate::evaluation_share::{FORWARDS, Remaining, samples_from, validations_after};
use crate::metrics_logger::not_finite;
use crate::progress::{ProgressReporter, unless_stopped};
use crate::{Event, Trainer, TrainerCallback};

impl Trainer {
    /// The held-out rows that are measured, by length.
    pub(crate) fn held_out(&self) -> Vec<&Sequence> {
        let mut rows: Vec<&Sequence> = self.measured.iter().filter_map(|i| self.dataset.validation.get(*i)).collect();
        rows.sort_by_key(|row| row.tokens.len());
        rows
    }

    pub(crate) fn say_what_is_measured(&self, host: &mut dyn TrainerCallback) {
        let (measured, all) = (self.measured.len(), self.dataset.validation.len());
        if measured < all {
            let share = f64::from(self.config.train.evaluation_share);
            let text = format!(
                "validations measure {measured} of {all} held-out rows, so that with samples they take {share:.2} of the \
                 time at most; train.evaluation_share sets it"
            );
            host.emit(Event::Notice { text });
        }
    }

    /// Measures held-out rows and remembers the best. If a person does not wait for it, it is done when the run goes on.
    pub(crate) async fn validate(&mut self, host: &mut dyn TrainerCallback, control: &Control) -> Result<(), Problem> {
        let rows = self.held_out();
        if rows.is_empty() {
            return Ok(());
        }
        let (step, clock) = (self.state.step, Stopwatch::start());
        let progress = ProgressReporter::new(control, |event| host.emit(event));
        let mut tell = |done: usize| progress.tell("measuring held-out rows", done, rows.len());
        let (objective, by) = (&*self.objective, (&self.config.train).into());
        let measured = unless_stopped(control, classify(objective, &self.model, &rows, by, &mut tell)).await;
        let labels = measured.as_ref().ok().and_then(|(said, _)| {
            let names = self.model.config.classifier.as_ref().map_or(&[][..], |of| &of.labels);
            self.objective.metrics(said, &rows, names)
        });
        let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
        drop(progress);
        let seconds = clock.seconds();
        (self.spent.validation, self.spent.measuring) = (seconds, self.spent.measuring + seconds);
        self.spent.a_step = seconds / tokens.max(1) as f64 * self.tokens_a_step * FORWARDS;
        self.validated = Some(step);
        let loss = match measured {
            Ok((_, measured)) => measured.loss,
            Err(problem) => {
                self.state.validation_due = problem.kind == ProblemKind::Stopped;
                return Err(problem);
            }
        };
        if !loss.is_finite() {
            return Err(not_finite(step, "loss", loss));
        }
        let best = self.state.best.is_none_or(|(_, lowest)| loss < lowest);
        if best {
            self.state.best = Some((step, loss));
            self.state.best_values = Some(self.values());
            self.state.stale = 0;
        } else {
            self.state.stale += 1;
        }
        host.emit(Event::Validation { step, loss, perplexity: loss.exp(), best, labels });
        Ok(())
    }

    /// Has the host continue its prompts, within what is left of the share.
    pub(crate) async fn sample(&mut self, host: &mut dyn TrainerCallback, control: &Control) -> Result<(), Problem> {
        let clock = Stopwatch::start();
        let seconds = self.for_a_sample();
        let sampled = unless_stopped(control, host.sample(&self.model, self.state.step, seconds)).await;
        self.spent.measuring += clock.seconds();
        sampled
    }

    /// Seconds that the prompts may be continued for at this step.
    pub(crate) fn for_a_sample(&self) -> f64 {
        let (step, steps) = (self.state.step, self.steps);
        let to_come = Remaining {
            steps: steps.saturating_sub(step),
            validations: validations_after(step, steps, self.config.train.eval_every),
            samples: samples_from(step, steps),
        };
        self.spent.for_a_sample(f64::from(self.config.train.evaluation_share), to_come)
    }
}
