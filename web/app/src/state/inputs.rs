//! The model and the data that a person has chosen, on their way to the engine.

use leptos::prelude::*;
use serde_json::Value;
use stratune_protocol::{Asset, Catalogue, Problem};

use super::activity::Activity;
use super::labels::OBJECTIVE;
use super::notices::Notices;
use super::run::{Run, STARTER};
use super::settings::{Command, Settings};
use super::timing::Timing;
use super::{data_files, model_files};
use crate::bridge::files::Picked;

impl Run {
    /// Takes a folder or a GGUF file as the model, if it can be one.
    pub fn choose_model(self, picked: Vec<Picked>) {
        self.notices.update(Notices::clear_alerts);
        let folder = picked.first().map(|p| model_files::split_folder(&p.path).0.to_string()).unwrap_or_default();
        let files: Vec<Picked> = picked
            .into_iter()
            .map(|p| Picked { path: model_files::split_folder(&p.path).1.to_string(), file: p.file })
            .filter(|p| model_files::belongs(&p.path))
            .collect();
        // Where there are both, the safetensors are what the configuration is of.
        let ends = |end: &str| files.iter().any(|p| p.path.ends_with(end));
        let both = ends("config.json") && ends(".safetensors");
        let files: Vec<Picked> = files.iter().filter(|p| !both || !model_files::is_gguf(&p.path)).cloned().collect();
        self.model_listing.set(parcel(&files).0);
        let missing = model_files::missing(files.iter().map(|p| p.path.as_str()));
        if !missing.is_empty() {
            let problem = Problem::input(format!("the folder lacks {}", missing.join(" and "))).at(folder).next(
                "choose a folder in Hugging Face form: config.json, *.safetensors, tokenizer.json (of a vision model preprocessor_config.json); or a GGUF file",
            );
            return self.alert(problem, None);
        }
        // A file that came without a folder names itself.
        let folder = match files.iter().find(|p| folder.is_empty() && model_files::is_gguf(&p.path)) {
            Some(file) => file.path.clone(),
            None => folder,
        };
        self.model_files.set_value(files);
        self.take_model(if folder.is_empty() { "model".into() } else { folder });
    }

    /// Takes files of the hub that are kept as the model, under the name that the command line knows it by too.
    pub fn choose_kept_model(self, name: String, files: Vec<Picked>) {
        self.notices.update(Notices::clear_alerts);
        self.model_listing.set(parcel(&files).0);
        self.model_files.set_value(files);
        self.take_model(name);
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
            for path in [
                "prompt_column",
                "completion_column",
                "system_column",
                "messages_column",
                "text_column",
                "text_pair_column",
                "label_column",
                "prompt_template",
            ] {
                c.put(&format!("data.{path}"), "".into());
            }
            c.put("data.label_names", Value::Array(Vec::new()));
        });
        self.data_files.set_value(picked);
        self.load_data();
    }

    /// Has the engine put an adapter into the model: a folder as PEFT has it, a zip of one, or a GGUF file.
    pub fn choose_adapter(self, picked: Vec<Picked>) {
        self.notices.update(Notices::clear_alerts);
        let Some(first) = picked.first() else { return };
        let (folder, file) = model_files::split_folder(&first.path);
        let name = if folder.is_empty() { file } else { folder }.to_string();
        let inside = |p: &Picked| Picked { path: model_files::split_folder(&p.path).1.into(), file: p.file.clone() };
        let (assets, files) = parcel(&picked.iter().map(inside).collect::<Vec<_>>());
        self.send(&Command::LoadAdapter { name, files: assets }, &files);
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
        // A structure is of a model's modules.
        self.leave_structure();
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
        self.looks.set(None);
        self.timing.set(Timing::Unknown);
        self.send(&Command::LoadData { config: Box::new(config), files: assets }, &files);
    }

    /// A run that went on after a reload came with its settings, not with the files on the person's disk.
    fn no_longer_held(self, names: &str) {
        let problem = Problem::input("the page no longer holds these files").at(names);
        self.alert(problem.next("choose them again"), None);
    }

    /// Whether the data was sent to be read, and the settings are such that it would come out otherwise now.
    fn data_is_stale(self) -> bool {
        let now = self.config.with_untracked(of_data);
        self.sent_data.with_value(|sent| sent.as_ref().is_some_and(|sent| *sent != now))
    }

    /// Has the settings say what the engine does in any case: no row is longer than the model's context. So that is nothing to
    /// read the data again for, during which nobody could press Train.
    pub(super) fn shorten_rows(self, context: usize) {
        let longest = "data.max_length";
        if context == 0 || self.config.with_untracked(|c| c.number(longest) <= context as f64) {
            return;
        }
        let is_read = self.sent_data.with_value(Option::is_some) && !self.data_is_stale();
        self.config.update(|c| c.put(longest, context.into()));
        if is_read {
            self.accept_data_settings();
        }
    }

    /// Has the data read again if the settings say that it would come out otherwise.
    pub fn refresh_data(self) {
        if self.data_is_stale() && self.problem().is_none() && !self.activity.get_untracked().runs() {
            self.load_data();
        }
    }

    /// The data's settings are those of a run that goes on: nothing to read again.
    pub(super) fn accept_data_settings(self) {
        self.sent_data.set_value(Some(self.config.with_untracked(of_data)));
    }
}

/// What a command says of files, and the files.
pub(super) fn parcel(picked: &[Picked]) -> (Vec<Asset>, Vec<web_sys::File>) {
    let asset = |p: &Picked| Asset { name: p.path.clone(), bytes: p.file.size() as u64 };
    (picked.iter().map(asset).collect(), picked.iter().map(|p| p.file.clone()).collect())
}

/// The settings that the data is read with.
pub fn of_data(config: &Settings) -> [Option<Value>; 3] {
    ["data", "train.seed", OBJECTIVE].map(|path| config.get(path).cloned())
}
