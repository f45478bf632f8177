//! One score a module, at one moment: the gradient's norm before anything trains, or how far a module has moved when all have
//! trained together. Modules are whole or not there.

use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use stratune_protocol::Problem;

use super::there;
use crate::searcher::{Look, Moment, Searcher};
use crate::space::{Sizes, Space};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// ‖∂L/∂θ‖² over the numbers of the module at the start: how much the loss falls for each number at a small step.
    GradientNorm,
    /// ‖θ‖² over the numbers of the module at the end, of what the module adds.
    Magnitude,
}

/// A search by one score.
#[derive(Clone, Debug)]
pub(crate) struct Scored {
    by: By,
    scores: Vec<f64>,
}

impl Scored {
    /// Of this score, not measured yet.
    pub fn new(by: By) -> Self {
        Self { by, scores: Vec::new() }
    }

    fn set(&mut self, space: &Space, sums: &[f64]) {
        let counts = space.modules.iter().map(|module| module.count(module.largest()).max(1) as f64);
        self.scores = sums.iter().zip(counts).map(|(sum, count)| sum / count).collect();
    }
}

impl Searcher for Scored {
    fn begin<'a>(&'a mut self, at: Moment<'a>, look: &'a mut Look<'_, '_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            if self.by == By::GradientNorm {
                let sums = look.squared_gradients().await?;
                self.set(at.space, &sums);
            }
            Ok(())
        })
    }

    fn finish<'a>(&'a mut self, at: Moment<'a>, look: &'a mut Look<'_, '_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            if self.by == By::Magnitude && self.scores.is_empty() {
                let sums = look.squared_magnitudes().await?;
                self.set(at.space, &sums);
            }
            Ok(())
        })
    }

    fn is_done(&self) -> bool {
        !self.scores.is_empty()
    }

    fn found(&self, space: &Space) -> Sizes {
        match self.scores.is_empty() {
            // Nothing is known yet: what comes first.
            true => space.best(&vec![0.0; space.modules.len()]),
            false => space.best(&self.scores),
        }
    }

    fn chances(&self, space: &Space) -> Vec<f32> {
        if self.scores.is_empty() { vec![1.0; space.modules.len()] } else { there(&self.found(space)) }
    }

    fn save(&self) -> Value {
        json!({ "scores": self.scores })
    }

    fn load(&mut self, space: &Space, saved: &Value) -> bool {
        let fits = |scores: &Vec<f64>| scores.is_empty() || scores.len() == space.modules.len();
        let scores = serde_json::from_value(saved["scores"].clone()).ok().filter(fits);
        scores.map(|scores| self.scores = scores).is_some()
    }
}
