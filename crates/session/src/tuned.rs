//! What a run leaves to try and to take.

use stratune_models::Model;
use stratune_peft::Adapter;
use stratune_protocol::{Problem, ProblemKind};
use stratune_train::{RunConfig, TrainOutput, Trainer, TunedRun};

use crate::{Base, RunFacts, attach};

/// A tuned model, without what only training needs.
pub(crate) struct Tuned {
    /// The model.
    pub model: Model,
    /// The run's configuration with what is left of the methods.
    pub finalized: RunConfig,
    /// The run that it comes from.
    pub run: TunedRun,
    /// What a model card says of it.
    pub facts: RunFacts,
}

impl Tuned {
    /// A base with an adapter that somebody has trained, which is called `name`.
    ///
    /// # Errors
    /// The adapter belongs to another model; says what differs.
    pub async fn with_adapter(base: &Base, name: &str, adapter: Adapter) -> Result<Self, Problem> {
        let mut model = base.model.clone();
        attach(&mut model, &adapter).await.map_err(|problem| problem.or_next("load an adapter of this model"))?;
        let mut config = RunConfig { model: base.name.clone(), method: adapter.methods, ..RunConfig::default() };
        config.train.seed = adapter.seed;
        let labels = model.config.classifier.is_some();
        let run = TunedRun { config: Box::new(config.clone()), step: 0, adapter: name.into(), labels };
        Ok(Self { model, finalized: config, run, facts: RunFacts::default() })
    }

    /// What a run leaves, however it has ended; none if it has learned nothing that could be used.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn of(
        mut trainer: Trainer,
        ended: &Result<TrainOutput, Problem>,
        config: RunConfig,
    ) -> Result<Option<Self>, Problem> {
        let step = match ended {
            Ok(ended) if ended.step > 0 => Some(ended.best.map_or(ended.step, |(step, _)| step)),
            // Numbers that went wrong are no model: what was best before them is.
            Err(problem) if problem.kind == ProblemKind::Numeric => trainer.restore_best()?.filter(|step| *step > 0),
            Ok(_) | Err(_) => Some(trainer.progress().0).filter(|step| *step > 0),
        };
        let Some(step) = step else { return Ok(None) };
        let facts = RunFacts {
            data: Some(trainer.identity().data.clone()),
            ist: Some(config.ist.mode),
            steps: Some(trainer.progress()),
            last_loss: None,
            best: ended.as_ref().ok().and_then(|ended| ended.best),
        };
        let method = trainer.model.finalize(&config.method).await?;
        let finalized = RunConfig { method, ..config.clone() };
        let labels = trainer.model.config.classifier.is_some();
        Ok(Some(Self {
            model: trainer.model,
            finalized,
            run: TunedRun { config: Box::new(config), step, adapter: String::new(), labels },
            facts,
        }))
    }
}
