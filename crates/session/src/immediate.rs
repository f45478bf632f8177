//! What is answered at once, whatever the engine is doing.

use std::cell::RefCell;
use std::rc::Rc;

use stratune_peft::Structure;
use stratune_protocol::ModelReport;
use stratune_runtime::Control;
use stratune_train::{Command, Event};

use crate::Outbox;
use crate::catalogue::{catalogue, page_default};
use crate::engine::no_model;
use crate::link::from_link;
use crate::plan::Known;
use crate::search::{as_search, structure_event};

/// Takes the commands that need not wait for the one in hand: questions whose answer is known, and what steers a run. A
/// front end has it hear every command as it comes. Clones are the same.
#[derive(Clone)]
pub struct ImmediateCommands {
    pub(crate) out: Rc<dyn Outbox>,
    pub(crate) control: Control,
    pub(crate) known: Rc<RefCell<Known>>,
}

impl ImmediateCommands {
    /// Answers to `out`, steers runs by `control`.
    pub fn new(out: Rc<dyn Outbox>, control: Control) -> Self {
        Self { out, control, known: Rc::default() }
    }

    /// Does the command if it is one of these. True if nothing is left of it to do.
    pub fn handle(&self, command: &Command) -> bool {
        match command {
            Command::Catalogue { link } => {
                let (config, problem) = match from_link(link) {
                    Ok(config) => (config, None),
                    Err(problem) => (page_default(), Some(problem)),
                };
                let (catalogue, config) = (Box::new(catalogue()), Box::new(config));
                self.out.send(&Event::Catalogue { catalogue, config, problem }, None);
            }
            Command::Plan { config } => {
                let plan = self.known.borrow().plan(config);
                self.out.send(&Event::Plan(Box::new(plan)), None);
            }
            Command::ReadStructure { name, text } => {
                let read = |model: &ModelReport| {
                    let structure = Structure::from_json(text.as_bytes(), name)?;
                    structure_event(&structure, model, name).map_err(|problem| problem.at(name))
                };
                let known = self.known.borrow();
                let told = known.model.as_ref().ok_or_else(no_model).and_then(read);
                self.out.send(&told.unwrap_or_else(Event::Problem), None);
            }
            Command::WriteConfig { config } => match as_search((**config).clone()).to_toml() {
                Ok(text) => {
                    let (name, media_type) = ("run.toml".to_string(), "application/toml".to_string());
                    let file = Event::File { name, media_type, bytes: text.len() as u64, stored: None };
                    self.out.send(&file, Some(text.into_bytes()));
                }
                Err(problem) => self.out.send(&Event::Problem(problem), None),
            },
            // What was asked of the run before is over. What is asked of this one from now on holds, also while it
            // starts.
            Command::Train { .. } | Command::Continue => {
                self.control.resume();
                return false;
            }
            Command::Pause => self.control.pause(),
            Command::Resume => self.control.resume(),
            Command::Stop => self.control.stop(),
            Command::Start { .. }
            | Command::LoadModel { .. }
            | Command::LoadData { .. }
            | Command::Estimate { .. }
            | Command::FindSaved
            | Command::Discard
            | Command::Generate(_)
            | Command::Classify { .. }
            | Command::LoadAdapter { .. }
            | Command::Export { .. } => return false,
        }
        true
    }
}
