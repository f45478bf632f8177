//! The page's signals, and what a person can make a run do.

use std::collections::BTreeMap;

use leptos::prelude::*;
use serde_json::Value;
use stratune_protocol::{
    AdapterInfo, Asset, Catalogue, Choices, DataReport, ExportForm, GenerateRequest, LabelledColumns, ModelReport,
    ModelVariant, Plan, Problem, StructureReport, Values,
};

use super::activity::Activity;
use super::answers::Answers;
use super::engine::Link;
use super::history::History;
use super::hub::Hub;
use super::labels::{OBJECTIVE, Said};
use super::notices::{Notices, Offer};
use super::settings::{Command, MODE, SavedRun, Settings, TunedRun, modes_of};
use super::timing::Timing;
use crate::bridge::files::Picked;

/// What a configuration calls the data that comes with the engine. In the page's own settings it is no file at all.
const EXAMPLE: &str = "example";

/// What a configuration calls the model that comes with the page.
pub(super) const STARTER: &str = "starter";

/// One of the four cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Card {
    Model,
    Data,
    Method,
    Run,
}

/// What a person wants of a run that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it halts.
    Pause,
    /// That it ends.
    Stop,
}

/// Something long under way in the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What.
    pub what: String,
    /// How much is done.
    pub done: u64,
    /// How much there is; 0 if unknown.
    pub total: u64,
}

/// Everything the page shows, as signals. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Run {
    /// What the engine is doing.
    pub activity: RwSignal<Activity>,
    /// What was asked of the run and has not come about yet.
    pub wish: RwSignal<Option<Wish>>,
    /// The run that the tuned model comes from; none if there is no tuned model.
    pub tuned: RwSignal<Option<TunedRun>>,
    /// What it computes on; none while it starts.
    pub adapter: RwSignal<Option<AdapterInfo>>,
    /// The loaded model.
    pub model: RwSignal<Option<ModelReport>>,
    /// The data that was read.
    pub data: RwSignal<Option<DataReport>>,
    /// The columns of the data that are, or look like, texts with labels.
    pub looks: RwSignal<Option<LabelledColumns>>,
    /// Whether a model is being read.
    pub reading_model: RwSignal<bool>,
    /// Whether data is being read.
    pub reading_data: RwSignal<bool>,
    /// Whether a file to take away is being made.
    pub exporting: RwSignal<bool>,
    /// Something long under way.
    pub progress: RwSignal<Option<Progress>>,
    /// What there is to choose from; empty until an engine has said it.
    pub catalogue: RwSignal<Catalogue>,
    /// What the loaded model leaves to choose from.
    pub choices: RwSignal<Option<Choices>>,
    /// The settings of the next run; empty until an engine has sent some.
    pub config: RwSignal<Settings>,
    /// What the engine says of the next run.
    pub plan: RwSignal<Option<Plan>>,
    /// Fields whose text is no value, by their paths.
    pub typos: RwSignal<BTreeMap<String, Problem>>,
    /// The structure that was found or read last.
    pub structure: RwSignal<Option<StructureReport>>,
    /// The run so far.
    pub history: RwSignal<History>,
    /// How long the next run would take.
    pub timing: RwSignal<Timing>,
    /// Messages.
    pub notices: RwSignal<Notices>,
    /// An interrupted run that can go on.
    pub found: RwSignal<Option<SavedRun>>,
    /// The conversation with both models.
    pub answers: RwSignal<Answers>,
    /// What the tuned model says of a text that it labels.
    pub said: RwSignal<Said>,
    /// How both are asked.
    pub asking: RwSignal<GenerateRequest>,
    /// What both are told first, if a person has written that; else it is what the data has.
    pub system: RwSignal<Option<String>>,
    /// The card that is open.
    pub open: RwSignal<Option<Card>>,
    /// Whether the page is dark.
    pub dark: RwSignal<bool>,
    /// The files of the chosen folder that belong to a model; empty for the starter.
    pub model_listing: RwSignal<Vec<Asset>>,
    /// The Hugging Face hub.
    pub hub: Hub,
    pub(super) link: StoredValue<Link, LocalStorage>,
    pub(super) model_files: StoredValue<Vec<Picked>, LocalStorage>,
    pub(super) data_files: StoredValue<Vec<Picked>, LocalStorage>,
    /// What the model is called, if a person has chosen one.
    pub(super) model_name: StoredValue<String>,
    /// What was chosen before a search or a structure: methods, and layers of a step.
    pub(super) before_structure: StoredValue<Option<Values>>,
    pub(super) sent_data: StoredValue<Option<DataSettings>>,
}

/// The settings that the data is read with.
type DataSettings = [Option<Value>; 3];

/// The page's state, from anywhere inside it.
pub fn use_run() -> Run {
    expect_context()
}

impl Run {
    /// The state of a page that has just been opened.
    pub fn open() -> Self {
        Self {
            activity: RwSignal::default(),
            wish: RwSignal::default(),
            tuned: RwSignal::default(),
            adapter: RwSignal::default(),
            model: RwSignal::default(),
            data: RwSignal::default(),
            looks: RwSignal::default(),
            reading_model: RwSignal::default(),
            reading_data: RwSignal::default(),
            exporting: RwSignal::default(),
            progress: RwSignal::default(),
            catalogue: RwSignal::default(),
            choices: RwSignal::default(),
            config: RwSignal::default(),
            plan: RwSignal::default(),
            typos: RwSignal::default(),
            structure: RwSignal::default(),
            history: RwSignal::default(),
            timing: RwSignal::default(),
            notices: RwSignal::default(),
            found: RwSignal::default(),
            answers: RwSignal::default(),
            said: RwSignal::default(),
            asking: RwSignal::default(),
            system: RwSignal::default(),
            open: RwSignal::new(Some(Card::Data)),
            dark: RwSignal::new(false),
            model_listing: RwSignal::default(),
            hub: Hub::new(),
            link: StoredValue::new_local(Link::default()),
            model_files: StoredValue::new_local(Vec::new()),
            data_files: StoredValue::new_local(Vec::new()),
            model_name: StoredValue::new(STARTER.into()),
            before_structure: StoredValue::new(None),
            sent_data: StoredValue::new(None),
        }
    }

    /// Something worth knowing.
    pub fn tell(self, what: impl Into<String>, next: impl Into<String>, offer: Option<Offer>) {
        self.notices.update(|n| n.add(Problem::input(what).next(next), false, offer));
    }

    /// Something wrong.
    pub fn alert(self, problem: Problem, offer: Option<Offer>) {
        self.notices.update(|n| n.add(problem, true, offer));
    }

    /// What keeps the settings from being a run.
    pub fn problem(self) -> Option<Problem> {
        let said = || self.plan.with(|plan| plan.as_ref().and_then(|plan| plan.problem.clone()));
        self.typos.with(|t| t.values().next().cloned()).or_else(said)
    }

    /// Whether Train can be pressed.
    pub fn can_train(self) -> bool {
        self.is_loaded() && !self.activity.get().runs() && self.problem().is_none()
    }

    /// Whether a model and data are there.
    pub fn is_loaded(self) -> bool {
        self.model.with(Option::is_some)
            && self.data.with(Option::is_some)
            && !self.reading_model.get()
            && !self.reading_data.get()
    }

    /// Whether there is an adapter to try and to take.
    pub fn has_adapter(self) -> bool {
        self.tuned.with(Option::is_some)
    }

    /// Whether an answer is being written.
    pub fn is_writing(self) -> bool {
        self.answers.with(|a| a.writing.is_some())
    }

    /// Starts a run.
    pub fn train(self) {
        self.refresh_data();
        self.found.set(None);
        self.notices.update(Notices::clear_alerts);
        self.activity.update(|a| *a = a.starting());
        self.wish.set(None);
        self.link.update_value(Link::allow_restart);
        self.open.set(None);
        let config = Box::new(self.config.get_untracked());
        self.send(&Command::Train { config }, &[]);
    }

    /// Asks the engine what the next run would be.
    pub fn ask_for_plan(self) {
        let config = self.config.get_untracked();
        if !config.is_empty() {
            self.send(&Command::Plan { config: config.tree().clone() }, &[]);
        }
    }

    /// Chooses a value of a setting; with a mode, all that belongs to it.
    pub fn choose(self, path: &str, value: Value) {
        if let (OBJECTIVE, Some(objective)) = (path, value.as_str()) {
            let encoder = untrack(|| self.is_encoder());
            return self.config.update(|c| c.learn(objective, encoder));
        }
        let modes = self.catalogue.with_untracked(|c| modes_of(c, path).to_vec());
        let mode = modes.into_iter().find(|mode| value == mode.name.as_str());
        self.config.update(|c| match mode {
            Some(mode) => c.put_all(&mode.values),
            None => c.put(path, value),
        });
    }

    /// Chooses a method or a combination by its name.
    pub fn choose_method(self, name: &str) {
        let entry = self.catalogue.with_untracked(|c| c.methods.iter().find(|entry| entry.name == name).cloned());
        let Some(entry) = entry else { return };
        let made = self.choices.with_untracked(|choices| {
            let mut all = choices.iter().flat_map(|choices| &choices.combinations);
            all.find(|(combination, _)| combination == name).map(|(_, methods)| methods.clone())
        });
        let methods = made.unwrap_or(entry.methods);
        if methods.is_empty() {
            return;
        }
        self.config.update(|c| {
            c.put("method", methods.into());
            // What a method cannot do under the mode at hand is not offered: the mode gives way.
            if let (false, Some(mode)) = (entry.modes.iter().any(|mode| mode == c.text(MODE)), entry.modes.first()) {
                c.put(MODE, mode.as_str().into());
            }
        });
    }

    /// Has a few steps timed and thrown away.
    pub fn estimate(self) {
        self.refresh_data();
        let config = Box::new(self.config.get_untracked());
        self.timing.set(Timing::Asked(config.clone()));
        self.send(&Command::Estimate { config }, &[]);
    }

    /// The engine no longer times steps.
    pub(super) fn expect_no_pace(self) {
        if self.timing.with_untracked(Timing::is_asked) {
            self.timing.set(Timing::Unknown);
        }
    }

    /// Pauses, or goes on; also while the run starts.
    pub fn pause_or_resume(self) {
        let paused = self.activity.get_untracked() == Activity::Paused;
        let pauses = !paused && self.wish.get_untracked() != Some(Wish::Pause);
        self.wish.set(pauses.then_some(Wish::Pause));
        self.send(if pauses { &Command::Pause } else { &Command::Resume }, &[]);
    }

    /// Ends the run; also while it starts.
    pub fn stop(self) {
        self.wish.set(Some(Wish::Stop));
        self.send(&Command::Stop, &[]);
    }

    /// Goes on with the interrupted run.
    pub fn continue_found(self) {
        if let Some(found) = self.found.get_untracked() {
            self.found.set(None);
            self.adopt(&found.config);
            self.wish.set(None);
            self.link.update_value(Link::allow_restart);
            self.reading_model.set(true);
            self.reading_data.set(true);
            self.open.set(None);
            self.send(&Command::Continue, &[]);
        }
    }

    /// Shows the settings of a run that goes on.
    fn adopt(self, config: &Settings) {
        let mut config = config.clone();
        if config.texts("data.files") == [EXAMPLE] {
            config.put("data.files", Value::Array(Vec::new()));
        }
        self.config.set(config);
        self.accept_data_settings();
    }

    /// Forgets the interrupted run.
    pub fn discard_found(self) {
        self.found.set(None);
        self.send(&Command::Discard, &[]);
    }

    /// Asks both models, one after the other.
    pub fn generate(self, prompt: &str) {
        self.answers.update(|a| a.begin(prompt));
        self.ask(ModelVariant::Base);
    }

    /// Asks one model what comes next in its conversation.
    pub(super) fn ask(self, variant: ModelVariant) {
        let system = untrack(|| self.system_prompt());
        let messages = self.answers.with_untracked(|a| a.messages(variant, &system));
        let request = GenerateRequest { messages, variant, ..self.asking.get_untracked() };
        self.send(&Command::Generate(request), &[]);
    }

    /// What both are told first.
    pub fn system_prompt(self) -> String {
        self.system.get().unwrap_or_else(|| self.shown_config().text("data.system_prompt").into())
    }

    /// Ends the answer that is being written.
    pub fn stop_answer(self) {
        self.answers.update(|a| a.stopped = true);
        self.send(&Command::Stop, &[]);
    }

    /// Has what was tuned made into a file.
    pub fn export(self, form: ExportForm) {
        self.exporting.set(true);
        self.send(&Command::Export { form }, &[]);
    }

    /// Has the configuration made into a file.
    pub fn export_config(self) {
        let config = untrack(|| self.shown_config());
        self.send(&Command::WriteConfig { config: Box::new(config) }, &[]);
    }

    /// The configuration of the run that the tuned model comes from; else of the run that is or was, or that would be.
    pub fn shown_config(self) -> Settings {
        let of_run = |tuned: &TunedRun| tuned.adapter.is_empty().then(|| (*tuned.config).clone());
        let tuned = self.tuned.with(|tuned| tuned.as_ref().and_then(of_run));
        let begun = || self.history.with(|h| h.config.as_deref().cloned());
        let mut config = tuned.or_else(begun).unwrap_or_else(|| self.config.get());
        if config.texts("data.files").is_empty() {
            config.put("data.files", [EXAMPLE].as_slice().into());
        }
        config
    }
}
