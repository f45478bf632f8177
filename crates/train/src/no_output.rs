//! A host that nobody listens to.

use futures::future::LocalBoxFuture;
use stratune_models::Model;
use stratune_protocol::Problem;
use stratune_store::Checkpoint;

use crate::{Event, TrainerCallback};

/// The host of steps that nobody follows: it keeps nothing but which layers trained.
#[derive(Clone, Debug, Default)]
pub struct NoOutput {
    /// Layers that the last step trained.
    pub sampled: Vec<usize>,
}

impl TrainerCallback for NoOutput {
    fn emit(&mut self, event: Event) {
        if let Event::Step(step) = event {
            self.sampled = step.sampled;
        }
    }

    fn save_checkpoint(&mut self, _: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    fn sample<'a>(&'a mut self, _: &'a Model, _: usize, _: f64) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }
}
