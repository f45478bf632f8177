//! How much of a run goes into measuring it: validations and samples together take a share of its time at most.
//!
//! Which rows a validation measures must not depend on how fast a machine is, for they decide which parameters are the best:
//! that is counted in tokens. How long samples may be is a matter of seconds.

use rand::seq::SliceRandom;
use stratune_data::Dataset;
use stratune_protocol::{TrainConfig, draws};

use crate::log_spaced::log_spaced_until;

/// Forward passes over its tokens that a step costs at least: one, and as much again for the way back.
pub(crate) const FORWARDS: f64 = 2.0;

/// What validations may take of the share; the rest is for samples.
const VALIDATIONS: f64 = 2.0 / 3.0;

/// Seconds that a person does not mind, however short the run.
const UNNOTICED: f64 = 1.0;

/// Time for measuring, in units of the time for training; none if as much as it takes.
fn beside(share: f64) -> Option<f64> {
    (share < 1.0).then(|| share / (1.0 - share))
}

/// How many validations a run of `steps` has, if it does not stop early: one is before the first step.
pub(crate) fn validations(steps: usize, every: usize) -> usize {
    1 + validations_after(0, steps, every)
}

/// How many of them come after the one of `step`: one is after the last step.
pub(crate) fn validations_after(step: usize, steps: usize, every: usize) -> usize {
    let by = |step: usize| step.checked_div(every).unwrap_or(0);
    let at_the_end = every == 0 || !steps.is_multiple_of(every);
    by(steps).saturating_sub(by(step)) + usize::from(at_the_end && step < steps)
}

/// How often a run continues its prompts from `step` on: at log-spaced steps, before the first step and after the last.
pub(crate) fn samples_from(step: usize, steps: usize) -> usize {
    let spaced = log_spaced_until(steps.saturating_sub(1)).saturating_sub(log_spaced_until(step.saturating_sub(1)));
    usize::from(step == 0) + spaced + 1
}

/// The held-out rows that each validation of a run measures, in their order: all of them, or as many as keep to the share, drawn
/// by the seed, and a batch at least. `tokens_a_step` is the mean.
pub(crate) fn rows_to_measure(dataset: &Dataset, config: &TrainConfig, steps: usize, tokens_a_step: f64) -> Vec<usize> {
    let rows = &dataset.validation;
    let Some(beside) = beside(f64::from(config.evaluation_share)) else { return (0..rows.len()).collect() };
    let all = FORWARDS * tokens_a_step * steps as f64 * beside * VALIDATIONS;
    let tokens = all / validations(steps, config.eval_every) as f64;
    if rows.iter().map(|row| row.tokens.len()).sum::<usize>() as f64 <= tokens {
        return (0..rows.len()).collect();
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.shuffle(&mut draws(config.seed, "validation_rows", [0, 0]));
    let mut taken = 0;
    let fits = |row: &usize| {
        taken += rows[*row].tokens.len();
        taken as f64 <= tokens
    };
    let count = order.iter().copied().take_while(fits).count().max(config.batch_size.min(rows.len()));
    order.truncate(count);
    order.sort_unstable();
    order
}

/// The time that a run has taken since it was started or resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TimeSpent {
    /// Seconds of training.
    pub training: f64,
    /// Seconds of validations and samples.
    pub measuring: f64,
    /// Steps that it has trained.
    pub done: usize,
    /// Seconds of a step, as long as none is done.
    pub a_step: f64,
    /// Seconds of the last validation.
    pub validation: f64,
}

/// What remains of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// Steps.
    pub steps: usize,
    /// Validations.
    pub validations: usize,
    /// Samples, the one in question among them.
    pub samples: usize,
}

impl TimeSpent {
    /// Seconds that the next sample may take.
    pub fn for_a_sample(&self, share: f64, to_come: Remaining) -> f64 {
        let Some(beside) = beside(share) else { return f64::INFINITY };
        let a_step = if self.done > 0 { self.training / self.done as f64 } else { self.a_step };
        let training = self.training + a_step * to_come.steps as f64;
        let left = training * beside - self.measuring - self.validation * to_come.validations as f64;
        left.max(UNNOTICED - self.measuring).max(0.0) / to_come.samples.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use stratune_data::Sequence;

    use super::*;
    use crate::log_spaced::log_spaced;

    fn held_out(rows: usize) -> Dataset {
        let row = |r: usize| {
            let length = 5 + r % 11;
            Sequence { tokens: vec![1; length], loss_mask: vec![true; length], ..Sequence::default() }
        };
        Dataset { validation: (0..rows).map(row).collect(), ..Dataset::default() }
    }

    #[test]
    fn validations_keep_to_their_part_of_the_share() {
        for (rows, steps, every, share) in
            [(150, 150, 50, 0.1), (150, 12, 50, 0.1), (2000, 3000, 50, 0.1), (150, 150, 50, 0.3), (150, 150, 0, 0.05)]
        {
            let (dataset, tokens_a_step) = (held_out(rows), 80.0);
            let config = TrainConfig { eval_every: every, evaluation_share: share, ..TrainConfig::default() };
            let measured = rows_to_measure(&dataset, &config, steps, tokens_a_step);
            assert!(measured.windows(2).all(|pair| pair[0] < pair[1]) && measured.len() >= 8);
            let tokens: usize = measured.iter().map(|row| dataset.validation[*row].tokens.len()).sum();
            let measuring = (tokens * validations(steps, every)) as f64;
            let training = FORWARDS * tokens_a_step * steps as f64;
            let part = measuring / (training + measuring);
            assert!(part < f64::from(share) * 0.7 || measured.len() == 8, "{rows} rows, {steps} steps: {part}");
            assert!(measured.len() == rows || part > f64::from(share) * 0.5 || steps < 20, "{rows}, {steps}: {part}");
            assert_eq!(measured, rows_to_measure(&dataset, &config, steps, tokens_a_step));
            let other = TrainConfig { seed: 1, ..config.clone() };
            let another = rows_to_measure(&dataset, &other, steps, tokens_a_step);
            assert!(measured.len() == rows || measured != another, "another seed draws other rows");
            let asked = TrainConfig { evaluation_share: 1.0, ..config };
            assert_eq!(rows_to_measure(&dataset, &asked, steps, tokens_a_step).len(), rows);
        }
        assert!(rows_to_measure(&held_out(0), &TrainConfig::default(), 10, 80.0).is_empty());
        assert_eq!(rows_to_measure(&held_out(20), &TrainConfig::default(), 10_000, 80.0).len(), 20, "they all fit");
    }

    #[test]
    fn what_is_to_come_is_counted() {
        for (steps, every, count) in [(12, 5, 4), (10, 5, 3), (10, 0, 2), (1, 50, 2), (100, 50, 3)] {
            assert_eq!(validations(steps, every), count, "{steps} steps, every {every}");
            let is_one = |step: &usize| *step == steps || every > 0 && step.is_multiple_of(every);
            for step in 0..=steps {
                let after = (step + 1..=steps).filter(is_one).count();
                assert_eq!(validations_after(step, steps, every), after, "after {step} of {steps}, every {every}");
                let from = (step..=steps).filter(|s| *s == 0 || log_spaced(*s) || *s == steps).count();
                assert_eq!(samples_from(step, steps), from, "from {step} of {steps}");
            }
        }
    }

    /// A run of 100 steps of a second with three validations of a second: 11.1 seconds for measuring, 8.1 for samples. If the
    /// first take less, more is left to the others, and all together they keep to it.
    #[test]
    fn samples_share_what_validations_leave() {
        let mut spent = TimeSpent { a_step: 1.0, measuring: 1.0, validation: 1.0, ..TimeSpent::default() };
        let to_come = |steps, validations, samples| Remaining { steps, validations, samples };
        let first = spent.for_a_sample(0.1, to_come(100, 2, 4));
        assert!((first - (100.0 / 9.0 - 3.0) / 4.0).abs() < 1e-9, "{first}");
        spent.measuring += 0.1;
        (spent.training, spent.done) = (50.0, 50);
        let second = spent.for_a_sample(0.1, to_come(50, 2, 3));
        assert!(second > first);
        // Steps turn out twice as slow.
        spent.training = 100.0;
        assert!(spent.for_a_sample(0.1, to_come(50, 2, 3)) > 2.0 * second);
        spent.measuring = 100.0;
        assert_eq!(spent.for_a_sample(0.1, to_come(50, 2, 3)), 0.0);
        assert_eq!(spent.for_a_sample(1.0, to_come(50, 2, 3)), f64::INFINITY);
        assert_eq!(TimeSpent::default().for_a_sample(0.1, to_come(10, 2, 4)), UNNOTICED / 4.0);
    }
}
