//! How long a run takes.

use serde::{Deserialize, Serialize};

/// How long a run takes, from steps of it that were timed and thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Steps in all.
    pub steps: usize,
    /// Seconds of an average step, updates of the layers' scores included.
    pub step: f64,
    /// Seconds of one validation.
    pub validation: f64,
    /// How many there will be, unless the run stops early.
    pub validations: usize,
    /// Seconds of continuing the prompts once.
    pub sample: f64,
    /// How often they will be.
    pub samples: usize,
}

impl Pace {
    /// Seconds of the whole run.
    pub fn seconds(&self) -> f64 {
        self.steps as f64 * self.step + self.validations as f64 * self.validation + self.samples as f64 * self.sample
    }
}
