//! The host of a run: passes events on, keeps checkpoints, continues prompts.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use serde_json::Value;
use stratune_models::Model;
use stratune_protocol::{Problem, ProblemKind};
use stratune_store::{Checkpoint, CheckpointStore};
use stratune_train::{Event, SavedRun, TrainerCallback};

use crate::run::saved_run;
use crate::{RunLog, Samples};

/// What becomes of a run that cannot be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    /// It ends.
    Needed,
    /// It goes on, and says so once.
    Optional {
        /// Whether it has said so.
        told: bool,
    },
    /// It is not tried.
    Off,
}

/// That a run cannot be saved, for who could do something about it.
pub(crate) fn unsaved(problem: &Problem) -> Event {
    let to_save_it = match problem.next.is_empty() {
        true => String::new(),
        false => format!(". To have it saved, {}", problem.next),
    };
    Event::Notice {
        text: format!("this run goes on without being saved, and a reload would lose it: {problem}{to_save_it}"),
    }
}

/// The host of a run, for every front end.
pub struct Recorder<'a> {
    /// Where events go.
    pub emit: &'a mut dyn FnMut(&Event),
    /// Where checkpoints go.
    pub checkpoints: Rc<dyn CheckpointStore>,
    /// Prompts that are continued at log-spaced steps.
    pub samples: Samples<'a>,
    /// What was told so far; none where a front end keeps it elsewhere.
    pub log: Option<RunLog>,
    /// What else each checkpoint says, an object.
    pub beside: Value,
    /// What becomes of the run if a checkpoint cannot be written.
    pub saving: Saving,
    /// What is to be done once the first is safe.
    pub once_saved: Option<LocalBoxFuture<'static, ()>>,
}

impl TrainerCallback for Recorder<'_> {
    fn emit(&mut self, event: Event) {
        (self.emit)(&event);
        let Some(log) = &mut self.log else { return };
        if matches!(event, Event::Begun { .. }) {
            // A run that goes on shows what was before.
            log.take_earlier().iter().for_each(|e| (self.emit)(e));
        }
        log.push(&event);
    }

    fn save_checkpoint(&mut self, mut checkpoint: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            if self.saving == Saving::Off {
                return Ok(());
            }
            let run: SavedRun = saved_run(&checkpoint)?;
            for (name, value) in self.beside.as_object().into_iter().flatten() {
                checkpoint.meta[name] = value.clone();
            }
            let written = match &mut self.log {
                Some(log) => log.write().await,
                None => Ok(()),
            };
            let saved = match written {
                Ok(()) => self.checkpoints.save(&checkpoint).await,
                problem => problem,
            };
            match (saved, self.saving) {
                (Ok(()), Saving::Optional { .. }) => self.saving = Saving::Optional { told: false },
                (Ok(()), Saving::Needed | Saving::Off) => {}
                (Err(problem), Saving::Optional { told }) if problem.kind == ProblemKind::Storage => {
                    if !told {
                        (self.emit)(&unsaved(&problem));
                    }
                    self.saving = Saving::Optional { told: true };
                    return Ok(());
                }
                (Err(problem), _) => return Err(problem),
            }
            if let Some(first) = self.once_saved.take() {
                first.await;
            }
            (self.emit)(&Event::Saved { run: Some(run) });
            Ok(())
        })
    }

    fn sample<'a>(
        &'a mut self,
        model: &'a Model,
        step: usize,
        seconds: f64,
    ) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            if self.samples.count() == 0 {
                return Ok(());
            }
            (self.emit)(&Event::Progress { what: "continuing prompts".into(), done: 0, total: 0 });
            for (prompt, continued) in self.samples.of(model, seconds).await? {
                match continued {
                    Ok(text) => self.emit(Event::Sample { step, prompt, text }),
                    // A prompt that is too long is no reason to end the run.
                    Err(problem) => {
                        let text = format!("The prompt '{prompt}' is not continued: {}.", problem.what);
                        self.emit(Event::Notice { text });
                    }
                }
            }
            Ok(())
        })
    }
}
