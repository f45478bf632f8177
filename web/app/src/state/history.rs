//! What a run has done so far, built from the engine's events and nothing else.

use stratune_protocol::{EndReason, LabelMetrics, StepReport};

use crate::parts::series::{Point, smooth, span_for};
use crate::state::search::Search;
use crate::state::settings::{Event, Settings};
use crate::state::strata::Strata;

/// A measurement on held-out rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// Steps done.
    pub step: usize,
    /// Mean loss of a label, in nats.
    pub loss: f64,
    /// Whether it was the lowest so far.
    pub best: bool,
    /// How well whole texts are labelled, where that is learned.
    pub labels: Option<LabelMetrics>,
}

/// A prompt that was continued while training.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Steps done.
    pub step: usize,
    /// The prompt.
    pub prompt: String,
    /// What followed.
    pub text: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Why.
    pub reason: EndReason,
    /// Steps done.
    pub step: usize,
    /// Lowest loss on held-out rows, and its step.
    pub best: Option<(usize, f64)>,
    /// Seconds of training since the run was started or resumed.
    pub seconds: f64,
}

/// A run so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The run's configuration, defaults filled in; none before the first run.
    pub config: Option<Box<Settings>>,
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Loss of each step.
    pub losses: Vec<Point>,
    /// The latest step.
    pub latest: Option<StepReport>,
    /// In order of their steps.
    pub validations: Vec<Validated>,
    /// In order of their steps.
    pub samples: Vec<Sampled>,
    /// The layers' story.
    pub strata: Strata,
    /// The modules' story, where a structure is searched for.
    pub search: Search,
    /// Step of the last checkpoint.
    pub saved: Option<usize>,
    /// How it ended; none while it runs.
    pub ending: Option<Ending>,
    /// Smoothed losses of runs before this one, newest last.
    pub previous: Vec<Vec<Point>>,
}

/// Earlier runs that stay on the chart.
const PREVIOUS: usize = 3;

impl History {
    /// Takes in one event; those that are not about a run change nothing.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Begun { config, step, steps, layers, .. } => self.begin(config, *step, *steps, *layers),
            Event::Step(report) => self.step(report),
            Event::Importance { step, scores, probabilities, candidates } => {
                self.strata.moved(*step, scores, probabilities, candidates);
            }
            Event::Search(report) => self.search.hear(report),
            Event::Validation { step, loss, best, labels, .. } => {
                self.validations.retain(|v| v.step != *step);
                let labels = labels.clone();
                self.validations.push(Validated { step: *step, loss: *loss, best: *best, labels });
            }
            Event::Sample { step, prompt, text } => {
                let sample = Sampled { step: *step, prompt: prompt.clone(), text: text.clone() };
                if !self.samples.contains(&sample) {
                    self.samples.push(sample);
                }
            }
            Event::Saved { run: Some(run) } if self.config.is_some() => self.saved = Some(run.step),
            Event::Ended { reason, step, best, seconds } => {
                self.step = *step;
                self.ending = Some(Ending { reason: *reason, step: *step, best: *best, seconds: *seconds });
            }
            _ => {}
        }
    }

    fn begin(&mut self, config: &Settings, step: usize, steps: usize, layers: usize) {
        let mut previous = std::mem::take(&mut self.previous);
        // A run that goes on repeats its own steps, so its beginning is no earlier run.
        let goes_on = step > 0 && self.config.as_deref() == Some(config);
        if self.losses.len() > 1 && !goes_on {
            previous.push(smooth(&self.losses, span_for(self.losses.len())));
            previous.drain(..previous.len().saturating_sub(PREVIOUS));
        }
        *self = Self {
            config: Some(Box::new(config.clone())),
            step,
            steps,
            strata: Strata::begin(config, layers, steps),
            search: Search::begin(config),
            previous,
            ..Self::default()
        };
    }

    fn step(&mut self, report: &StepReport) {
        self.step = report.step;
        self.losses.push((report.step, report.loss));
        self.strata.step(report.step, &report.sampled);
        self.latest = Some(report.clone());
    }

    /// Losses on held-out rows at the beginning and at the best step, once both are known.
    pub fn before_and_after(&self) -> Option<(f64, f64)> {
        let first = self.validations.first()?;
        let best = self.ending.as_ref()?.best.map_or(self.validations.last()?.loss, |b| b.1);
        (self.validations.len() > 1).then_some((first.loss, best))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn begun(step: usize) -> Event {
        Event::Begun { config: Box::default(), step, steps: 20, layers: 2, trainable: 64 }
    }

    fn step(step: usize, loss: f64) -> Event {
        Event::Step(StepReport { step, loss, sampled: vec![0, 1], ..Default::default() })
    }

    fn validation(step: usize, loss: f64) -> Event {
        Event::Validation { step, loss, perplexity: loss.exp(), best: true, labels: None }
    }

    fn after(events: &[Event]) -> History {
        let mut history = History::default();
        events.iter().for_each(|e| history.apply(e));
        history
    }

    #[test]
    fn a_run_from_beginning_to_end() {
        let history = after(&[
            begun(0),
            validation(0, 3.0),
            step(1, 2.0),
            step(2, 1.5),
            validation(2, 1.25),
            Event::Sample { step: 2, prompt: "a".into(), text: "b".into() },
            Event::Ended { reason: EndReason::Steps, step: 2, best: Some((2, 1.25)), seconds: 4.0 },
        ]);
        assert_eq!(history.losses, vec![(1, 2.0), (2, 1.5)]);
        assert_eq!((history.step, history.steps, history.strata.trained.clone()), (2, 20, vec![2, 2]));
        assert_eq!(history.before_and_after(), Some((3.0, 1.25)));
        assert_eq!(history.samples.len(), 1);
    }

    #[test]
    fn the_next_run_greys_the_last_one() {
        let mut events = vec![begun(0), step(1, 2.0), step(2, 1.0)];
        for _ in 0..5 {
            events.extend([begun(0), step(1, 2.0), step(2, 1.0)]);
        }
        let history = after(&events);
        assert_eq!((history.losses.len(), history.previous.len()), (2, PREVIOUS));
    }

    #[test]
    fn a_run_that_goes_on_is_replayed_not_compared() {
        let history =
            after(&[begun(0), step(1, 2.0), step(2, 1.0), begun(2), step(1, 2.0), step(2, 1.0), step(3, 0.5)]);
        assert_eq!((history.losses.len(), history.previous.len(), history.strata.steps), (3, 0, 3));
    }

    #[test]
    fn each_validation_keeps_its_metrics() {
        let of = |step, pearson| {
            let labels = Some(LabelMetrics::Numbers { pearson, rmse: 1.0 });
            Event::Validation { step, loss: 1.0, perplexity: 1.0, best: false, labels }
        };
        let history = after(&[begun(0), of(0, 0.25), of(2, 0.5), of(2, 0.75)]);
        let kept: Vec<_> =
            history.validations.iter().map(|v| v.labels.as_ref().unwrap().figures()[0].1.clone()).collect();
        assert_eq!(kept, ["0.250", "0.750"]);
    }

    #[test]
    fn other_events_change_nothing() {
        let history = after(&[Event::Notice { text: "x".into() }, Event::Saved { run: None }]);
        assert_eq!(history, History::default());
    }
}
