//! The engine behind the page: commands in, events out.

use std::rc::Rc;

use serde_json::Value;
use stratune_data::{Dataset, recognise};
use stratune_models::CachedText;
use stratune_protocol::{BaseDtype, DataConfig, DeviceChoice, EndReason, Objective, Problem, ProblemKind};
use stratune_runtime::{Control, Opened};
use stratune_search::Found;
use stratune_store::{Checkpoint, EventLog, Folder};
use stratune_train::{Command, Event, ProgressReporter, RunConfig, Trainer};

use crate::catalogue::choices;
use crate::copies::{Copies, Place, Source};
use crate::labels::{learns_labels, read_dataset};
use crate::recorder::{Saving, unsaved};
use crate::rows_files::rows_files;
use crate::run::{prompts, saved_run, watched_search, watched_trainer};
use crate::search::{as_search, structure_event};
use crate::starter::{EXAMPLE, STARTER};
use crate::tuned::Tuned;
use crate::{Assets, Base, Conditions, ImmediateCommands, Outbox, Recorder, RunLog, Samples, open_device, pace};

/// Does what commands say, one after the other. What is heard [at once](ImmediateCommands) reaches it while it trains.
pub struct Engine {
    immediate: ImmediateCommands,
    pub(crate) out: Rc<dyn Outbox>,
    pub(crate) assets: Rc<dyn Assets>,
    copies: Copies,
    pub(crate) control: Control,
    opened: Option<Opened>,
    pub(crate) base: Option<Loaded<Base>>,
    data: Option<(Loaded<Rc<Dataset>>, DataConfig, ReadFor)>,
    pub(crate) tuned: Option<Tuned>,
    /// What base and tuned model hold of their conversations.
    pub(crate) talks: [CachedText; 2],
}

/// What else of a configuration decides how rows are read: the seed of the split, and what is learned of them.
pub(crate) type ReadFor = (u64, Objective);

/// Something that was read, and the files it was read from; none if they are built in.
pub(crate) struct Loaded<T> {
    pub(crate) value: T,
    pub(crate) files: Option<Source>,
}

impl Engine {
    /// An engine that has done nothing yet.
    pub fn new(immediate: ImmediateCommands, assets: Rc<dyn Assets>, checkpoints: Rc<dyn EventLog>) -> Self {
        let (out, control) = (immediate.out.clone(), immediate.control.clone());
        let copies = Copies::new(assets.clone(), checkpoints);
        Self {
            immediate,
            out,
            assets,
            copies,
            control,
            opened: None,
            base: None,
            data: None,
            tuned: None,
            talks: Default::default(),
        }
    }

    /// Does one command; `files` are what travelled beside it. What goes wrong is sent as an event.
    pub async fn handle(&mut self, command: Command, files: Option<Rc<dyn Folder>>) {
        let files = files.filter(|f| !f.names().is_empty());
        let done = match command {
            Command::Start { device } => self.start(device).await,
            Command::LoadModel { config, .. } => {
                Box::pin(self.load_model(&config.model, config.base_dtype, Source::chosen(files))).await
            }
            Command::LoadData { config, .. } => self.load_data(&config, Source::chosen(files)).await,
            // In the heap, for a run's future is larger than a stack may be.
            Command::Train { config } => Box::pin(self.train(*config)).await,
            Command::Estimate { config } => Box::pin(self.estimate(*config)).await,
            Command::Catalogue { .. }
            | Command::Plan { .. }
            | Command::WriteConfig { .. }
            | Command::ReadStructure { .. }
            | Command::Pause
            | Command::Resume
            | Command::Stop => {
                self.immediate.handle(&command);
                Ok(())
            }
            Command::FindSaved => self.find_saved().await,
            Command::Continue => Box::pin(self.go_on()).await,
            Command::Discard => self.discard().await,
            Command::Generate(request) => self.generate(&request).await,
            Command::Export { form } => self.export(form).await,
            Command::Classify { text, text_pair, .. } => self.classify(&text, &text_pair, files).await,
            Command::LoadAdapter { name, .. } => self.load_adapter(&name, files).await,
        };
        if let Err(problem) = done {
            self.out.send(&Event::Problem(problem), None);
        }
    }

    async fn start(&mut self, device: DeviceChoice) -> Result<(), Problem> {
        let opened = open_device(device).await?;
        self.immediate.known.borrow_mut().device = Some(opened.info.clone());
        self.out.send(&Event::Ready(opened.info.clone()), None);
        self.opened = Some(opened);
        Ok(())
    }

    async fn load_model(&mut self, name: &str, dtype: BaseDtype, files: Option<Source>) -> Result<(), Problem> {
        self.data = None;
        self.keep_tuned(None);
        {
            let mut known = self.immediate.known.borrow_mut();
            (known.model, known.data) = (None, None);
        }
        self.read_base(name, dtype, files).await?;
        if let Some(base) = &self.base {
            let report = base.value.report();
            let choices = choices(&report);
            self.immediate.known.borrow_mut().model = Some(report.clone());
            self.out.send(&Event::Model(report), None);
            self.out.send(&Event::Choices(choices), None);
        }
        Ok(())
    }

    /// Reads a model, in the place of the one before.
    async fn read_base(&mut self, name: &str, dtype: BaseDtype, files: Option<Source>) -> Result<(), Problem> {
        // Two of them might not fit.
        self.base = None;
        self.talks = Default::default();
        let opened = self.opened.as_ref().ok_or_else(|| first("the engine has not started", "send start"))?;
        let folder = match &files {
            Some(files) => files.folder.clone(),
            None if name == STARTER => self.assets.starter().await?,
            None => {
                return Err(Problem::input(format!("no files came with the model {name}")).next("choose its folder"));
            }
        };
        let out = self.out.clone();
        let base = Base::load(folder, name, opened.info.weight_storage(dtype), &opened.device, &mut |event| {
            out.send(&event, None)
        })
        .await?;
        self.base = Some(Loaded { value: base, files });
        Ok(())
    }

    async fn load_data(&mut self, run: &RunConfig, files: Option<Source>) -> Result<(), Problem> {
        let mut run = run.clone();
        let config = &mut run.data;
        name_files(config, files.as_ref());
        let base = &self.base.as_ref().ok_or_else(no_model)?.value;
        let folder = files.as_ref().map(|files| files.folder.as_ref());
        let sources = rows_files(folder, config, self.assets.as_ref(), base.images.as_ref()).await?;
        let labels = learns_labels(&run, &base.model.config)?;
        let dataset = read_dataset(&sources, &run, base, base.context()).inspect_err(|_| {
            if let Some(columns) = recognise(&sources, &run.data).filter(|_| !labels) {
                self.out.send(&Event::Labelled(columns), None);
            }
        })?;
        self.immediate.known.borrow_mut().data = Some(dataset.report.clone());
        self.out.send(&Event::Data(dataset.report.clone()), None);
        for text in &dataset.notices {
            self.out.send(&Event::Notice { text: text.clone() }, None);
        }
        run.data.max_length = run.data.max_length.min(base.context());
        let read_for = (run.train.seed, run.train.objective);
        self.data = Some((Loaded { value: Rc::new(dataset), files }, run.data, read_for));
        Ok(())
    }

    /// Sees to it that model and data are read as `config` says, and tells `config` what the data is called.
    async fn read_as(&mut self, config: &mut RunConfig) -> Result<(), Problem> {
        if let Some((data, ..)) = &self.data {
            name_files(&mut config.data, data.files.as_ref());
        }
        config.validate()?;
        let base = self.base.as_ref().ok_or_else(no_model)?;
        config.data.max_length = config.data.max_length.min(base.value.context());
        let now = base.value.dtype;
        if now != config.base_dtype {
            let (name, files) = (base.value.name.clone(), base.files.clone());
            if let Err(problem) = self.read_base(&name, config.base_dtype, files.clone()).await {
                // What was there is there again, unless its files are what is gone.
                self.read_base(&name, now, files).await?;
                return Err(problem);
            }
        }
        let (data, read_with, read_for) = self.data.as_ref().ok_or_else(no_data)?;
        let files = data.files.clone();
        if (read_with, *read_for) != (&config.data, (config.train.seed, config.train.objective)) {
            self.load_data(config, files).await?;
        }
        Ok(())
    }

    async fn estimate(&mut self, config: RunConfig) -> Result<(), Problem> {
        let mut config = as_search(config);
        self.read_as(&mut config).await?;
        let base = &self.base.as_ref().ok_or_else(no_model)?.value;
        let dataset = self.data.as_ref().ok_or_else(no_data)?.0.value.clone();
        let timed = pace(config.clone(), base, dataset).await.map_err(|problem| self.explain(&config, problem))?;
        self.out.send(&Event::Pace(timed), None);
        Ok(())
    }

    /// The problem with what to reduce, if the device's memory is exhausted.
    fn explain(&self, config: &RunConfig, problem: Problem) -> Problem {
        let (Some(opened), Some(base), Some((data, ..))) = (&self.opened, &self.base, &self.data) else {
            return problem;
        };
        let (model, width) = (&base.value.report(), Some(data.value.report.width));
        Conditions { model, device: &opened.info, width }.explain(config, problem)
    }

    async fn train(&mut self, config: RunConfig) -> Result<(), Problem> {
        let mut config = as_search(config);
        if self.base.as_ref().is_some_and(|base| base.value.dtype != config.base_dtype) {
            // It would hold the weights as they were beside those of the new run.
            self.keep_tuned(None);
        }
        self.read_as(&mut config).await?;
        // Until it is ready to begin, nothing of the run before is touched.
        let Some((trainer, found)) = self.ready(&config, None).await? else { return Ok(()) };
        let kept = match self.keep_files().await {
            Ok(kept) => Some(kept),
            Err(problem) if problem.kind == ProblemKind::Storage => {
                self.out.send(&unsaved(&problem), None);
                None
            }
            Err(problem) => return Err(problem),
        };
        self.run(config, (trainer, found), kept).await
    }

    /// A trainer of a run, and where a search puts what it finds; none if a person has stopped it meanwhile.
    async fn ready(
        &self,
        config: &RunConfig,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Option<(Trainer, Option<Found>)>, Problem> {
        let base = &self.base.as_ref().ok_or_else(no_model)?.value;
        let dataset = self.data.as_ref().ok_or_else(no_data)?.0.value.clone();
        let watch = ProgressReporter::new(&self.control, |event| self.out.send(&event, None));
        let ready = match config.search {
            Some(_) => {
                let ready = watched_search(config.clone(), base, dataset, checkpoint, &watch).await;
                ready.map(|(trainer, found)| (trainer, Some(found)))
            }
            None => watched_trainer(config.clone(), base, dataset, checkpoint, &watch).await.map(|run| (run, None)),
        };
        match ready {
            Err(problem) if problem.kind == ProblemKind::Stopped => {
                self.control.resume();
                let step = checkpoint.and_then(|c| saved_run(c).ok()).map_or(0, |run| run.step);
                let reason = EndReason::Stopped;
                self.out.send(&Event::Ended { reason, step, best: None, seconds: 0.0 }, None);
                Ok(None)
            }
            ready => ready.map(Some).map_err(|problem| self.explain(config, problem)),
        }
    }

    /// Keeps what a reload needs to go on with the run to come.
    async fn keep_files(&mut self) -> Result<(Place, RunLog), Problem> {
        let model = self.base.as_mut().and_then(|base| base.files.as_mut());
        let data = self.data.as_mut().and_then(|(data, ..)| data.files.as_mut());
        let place = self.copies.make(model, data).await?;
        let log = RunLog::begin(self.copies.checkpoints.clone(), &place.events).await?;
        Ok((place, log))
    }

    /// Takes a tuned model, or none, in the place of the one before, and says so.
    pub(crate) fn keep_tuned(&mut self, tuned: Option<Tuned>) {
        self.talks = Default::default();
        if tuned.is_some() || self.tuned.is_some() {
            self.out.send(&Event::Tuned { run: tuned.as_ref().map(|tuned| tuned.run.clone()) }, None);
        }
        self.tuned = tuned;
    }

    async fn go_on(&mut self) -> Result<(), Problem> {
        let saved = self.copies.checkpoint().await?;
        let (checkpoint, place) = saved.ok_or_else(|| first("there is no run to continue", "press Train"))?;
        let config = *saved_run(&checkpoint)?.config;
        let model_files = match config.model.as_str() {
            STARTER => None,
            _ => self.copies.source(place.model.as_deref()).await?,
        };
        self.load_model(&config.model, config.base_dtype, model_files).await?;
        let data_files = match config.data.files == [EXAMPLE.0] {
            true => None,
            false => self.copies.source(place.data.as_deref()).await?,
        };
        self.load_data(&config, data_files).await?;
        let Some((trainer, found)) = self.ready(&config, Some(&checkpoint)).await? else { return Ok(()) };
        let checkpoints = self.copies.checkpoints.clone();
        let log = RunLog::resume(checkpoints, &place.events, &checkpoint, trainer.progress().0).await?;
        self.run(config, (trainer, found), Some((place, log))).await
    }

    /// Trains or searches to the end. A run that is kept nowhere is not saved.
    async fn run(
        &mut self,
        config: RunConfig,
        (mut trainer, found): (Trainer, Option<Found>),
        kept: Option<(Place, RunLog)>,
    ) -> Result<(), Problem> {
        let base = &self.base.as_ref().ok_or_else(no_model)?.value;
        let dataset = &self.data.as_ref().ok_or_else(no_data)?.0.value;
        // Before there is a structure nothing is worth reading.
        let prompts = if found.is_some() { Vec::new() } else { prompts(&config, dataset) };
        let samples = Samples::new(prompts, &base.tokenizer, &base.template);
        let saving = if kept.is_some() { Saving::Optional { told: false } } else { Saving::Off };
        let (place, log) = kept.unzip();
        let out = self.out.clone();
        let mut recorder = Recorder {
            emit: &mut |event| out.send(event, None),
            checkpoints: self.copies.checkpoints.clone(),
            samples,
            log,
            beside: place.as_ref().map_or(Value::Null, Place::in_checkpoint),
            saving,
            once_saved: place.as_ref().map(|place| self.copies.drop_replaced(place)),
        };
        let ended = trainer.run(&mut recorder, &self.control).await;
        let is_saved = recorder.once_saved.is_none();
        if let Some(place) = place.filter(|_| is_saved) {
            self.copies.is_saved(place);
        }
        self.control.resume();
        let ended = ended.map_err(|problem| self.explain(&config, problem));
        if let Some(found) = found {
            // However it has ended: the best that it knew.
            if let Some(structure) = found.structure().filter(|_| trainer.progress().0 > 0 || ended.is_ok()) {
                self.out.send(
                    &structure_event(&structure, &self.base.as_ref().ok_or_else(no_model)?.value.report(), "")?,
                    None,
                );
            }
            return ended.map(|_| ());
        }
        match Tuned::of(trainer, &ended, config).await {
            Ok(Some(tuned)) => self.keep_tuned(Some(tuned)),
            // What was there before is there still.
            Ok(None) => {}
            // A device that fails now has failed the run before.
            Err(problem) => return Err(ended.err().unwrap_or(problem)),
        }
        ended.map(|_| ())
    }

    async fn find_saved(&mut self) -> Result<(), Problem> {
        // A damaged checkpoint is no reason not to start: it is told, and counts as none.
        let found = self.copies.checkpoint().await;
        let run = match found.and_then(|found| found.map(|(checkpoint, _)| saved_run(&checkpoint)).transpose()) {
            Ok(run) => run,
            Err(problem) => {
                self.out.send(&Event::Problem(problem), None);
                None
            }
        };
        self.out.send(&Event::Saved { run }, None);
        Ok(())
    }

    /// Drops the interrupted run, but for the copies that the loaded model or data are read from.
    async fn discard(&mut self) -> Result<(), Problem> {
        let model = self.base.as_mut().and_then(|base| base.files.as_mut());
        let data = self.data.as_mut().and_then(|(data, ..)| data.files.as_mut());
        self.copies.discard(model, data).await
    }
}

/// Puts what the data is called into the configuration: files that are held out are those of these names that are there.
fn name_files(config: &mut DataConfig, files: Option<&Source>) {
    config.files = files.map_or_else(|| vec![EXAMPLE.0.to_string()], |source| source.folder.names());
    config.validation_files.retain(|name| config.files.contains(name));
    config.files.retain(|name| !config.validation_files.contains(name));
}

fn first(what: &str, next: &str) -> Problem {
    Problem::input(what).next(next)
}

pub(crate) fn no_model() -> Problem {
    first("no model is loaded", "choose a model")
}

fn no_data() -> Problem {
    first("no data is loaded", "choose data, or the example")
}

pub(crate) fn no_run() -> Problem {
    first("there is no tuned model yet", "press Train")
}
