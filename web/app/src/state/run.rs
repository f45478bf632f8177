//! The page's signals, and what a person can make them do.

use std::collections::BTreeMap;

use leptos::prelude::*;
use stratune_protocol::{
    AdapterInfo, Asset, Command, Conditions, DataConfig, DataReport, Export, GenerateRequest, ModelReport, Outlook,
    Problem, RunConfig, SavedRun, Voice,
};

use super::activity::Activity;
use super::answers::Answers;
use super::engine::Link;
use super::history::History;
use super::notices::{Notices, Offer};
use super::presets::Preset;
use super::timing::Timing;
use super::{model_files, recipe};
use crate::bridge::browser;
use crate::bridge::files::Picked;

/// What a configuration calls the data that comes with the engine. In the page's own settings it is no file at all.
const EXAMPLE: &str = "example";

/// One of the four cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Card {
    Model,
    Data,
    Method,
    Run,
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
    /// The settings of the next run.
    pub config: RwSignal<RunConfig>,
    /// Fields whose text is no value, by their names.
    pub typos: RwSignal<BTreeMap<&'static str, Problem>>,
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
    sent_data: StoredValue<Option<(DataConfig, u64)>>,
}

/// The page's state, from anywhere inside it.
pub fn use_run() -> Run {
    expect_context()
}

impl Run {
    /// The state of a page that has just been opened, with the settings of its address.
    pub fn open() -> Self {
        let mut notices = Notices::default();
        let config = recipe::from_hash(&browser::hash()).unwrap_or_else(|problem| {
            notices.add(problem, true, None);
            recipe::page_default()
        });
        Self {
            activity: RwSignal::default(),
            adapter: RwSignal::default(),
            model: RwSignal::default(),
            data: RwSignal::default(),
            reading_model: RwSignal::default(),
            reading_data: RwSignal::default(),
            exporting: RwSignal::default(),
            progress: RwSignal::default(),
            config: RwSignal::new(config),
            typos: RwSignal::default(),
            history: RwSignal::default(),
            timing: RwSignal::default(),
            notices: RwSignal::new(notices),
            found: RwSignal::default(),
            answers: RwSignal::default(),
            asking: RwSignal::new(GenerateRequest { as_instruction: true, ..GenerateRequest::default() }),
            open: RwSignal::new(Some(Card::Data)),
            dark: RwSignal::new(false),
            model_listing: RwSignal::default(),
            link: StoredValue::new_local(Link::default()),
            model_files: StoredValue::new_local(Vec::new()),
            data_files: StoredValue::new_local(Vec::new()),
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
        self.config.update(|c| {
            // The starter's large steps would throw a larger model off its course.
            if Preset::Starter.is(c) {
                Preset::Balanced.put(c);
            }
            c.model = if folder.is_empty() { "model".into() } else { folder };
        });
        self.model_files.set_value(files);
        self.load_model();
        self.load_data();
    }

    /// Takes the starter model.
    pub fn choose_starter(self) {
        self.notices.update(Notices::clear_alerts);
        self.config.update(|c| {
            if Preset::Balanced.is(c) {
                Preset::Starter.put(c);
            }
            c.model = "starter".into();
        });
        self.model_listing.set(Vec::new());
        self.model_files.set_value(Vec::new());
        self.load_model();
        self.load_data();
    }

    /// Takes files as the data; none is the example.
    pub fn choose_data(self, picked: Vec<Picked>) {
        self.notices.update(Notices::clear_alerts);
        self.config.update(|c| {
            c.data.files = picked.iter().map(|p| p.path.clone()).collect();
            c.data.format = Default::default();
            c.data.prompt_column.clear();
            c.data.completion_column.clear();
        });
        self.data_files.set_value(picked);
        self.load_data();
    }

    /// Has the engine read the chosen model.
    pub fn load_model(self) {
        let (model, base_dtype) = self.config.with_untracked(|c| (c.model.clone(), c.base_dtype));
        let (assets, files) = parcel(&self.model_files.get_value());
        if model != "starter" && files.is_empty() {
            return self.no_longer_held(&model);
        }
        self.model.set(None);
        // The adapter belonged to the model before this one.
        self.activity.set(Activity::Idle);
        self.reading_model.set(true);
        self.timing.set(Timing::Unknown);
        self.send(&Command::LoadModel { model, base_dtype, files: assets }, &files);
    }

    /// Has the engine read the chosen data.
    pub fn load_data(self) {
        let (data, seed) = self.config.with_untracked(|c| (c.data.clone(), c.train.seed));
        let (assets, files) = parcel(&self.data_files.get_value());
        if data.files.len() != files.len() {
            return self.no_longer_held(&data.files.join(", "));
        }
        self.sent_data.set_value(Some((data.clone(), seed)));
        self.reading_data.set(true);
        self.timing.set(Timing::Unknown);
        self.send(&Command::LoadData { data, seed, files: assets }, &files);
    }

    /// A run that went on after a reload came with its settings, not with the files on the person's disk.
    fn no_longer_held(self, names: &str) {
        let problem = Problem::input("the page no longer holds these files").at(names);
        self.alert(problem.next("choose them again"), None);
    }

    /// Has the data read again if the settings say that it would come out otherwise.
    pub fn refresh_data(self) {
        let now = self.config.with_untracked(|c| (c.data.clone(), c.train.seed));
        let stale = self.sent_data.with_value(|sent| sent.as_ref().is_some_and(|sent| *sent != now));
        if stale && self.problem().is_none() && !self.activity.get_untracked().runs() {
            self.load_data();
        }
    }

    /// The data's settings are those of a run that goes on: nothing to read again.
    fn accept_data_settings(self) {
        self.sent_data.set_value(Some(self.config.with_untracked(|c| (c.data.clone(), c.train.seed))));
    }

    /// What keeps the settings from being a run.
    pub fn problem(self) -> Option<Problem> {
        self.typos.with(|t| t.values().next().cloned()).or_else(|| self.config.with(|c| c.validate().err()))
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
        self.activity.get() == Activity::Done
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
        self.activity.set(Activity::Starting);
        self.link.update_value(Link::allow_restart);
        self.open.set(None);
        let config = Box::new(self.config.get_untracked());
        self.send(&Command::Train { config }, &[]);
    }

    /// What is to be said of the next run's memory; none before model, data and device are known.
    pub fn outlook(self) -> Option<Outlook> {
        let (device, model) = (self.adapter.get()?, self.model.get()?);
        let width = Some(self.data.with(|data| data.as_ref().map(|data| data.width))?);
        let conditions = Conditions { model: &model, device: &device, width };
        Some(self.config.with(|config| conditions.outlook(config)))
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

    /// Pauses, or goes on.
    pub fn pause_or_resume(self) {
        let paused = self.activity.get_untracked() == Activity::Paused;
        self.send(if paused { &Command::Resume } else { &Command::Pause }, &[]);
    }

    /// Goes on with the interrupted run.
    pub fn continue_found(self) {
        if let Some(found) = self.found.get_untracked() {
            self.found.set(None);
            self.adopt(&found.config);
            self.link.update_value(Link::allow_restart);
            self.reading_model.set(true);
            self.reading_data.set(true);
            self.open.set(None);
            self.send(&Command::Continue, &[]);
        }
    }

    /// Shows the settings of a run that goes on.
    fn adopt(self, config: &RunConfig) {
        let mut config = config.clone();
        if config.data.files == [EXAMPLE] {
            config.data.files.clear();
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
        self.ask(Voice::Base);
    }

    /// Asks one model.
    pub(super) fn ask(self, voice: Voice) {
        let prompt = self.answers.with_untracked(|a| a.prompt.clone());
        let request = GenerateRequest { prompt, voice, ..self.asking.get_untracked() };
        self.send(&Command::Generate(request), &[]);
    }

    /// Has the adapter made into a file.
    pub fn export_adapter(self) {
        self.exporting.set(true);
        self.send(&Command::Export(Export::Adapter), &[]);
    }

    /// The configuration of the run that was, or of the one that would be.
    pub fn shown_config(self) -> RunConfig {
        let mut config = self.history.with(|h| h.config.as_deref().cloned()).unwrap_or_else(|| self.config.get());
        if config.data.files.is_empty() {
            config.data.files = vec![EXAMPLE.into()];
        }
        config
    }
}

/// What a command says of files, and the files.
fn parcel(picked: &[Picked]) -> (Vec<Asset>, Vec<web_sys::File>) {
    let asset = |p: &Picked| Asset { name: p.path.clone(), bytes: p.file.size() as u64 };
    (picked.iter().map(asset).collect(), picked.iter().map(|p| p.file.clone()).collect())
}
