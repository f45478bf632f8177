//! How long a run would take.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use stratune_data::Dataset;
use stratune_models::Model;
use stratune_protocol::{Pace, Problem};
use stratune_store::Checkpoint;
use stratune_train::{Event, ProgressReporter, RunConfig, TrainerCallback};

use crate::run::{prompts, trainer, watched_search};
use crate::search::of_any_budget;
use crate::{Base, Samples};

/// Times a few steps of a run or a search of `config`, on a copy of the model whose weights are shared: no other run sees them.
///
/// # Errors
/// Those of [`trainer`], and those of its steps.
pub async fn pace(config: RunConfig, base: &Base, dataset: Rc<Dataset>) -> Result<Pace, Problem> {
    let mut callback = NoOutput(Samples::new(prompts(&config, &dataset), &base.tokenizer, &base.template));
    let run = match config.search {
        Some(_) => {
            // How long it takes does not depend on the budget, and one in time would be measured first.
            let config = of_any_budget(config, &base.report());
            watched_search(config, base, dataset, None, &ProgressReporter::silent()).await?.0
        }
        None => trainer(config, base, dataset, None).await?,
    };
    run.pace(&mut callback).await
}

/// The host of steps that nobody follows: it continues prompts, which takes its time.
struct NoOutput<'a>(Samples<'a>);

impl TrainerCallback for NoOutput<'_> {
    fn emit(&mut self, _: Event) {}

    fn save_checkpoint(&mut self, _: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    fn sample<'a>(&'a mut self, model: &'a Model, _: usize, seconds: f64) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.0.of(model, seconds).await.map(drop) })
    }
}
