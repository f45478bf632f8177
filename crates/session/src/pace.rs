//! How long a run would take.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use stratune_data::Dataset;
use stratune_models::Model;
use stratune_protocol::{Event, Pace, Problem, ProblemKind, RunConfig};
use stratune_store::Checkpoint;
use stratune_train::Host;

use crate::Base;
use crate::recorder::continued;
use crate::run::{prompts, trainer};

/// Times a few steps of a run of `config`, on a copy of the model whose weights are shared: no other run sees them.
///
/// # Errors
/// Those of [`trainer`], and those of its steps.
pub async fn pace(config: RunConfig, base: &Base, dataset: Rc<Dataset>) -> Result<Pace, Problem> {
    let mut host = Unheard { prompts: prompts(&config, &dataset), base };
    trainer(config, base, dataset, None).await?.pace(&mut host).await
}

/// The host of steps that nobody follows: it continues prompts, which takes its time.
struct Unheard<'a> {
    prompts: Vec<String>,
    base: &'a Base,
}

impl Host for Unheard<'_> {
    fn emit(&mut self, _: Event) {}

    fn keep(&mut self, _: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    fn sample<'a>(&'a mut self, model: &'a Model, _: usize) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            for prompt in &self.prompts {
                match continued(model, &self.base.tokenizer, &self.base.template, prompt).await {
                    // A run tells of a prompt that it cannot continue, and goes on.
                    Err(problem) if problem.kind != ProblemKind::Input => return Err(problem),
                    Ok(_) | Err(_) => {}
                }
            }
            Ok(())
        })
    }
}
