//! How long a run takes: a few steps of it, timed and thrown away.

use std::cell::Cell;

use stratune_data::Sequence;
use stratune_protocol::{Pace, Problem};
use stratune_runtime::{Stopwatch, yield_now};

use crate::evaluation_share::{Remaining, TimeSpent, samples_from, validations};
use crate::{Batching, Event, Trainer, TrainerCallback, evaluate};

/// Steps that are timed, after one that is not: in the first one kernels are compiled, and methods that look at rows
/// choose what trains.
const TIMED: usize = 3;

/// How many steps are looked at to learn how often the layers' scores move.
const LOOKED_AT: usize = 1000;

impl Trainer {
    /// Times steps, a score update, a validation and the samples, and says what that makes of the whole run. It gives
    /// itself up: nothing that these steps have changed lives on. `callback` hears of them and continues its prompts
    /// once.
    ///
    /// # Errors
    /// The device fails, or the loss is not finite.
    pub async fn pace(mut self, callback: &mut dyn TrainerCallback) -> Result<Pace, Problem> {
        let mut seconds_a_token = Vec::new();
        for step in 0..(TIMED + 1).min(self.steps) {
            let tokens = self.tokens_of(step);
            let clock = Stopwatch::start();
            self.advance(callback).await?;
            seconds_a_token.push(clock.seconds() / tokens.max(1) as f64);
            yield_now().await;
        }
        let first = usize::from(seconds_a_token.len() > 1);
        let step = self.tokens_a_step * median(&mut seconds_a_token[first..]) + self.scoring().await?;
        let validation = self.validation().await?;
        let (steps, every) = (self.steps, self.config.train.eval_every);
        let (validations, samples) = (validations(steps, every), samples_from(0, steps));
        // What they may take at most, once the whole run is trained and measured.
        let spent = TimeSpent { a_step: step, validation, ..TimeSpent::default() };
        let share = f64::from(self.config.train.evaluation_share);
        let seconds = spent.for_a_sample(share, Remaining { steps, validations, samples });
        let clock = Stopwatch::start();
        callback.sample(&self.model, self.state.step, seconds).await?;
        let sample = clock.seconds();
        Ok(Pace { steps, step, validation, validations, sample, samples })
    }

    /// Tokens of the batches of one step.
    fn tokens_of(&self, step: usize) -> usize {
        let accumulation = self.config.train.accumulation;
        let batches = (step * accumulation..(step + 1) * accumulation).map(|k| self.plan.batch(k as u64));
        batches.map(|rows| tokens(&self.rows(&rows))).sum()
    }

    /// Seconds that the updates of the layers' scores take of an average step; 0 if the timed steps had them already.
    async fn scoring(&mut self) -> Result<f64, Problem> {
        let (begun, mut last) = (self.state.step, None);
        for step in begun..begun + LOOKED_AT {
            self.state.step = step;
            let clock = Stopwatch::start();
            if !self.moves_scores().await? {
                continue;
            }
            match last {
                None => last = Some(step),
                Some(last) if step - last <= TIMED => return Ok(0.0),
                Some(last) => return Ok(clock.seconds() / (step - last) as f64),
            }
        }
        Ok(0.0)
    }

    /// Has the hooks choose the blocks of the step to come. Gives whether one has moved the layers' scores for that.
    async fn moves_scores(&mut self) -> Result<bool, Problem> {
        let moved = Cell::new(false);
        let emit = |event| moved.set(moved.get() || matches!(event, Event::Importance { .. }));
        let (mut run, hooks) = self.acted_on(&emit, &|_, _, _| {});
        for hook in hooks {
            hook.before_step(&mut run).await?;
        }
        Ok(moved.get())
    }

    /// Seconds of a validation, from one batch of middling length.
    async fn validation(&self) -> Result<f64, Problem> {
        let rows = self.held_out();
        if rows.is_empty() {
            return Ok(0.0);
        }
        let by = Batching::from(&self.config.train);
        let count = by.size.min(rows.len());
        let some = &rows[(rows.len() - count) / 2..][..count];
        let clock = Stopwatch::start();
        evaluate(&*self.objective, &self.model, some, by, None).await?;
        Ok(clock.seconds() * tokens(&rows) as f64 / tokens(some).max(1) as f64)
    }
}

fn tokens(rows: &[&Sequence]) -> usize {
    rows.iter().map(|row| row.tokens.len()).sum()
}

/// The middle one; of two the larger.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
