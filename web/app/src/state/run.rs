//! The page's signals, and what a person can make them do.

use std::collections::BTreeMap;

use leptos::prelude::*;
use serde_json::Value;
use stratune_protocol::{
    AdapterInfo, Asset, Catalogue, Choices, DataReport, GenerateRequest, ModelReport, ModelVariant, Plan, Problem,
};

use super::activity::Activity;
use super::answers::Answers;
use super::engine::Link;
use super::history::History;
use super::notices::{Notices, Offer};
use super::settings::{Command, MODE, SavedRun, Settings, TunedRun};
use super::timing::Timing;
use super::{data_files, model_files};
use crate::bridge::files::Picked;

/// What a configuration calls the data that comes with the engine. In the page's own settings it is no file at all.
const EXAMPLE: &str = "example";

/// What a configuration calls the model that comes with the page.
const STARTER: &str = "starter";

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
    /// The run so far.
    pub history: RwSignal<History>,
    /// How long the next run would take.
    pub timing: RwSignal<Timing>,
    /// Messages.
    pub notices: RwSignal<Notices>,
    /// An interrupted run that can go on.
    pub found: RwSignal<Option<SavedRun>>,
    /// The two answers.
    pub answers: RwSignal<Answers>,
    /// How both are asked.
    pub asking: RwSignal<GenerateRequest>,
    /// The card that is open.
    pub open: RwSignal<Option<Card>>,
    /// Whether the page is dark.
    pub dark: RwSignal<bool>,
    /// The files of the chosen folder that belong to a model; empty for the starter.
    pub model_listing: RwSignal<Vec<Asset>>,
    pub(super) link: StoredValue<Link, LocalStorage>,
    model_files: StoredValue<Vec<Picked>, LocalStorage>,
    data_files: StoredValue<Vec<Picked>, LocalStorage>,
    /// What the model is called, if a person has chosen one.
    model_name: StoredValue<String>,
    sent_data: StoredValue<Option<DataSettings>>,
}

/// The settings that the data is read with.
type DataSettings = [Option<Value>; 2];

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
            reading_model: RwSignal::default(),
            reading_data: RwSignal::default(),
            exporting: RwSignal::default(),
            progress: RwSignal::default(),
            catalogue: RwSignal::default(),
            choices: RwSignal::default(),
            config: RwSignal::default(),
            plan: RwSignal::default(),
            typos: RwSignal::default(),
            history: RwSignal::default(),
            timing: RwSignal::default(),
            notices: RwSignal::default(),
            found: RwSignal::default(),
            answers: RwSignal::default(),
            asking: RwSignal::new(GenerateRequest { as_instruction: true, ..GenerateRequest::default() }),
            open: RwSignal::new(Some(Card::Data)),
            dark: RwSignal::new(false),
            model_listing: RwSignal::default(),
            link: StoredValue::new_local(Link::default()),
            model_files: StoredValue::new_local(Vec::new()),
            data_files: StoredValue::new_local(Vec::new()),
            model_name: StoredValue::new(STARTER.into()),
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

    /// Takes a folder as the model, if it can be one.
    pub fn choose_model(self, picked: Vec<Picked>) {
        self.notices.update(Notices::clear_alerts);
        let folder = picked.first().map(|p| model_files::split_folder(&p.path).0.to_string()).unwrap_or_default();
        let files: Vec<Picked> = picked
            .into_iter()
            .map(|p| Picked { path: model_files::split_folder(&p.path).1.to_string(), file: p.file })
            .filter(|p| model_files::belongs(&p.path))
            .collect();
        self.model_listing.set(parcel(&files).0);
        let missing = model_files::missing(files.iter().map(|p| p.path.as_str()));
        if !missing.is_empty() {
            let problem = Problem::input(format!("the folder lacks {}", missing.join(" and ")))
                .at(folder)
                .next("choose a folder in Hugging Face form: config.json, *.safetensors, tokenizer.json");
            return self.alert(problem, None);
        }
        self.model_files.set_value(files);
        self.take_model(if folder.is_empty() { "model".into() } else { folder });
    }

    /// Takes the starter model.
    pub fn choose_starter(self) {
        self.notices.update(Notices::clear_alerts);
        self.model_listing.set(Vec::new());
        self.model_files.set_value(Vec::new());
        self.take_model(STARTER.into());
    }

    fn take_model(self, name: String) {
        self.model_name.set_value(name);
        self.config.update(|c| self.fit_to_model(c));
        self.load_model();
        self.load_data();
    }

    /// Has the settings name the chosen model. The starter's large steps would throw a larger model off its course, so the
    /// preset of the one gives way to that of the other.
    fn fit_to_model(self, config: &mut Settings) {
        let name = self.model_name.get_value();
        self.catalogue.with_untracked(|catalogue| {
            let (mut at, mut then) = (&catalogue.preset_of_starter, &catalogue.preset_of_others);
            if name == STARTER {
                std::mem::swap(&mut at, &mut then);
            }
            let preset = |name: &String| catalogue.presets.iter().find(|preset| preset.name == *name);
            if let (Some(at), Some(then)) = (preset(at), preset(then))
                && config.is_at(&at.values)
            {
                config.put_all(&then.values);
            }
        });
        config.put("model", name.into());
    }

    /// Takes what an engine says that there is to choose from, and its settings where the page has none yet.
    pub(super) fn take_catalogue(self, catalogue: Catalogue, mut config: Settings, problem: Option<Problem>) {
        if self.catalogue.with_untracked(|c| *c != catalogue) {
            self.catalogue.set(catalogue);
        }
        if !self.config.with_untracked(Settings::is_empty) {
            return;
        }
        if let Some(problem) = problem {
            self.alert(problem, None);
        }
        // What was chosen while there was no engine.
        self.fit_to_model(&mut config);
        let files = self.data_files.with_value(|files| files.iter().map(|p| p.path.clone()).collect::<Vec<_>>());
        config.put("data.files", files.into());
        self.config.set(config);
    }

    /// Takes files as the data; none is the example.
    pub fn choose_data(self, picked: Vec<Picked>) {
        self.notices.update(Notices::clear_alerts);
        let named = data_files::names(picked.iter().map(|p| p.path.as_str()));
        if let (false, Err(problem)) = (picked.is_empty(), &named) {
            return self.alert(problem.clone(), None);
        }
        let names = named.unwrap_or_default();
        let picked: Vec<Picked> =
            picked.into_iter().zip(names).filter_map(|(p, name)| Some(Picked { path: name?, ..p })).collect();
        self.config.update(|c| {
            c.put("data.files", picked.iter().map(|p| Value::from(p.path.as_str())).collect());
            c.put("data.format", "auto".into());
            for path in ["prompt_column", "completion_column", "system_column", "messages_column", "prompt_template"] {
                c.put(&format!("data.{path}"), "".into());
            }
        });
        self.data_files.set_value(picked);
        self.load_data();
    }

    /// Has the engine read the chosen model.
    pub fn load_model(self) {
        let config = self.config.get_untracked();
        if config.is_empty() {
            // The engine that brings the settings reads everything when it is ready.
            return;
        }
        let (assets, files) = parcel(&self.model_files.get_value());
        if config.text("model") != STARTER && files.is_empty() {
            return self.no_longer_held(config.text("model"));
        }
        self.model.set(None);
        self.choices.set(None);
        // The adapter belonged to the model before this one.
        self.activity.set(Activity::Idle);
        self.reading_model.set(true);
        self.timing.set(Timing::Unknown);
        self.send(&Command::LoadModel { config: Box::new(config), files: assets }, &files);
    }

    /// Has the engine read the chosen data.
    pub fn load_data(self) {
        let config = self.config.get_untracked();
        if config.is_empty() {
            return;
        }
        let (assets, files) = parcel(&self.data_files.get_value());
        let names = config.texts("data.files");
        if names.len() != files.len() {
            return self.no_longer_held(&names.join(", "));
        }
        self.accept_data_settings();
        self.reading_data.set(true);
        self.timing.set(Timing::Unknown);
        self.send(&Command::LoadData { config: Box::new(config), files: assets }, &files);
    }

    /// A run that went on after a reload came with its settings, not with the files on the person's disk.
    fn no_longer_held(self, names: &str) {
        let problem = Problem::input("the page no longer holds these files").at(names);
        self.alert(problem.next("choose them again"), None);
    }

    /// Has the data read again if the settings say that it would come out otherwise.
    pub fn refresh_data(self) {
        let now = self.config.with_untracked(of_data);
        let stale = self.sent_data.with_value(|sent| sent.as_ref().is_some_and(|sent| *sent != now));
        if stale && self.problem().is_none() && !self.activity.get_untracked().runs() {
            self.load_data();
        }
    }

    /// The data's settings are those of a run that goes on: nothing to read again.
    fn accept_data_settings(self) {
        self.sent_data.set_value(Some(self.config.with_untracked(of_data)));
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
        let modes = self.catalogue.with_untracked(|c| c.modes.clone());
        let mode = modes.into_iter().find(|mode| path == MODE && value == mode.name.as_str());
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
        self.answers.set(Answers::begin(prompt));
        self.ask(ModelVariant::Base);
    }

    /// Asks one model.
    pub(super) fn ask(self, variant: ModelVariant) {
        let prompt = self.answers.with_untracked(|a| a.prompt.clone());
        let request = GenerateRequest { prompt, variant, ..self.asking.get_untracked() };
        self.send(&Command::Generate(request), &[]);
    }

    /// Has the adapter made into a file.
    pub fn export_adapter(self) {
        self.exporting.set(true);
        self.send(&Command::ExportAdapter, &[]);
    }

    /// Has the configuration made into a file.
    pub fn export_config(self) {
        let config = untrack(|| self.shown_config());
        self.send(&Command::WriteConfig { config: Box::new(config) }, &[]);
    }

    /// The configuration of the run that the tuned model comes from; else of the run that is or was, or that would be.
    pub fn shown_config(self) -> Settings {
        let tuned = self.tuned.with(|tuned| tuned.as_ref().map(|run| (*run.config).clone()));
        let begun = || self.history.with(|h| h.config.as_deref().cloned());
        let mut config = tuned.or_else(begun).unwrap_or_else(|| self.config.get());
        if config.texts("data.files").is_empty() {
            config.put("data.files", [EXAMPLE].as_slice().into());
        }
        config
    }
}

/// The settings that the data is read with.
pub fn of_data(config: &Settings) -> [Option<Value>; 2] {
    ["data", "train.seed"].map(|path| config.get(path).cloned())
}

/// What a command says of files, and the files.
fn parcel(picked: &[Picked]) -> (Vec<Asset>, Vec<web_sys::File>) {
    let asset = |p: &Picked| Asset { name: p.path.clone(), bytes: p.file.size() as u64 };
    (picked.iter().map(asset).collect(), picked.iter().map(|p| p.file.clone()).collect())
}
