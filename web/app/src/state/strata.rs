//! Which layers a run trained, column by column: what the heatmap shows.

use stratune_protocol::{Candidate, IstMode};

use super::settings::{MODE, Settings};

/// Some steps of the run, between two importance updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Steps done before it.
    pub first: usize,
    /// Probability of each layer, where it is learned.
    pub probabilities: Option<Vec<f32>>,
    /// In how many of its steps each layer trained.
    pub trained: Vec<u32>,
    /// Its steps so far.
    pub steps: u32,
}

impl Column {
    fn new(first: usize, probabilities: Option<Vec<f32>>, layers: usize) -> Self {
        Self { first, probabilities, trained: vec![0; layers], steps: 0 }
    }

    /// Share of its steps in which `layer` trained.
    pub fn share(&self, layer: usize) -> f32 {
        self.trained.get(layer).map_or(0.0, |&n| n as f32 / self.steps.max(1) as f32)
    }

    /// What the colour shows: the probability where one is learned, the share of steps otherwise.
    pub fn shade(&self, layer: usize) -> f32 {
        match &self.probabilities {
            Some(p) => p.get(layer).copied().unwrap_or(0.0),
            None => self.share(layer),
        }
    }
}

/// Everything known about the layers of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strata {
    /// How layers are chosen.
    pub mode: IstMode,
    /// Layers of the model.
    pub layers: usize,
    /// Steps a column spans.
    pub interval: usize,
    /// In order of their steps.
    pub columns: Vec<Column>,
    /// Latest scores; empty where none are learned.
    pub scores: Vec<f32>,
    /// In how many steps each layer has trained.
    pub trained: Vec<u32>,
    /// Steps seen.
    pub steps: u32,
    /// What the last update tried.
    pub candidates: Vec<Candidate>,
    /// The layers of the latest step.
    pub sampled: Vec<usize>,
}

impl Strata {
    /// Nothing drawn yet, for a run of `steps` steps on `layers` layers.
    pub fn begin(config: &Settings, layers: usize, steps: usize) -> Self {
        let mode = mode_of(config);
        // Without scores there are no updates to mark time: about sixty columns show any run.
        let interval = if mode.learns() { config.number("ist.interval") as usize } else { steps.div_ceil(60) };
        Self {
            mode,
            layers,
            interval: interval.max(1),
            scores: if mode.learns() { vec![0.0; layers] } else { Vec::new() },
            trained: vec![0; layers],
            ..Self::default()
        }
    }

    /// The scores have moved before the step after `step`.
    pub fn moved(&mut self, step: usize, scores: &[f32], probabilities: &[f32], candidates: &[Candidate]) {
        self.columns.retain(|c| c.first < step || c.steps > 0);
        self.columns.push(Column::new(step, Some(probabilities.to_vec()), self.layers));
        self.scores = scores.to_vec();
        self.candidates = candidates.to_vec();
    }

    /// Step number `step` trained the layers `sampled`.
    pub fn step(&mut self, step: usize, sampled: &[usize]) {
        let full = |c: &Column| !self.mode.learns() && c.steps as usize >= self.interval;
        if self.columns.last().is_none_or(full) {
            // Scores start at nought, which is an even chance.
            let even = self.mode.learns().then(|| vec![0.5; self.layers]);
            self.columns.push(Column::new(step.saturating_sub(1), even, self.layers));
        }
        if let Some(column) = self.columns.last_mut() {
            column.steps += 1;
            for &layer in sampled {
                if let Some(n) = column.trained.get_mut(layer) {
                    *n += 1;
                }
                if let Some(n) = self.trained.get_mut(layer) {
                    *n += 1;
                }
            }
        }
        self.steps += 1;
        self.sampled = sampled.to_vec();
    }

    /// The latest number of `layer`: its probability, or its share of all steps.
    pub fn now(&self, layer: usize) -> f32 {
        match self.columns.last() {
            Some(Column { probabilities: Some(p), .. }) => p.get(layer).copied().unwrap_or(0.0),
            _ => self.trained.get(layer).map_or(0.0, |&n| n as f32 / self.steps.max(1) as f32),
        }
    }

    /// Mean loss of the last candidates with `layer` damped, and with it left alone.
    pub fn candidate_losses(&self, layer: usize) -> (Option<f64>, Option<f64>) {
        let mean = |damped: bool| {
            let losses: Vec<f64> =
                self.candidates.iter().filter(|c| c.damped.contains(&layer) == damped).map(|c| c.loss).collect();
            (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
        };
        (mean(true), mean(false))
    }
}

/// How layers are chosen.
pub fn mode_of(config: &Settings) -> IstMode {
    config.get(MODE).and_then(|name| serde_json::from_value(name.clone()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::settings::tests::settings;

    fn begin(mode: IstMode, steps: usize) -> Strata {
        Strata::begin(&settings(json!({ "ist": { "mode": mode, "interval": 10 } })), 3, steps)
    }

    #[test]
    fn an_update_begins_a_column() {
        let mut strata = begin(IstMode::Practical, 40);
        strata.step(1, &[0]);
        assert_eq!(strata.columns[0].probabilities, Some(vec![0.5; 3]));
        let tried = [Candidate { damped: vec![0], loss: 3.0 }, Candidate { damped: vec![1], loss: 1.0 }];
        strata.moved(1, &[1.0, 0.0, -1.0], &[0.7, 0.5, 0.3], &tried);
        strata.step(2, &[0, 2]);
        strata.step(3, &[0]);
        assert_eq!(strata.columns.len(), 2);
        assert_eq!((strata.columns[1].shade(0), strata.columns[1].share(2)), (0.7, 0.5));
        assert_eq!((strata.trained.clone(), strata.sampled.clone()), (vec![3, 0, 1], vec![0]));
        assert_eq!(strata.now(2), 0.3);
        assert_eq!(strata.candidate_losses(0), (Some(3.0), Some(1.0)));
        assert_eq!(strata.candidate_losses(2), (None, Some(2.0)));
    }

    #[test]
    fn two_updates_before_one_step_are_one_column() {
        let mut strata = begin(IstMode::Faithful, 40);
        strata.moved(0, &[0.0; 3], &[0.5; 3], &[]);
        strata.moved(0, &[1.0; 3], &[0.7; 3], &[]);
        assert_eq!(strata.columns.len(), 1);
        assert_eq!(strata.columns[0].shade(1), 0.7);
    }

    #[test]
    fn without_scores_the_share_of_steps_is_shown() {
        let mut strata = begin(IstMode::Random, 120);
        for step in 1..=120 {
            strata.step(step, &[step % 2]);
        }
        assert_eq!(strata.columns.len(), 60);
        assert!(strata.scores.is_empty());
        assert_eq!((strata.columns[3].shade(0), strata.now(1), strata.now(2)), (0.5, 0.5, 0.0));
        assert_eq!(strata.columns[3].first, 6);
    }

    #[test]
    fn layers_that_do_not_exist_are_ignored() {
        let mut strata = begin(IstMode::All, 1);
        strata.step(1, &[0, 1, 2, 99]);
        assert_eq!(strata.now(99), 0.0);
        assert_eq!(strata.columns[0].shade(99), 0.0);
    }
}
