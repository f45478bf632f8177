//! The host of a run: passes events on, keeps checkpoints, continues prompts.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use stratune_data::{Template, Tokenizer};
use stratune_models::Model;
use stratune_protocol::{Event, GenerateRequest, Problem, ProblemKind, SavedRun};
use stratune_store::{Checkpoint, Vault};
use stratune_train::Host;

use crate::answer;
use crate::run::saved_run;

/// Most new tokens of a sample.
const SAMPLE_TOKENS: usize = 64;

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
    pub vault: Rc<dyn Vault>,
    /// Prompts that are continued at log-spaced steps.
    pub prompts: Vec<String>,
    /// Tokens of the prompts.
    pub tokenizer: &'a Tokenizer,
    /// Form of the prompts.
    pub template: &'a Template,
    /// What was told so far, kept in each checkpoint so that a page that was reloaded can show the whole run; none where
    /// events are kept elsewhere.
    pub history: Option<Vec<Event>>,
    /// What becomes of the run if a checkpoint cannot be written.
    pub saving: Saving,
}

impl Host for Recorder<'_> {
    fn emit(&mut self, event: Event) {
        (self.emit)(&event);
        if let Event::Begun { step, .. } = event {
            // A run that goes on shows what was before.
            if let Some(history) = self.history.as_mut() {
                history.retain(|e| happened_by(e, step));
                history.iter().for_each(|e| (self.emit)(e));
            }
        }
        let lasting = matches!(
            event,
            Event::Step(_) | Event::Validation { .. } | Event::Importance { .. } | Event::Sample { .. }
        );
        if let Some(history) = self.history.as_mut().filter(|_| lasting) {
            history.push(event);
        }
    }

    fn keep(&mut self, mut checkpoint: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            if self.saving == Saving::Off {
                return Ok(());
            }
            let run: SavedRun = saved_run(&checkpoint)?;
            if let Some(history) = &self.history {
                checkpoint.meta["history"] = serde_json::to_value(history).unwrap_or_default();
            }
            match (self.vault.save(&checkpoint).await, self.saving) {
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
            (self.emit)(&Event::Saved { run: Some(run) });
            Ok(())
        })
    }

    fn sample<'a>(&'a mut self, model: &'a Model, step: usize) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            for prompt in self.prompts.clone() {
                match continued(model, self.tokenizer, self.template, &prompt).await {
                    Ok(text) => self.emit(Event::Sample { step, prompt, text }),
                    // A prompt that is too long is no reason to end the run.
                    Err(problem) if problem.kind == ProblemKind::Input => {
                        let text = format!("The prompt '{prompt}' is not continued: {}.", problem.what);
                        self.emit(Event::Notice { text });
                    }
                    Err(problem) => return Err(problem),
                }
            }
            Ok(())
        })
    }
}

/// A prompt continued as samples are: in the form of the training rows, greedily.
pub(crate) async fn continued(
    model: &Model,
    tokenizer: &Tokenizer,
    template: &Template,
    prompt: &str,
) -> Result<String, Problem> {
    let request = GenerateRequest {
        prompt: prompt.to_string(),
        as_instruction: true,
        max_tokens: SAMPLE_TOKENS,
        ..GenerateRequest::default()
    };
    answer(model, tokenizer, template, &request, &mut |_| {}).await
}

/// Whether an event belongs to the first `done` steps of a run. The scores move before a step, everything else is
/// told after it.
pub fn happened_by(event: &Event, done: usize) -> bool {
    match event {
        Event::Step(report) => report.step <= done,
        Event::Validation { step, .. } | Event::Sample { step, .. } => *step <= done,
        Event::Importance { step, .. } => *step < done,
        _ => true,
    }
}
