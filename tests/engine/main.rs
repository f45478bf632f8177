//! The engine behind the page, driven by commands as the page drives it.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used)]

mod packed;
mod taken;
mod talk;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use serde_json::json;
use stratune_protocol::{
    DataFormat, DeviceChoice, EndReason, ExportForm, GenerateRequest, ModelVariant, Problem, ProblemKind, Verdict,
};
use stratune_runtime::{Control, block_on};
use stratune_session::{Assets, Engine, ImmediateCommands, Outbox, Outgoing};
use stratune_store::{Checkpoint, CheckpointStore, DiskFolder, EventLog, Folder, MemoryCheckpoints, MemoryFolder};
use stratune_train::{Command, Event, RunConfig};

const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/session/assets/starter");

/// What the engine has said, and the files beside it.
#[derive(Default)]
struct Heard {
    all: RefCell<Vec<(Event, Option<Vec<u8>>)>>,
    /// Presses stop at the next piece of an answer, once.
    stops_at_a_token: Cell<Option<ImmediateCommands>>,
}

impl Outbox for Heard {
    fn send(&self, event: &Event, bytes: Option<Vec<u8>>) {
        if let Event::Token { .. } = event
            && let Some(immediate) = self.stops_at_a_token.take()
        {
            immediate.handle(&Command::Stop);
        }
        self.all.borrow_mut().push((event.clone(), bytes));
    }
}

/// Storage that may be full.
#[derive(Default)]
struct Storage {
    checkpoints: MemoryCheckpoints,
    takes_no_checkpoint: Cell<bool>,
    takes_no_copy: Cell<bool>,
    finds_nan: Cell<bool>,
    /// Copies that were made, by their names: what the folder was called.
    copies: RefCell<BTreeMap<String, String>>,
    /// What was taken away last.
    outgoing: RefCell<Option<tempfile::NamedTempFile>>,
    /// Files that were unpacked.
    unpacked: RefCell<Vec<String>>,
}

impl Storage {
    fn refuse(&self, refuses: &Cell<bool>) -> Result<(), Problem> {
        match refuses.get() {
            true => Err(Problem::new(ProblemKind::Storage, "the storage is full").next("free space")),
            false => Ok(()),
        }
    }
}

impl CheckpointStore for Storage {
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            self.refuse(&self.takes_no_checkpoint)?;
            if self.finds_nan.get() {
                return Err(Problem::new(ProblemKind::Numeric, "a tensor holds NaN"));
            }
            self.checkpoints.save(checkpoint).await
        })
    }

    fn load<'a>(&'a self) -> LocalBoxFuture<'a, Result<Option<Checkpoint>, Problem>> {
        self.checkpoints.load()
    }

    fn clear<'a>(&'a self) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.checkpoints.clear()
    }
}

impl EventLog for Storage {
    fn append<'a>(&'a self, log: &'a str, lines: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            self.refuse(&self.takes_no_checkpoint)?;
            self.checkpoints.append(log, lines).await
        })
    }

    fn lines<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<String, Problem>> {
        self.checkpoints.lines(log)
    }

    fn erase<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.checkpoints.erase(log)
    }
}

impl Assets for Storage {
    fn starter(&self) -> LocalBoxFuture<'_, Result<Rc<dyn Folder>, Problem>> {
        Box::pin(async { Ok(Rc::new(DiskFolder::new(STARTER)?) as Rc<dyn Folder>) })
    }

    fn keep<'a>(&'a self, name: &'a str, folder: &'a dyn Folder) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            assert!(!self.copies.borrow().contains_key(name), "{name} is written over");
            // A part of it is there even if the rest has no room.
            self.copies.borrow_mut().insert(name.into(), folder.label());
            self.refuse(&self.takes_no_copy)
        })
    }

    fn kept<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Rc<dyn Folder>, Problem>> {
        let label = self.copies.borrow().get(name).cloned();
        Box::pin(async move {
            let label = label.ok_or_else(|| Problem::input(format!("there is no copy {name}")))?;
            Ok(chosen(&label))
        })
    }

    fn outgoing<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Outgoing, Problem>> {
        Box::pin(async move {
            self.refuse(&self.takes_no_copy)?;
            let file = tempfile::NamedTempFile::new().unwrap();
            let writer = file.reopen().unwrap();
            *self.outgoing.borrow_mut() = Some(file);
            Ok(Outgoing { file: Box::new(writer), stored: ["outgoing".into(), name.into()] })
        })
    }

    fn forget<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.copies.borrow_mut().remove(name);
        Box::pin(async { Ok(()) })
    }

    fn unpacked<'a>(
        &'a self,
        name: &'a str,
        bytes: Vec<u8>,
        format: DataFormat,
    ) -> LocalBoxFuture<'a, Result<Vec<u8>, Problem>> {
        self.unpacked.borrow_mut().push(name.into());
        Box::pin(async move { Ok(packed::unpacked(name, &bytes, format)) })
    }
}

/// Files that a person chooses: a model, which is the starter under another name, a file of the fixtures, or a few rows.
fn chosen(label: &str) -> Rc<dyn Folder> {
    let row = |i: usize| format!("{{\"prompt\": \"one {i}\", \"completion\": \"two\"}}\n");
    let files = match label.starts_with("model") {
        true => {
            let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
            names.map(|name| (name.to_string(), std::fs::read(format!("{STARTER}/{name}")).unwrap().into())).to_vec()
        }
        false if label.contains('.') => vec![(label.to_owned(), packed::rows(label).into())],
        false => vec![(format!("{label}.jsonl"), (0..30).map(row).collect::<String>().into_bytes().into())],
    };
    Rc::new(MemoryFolder::new(label, files))
}

/// An engine with all that it lives with.
struct Page {
    heard: Rc<Heard>,
    storage: Rc<Storage>,
    immediate: ImmediateCommands,
    engine: Engine,
}

impl Page {
    /// One that has done nothing.
    fn new() -> Self {
        let (heard, storage) = (Rc::new(Heard::default()), Rc::new(Storage::default()));
        let immediate = ImmediateCommands::new(heard.clone(), Control::default());
        let engine = Engine::new(immediate.clone(), storage.clone(), storage.clone());
        Self { heard, storage, immediate, engine }
    }

    /// One with the starter and the example loaded.
    fn ready() -> Self {
        let mut page = Self::new();
        page.send(Command::Start { device: DeviceChoice::Cpu });
        page.send(Command::LoadModel { config: Box::default(), files: Vec::new() });
        page.send(Command::LoadData { config: Box::new(config()), files: Vec::new() });
        page
    }

    /// Sends a command as a worker does: what is answered at once is, and the rest is done.
    fn send(&mut self, command: Command) {
        if !self.immediate.handle(&command) {
            block_on(self.engine.handle(command, None));
        }
    }

    /// Loads files that a person chose.
    fn choose(&mut self, model: &str, data: &str) {
        let config = RunConfig { model: model.into(), ..config() };
        let load = Command::LoadModel { config: Box::new(config.clone()), files: Vec::new() };
        block_on(self.engine.handle(load, Some(chosen(model))));
        let load = Command::LoadData { config: Box::new(config), files: Vec::new() };
        block_on(self.engine.handle(load, Some(chosen(data))));
        assert_eq!(problem(&self.events()), None);
    }

    /// The steps of the run that is saved, and the model that it trains.
    fn saved(&mut self) -> Option<(usize, String)> {
        self.events();
        self.send(Command::FindSaved);
        let of = |e: Event| if let Event::Saved { run } = e { run.map(|run| (run.step, run.model)) } else { None };
        self.events().into_iter().find_map(of)
    }

    /// What there are copies of.
    fn copies(&self) -> Vec<String> {
        let mut copies: Vec<String> = self.storage.copies.borrow().values().cloned().collect();
        copies.sort();
        copies
    }

    /// What was said since the last call.
    fn events(&self) -> Vec<Event> {
        self.heard.all.take().into_iter().map(|(event, _)| event).collect()
    }

    /// The adapter; none if there is none.
    fn adapter(&mut self) -> Option<Vec<u8>> {
        self.events();
        self.send(Command::Export { form: ExportForm::Adapter });
        self.heard.all.take().into_iter().find_map(|(_, bytes)| bytes)
    }
}

/// A run of two steps.
fn config() -> RunConfig {
    let mut config = RunConfig::default();
    (config.data.max_length, config.data.validation_split) = (48, 0.0);
    (config.train.steps, config.train.batch_size, config.train.checkpoint_every) = (2, 2, 1);
    config.train.sample_prompts = vec!["one".into()];
    config
}

fn train(config: &RunConfig) -> Command {
    Command::Train { config: Box::new(config.clone()) }
}

fn ending(events: &[Event]) -> Option<(EndReason, usize)> {
    events.iter().find_map(|e| match e {
        Event::Ended { reason, step, .. } => Some((*reason, *step)),
        _ => None,
    })
}

fn problem(events: &[Event]) -> Option<&Problem> {
    events.iter().find_map(|e| if let Event::Problem(problem) = e { Some(problem) } else { None })
}

/// Each tuned model that was told of: the step it is of, none where there is none.
fn tuned(events: &[Event]) -> Vec<Option<usize>> {
    let of = |e: &Event| if let Event::Tuned { run } = e { Some(run.as_ref().map(|run| run.step)) } else { None };
    events.iter().filter_map(of).collect()
}

#[test]
fn catalogue_and_plans_are_told_at_once_and_grow_with_what_is_known() {
    let mut page = Page::new();
    page.send(Command::Catalogue { link: "#train.steps=7".into() });
    page.send(Command::Catalogue { link: "train.stepz=7".into() });
    let [Event::Catalogue { catalogue, config, problem: None }, Event::Catalogue { problem: Some(bad), .. }] =
        &page.events()[..]
    else {
        panic!("no catalogue")
    };
    assert_eq!((config.train.steps, bad.at.as_str()), (7, "train.stepz"));
    assert!(catalogue.methods.iter().any(|method| method.name == "lora"));

    let tree = serde_json::to_value(self::config()).unwrap();
    let plan = |page: &mut Page| {
        page.events();
        page.send(Command::Plan { config: tree.clone() });
        match page.events().pop() {
            Some(Event::Plan(plan)) => *plan,
            other => panic!("no plan but {other:?}"),
        }
    };
    let early = plan(&mut page);
    assert_eq!((early.title.as_str(), early.size, early.memory), ("LoRA r8", None, None));
    page.send(Command::Start { device: DeviceChoice::Cpu });
    page.send(Command::LoadModel { config: Box::default(), files: Vec::new() });
    let events = page.events();
    let told: Vec<_> = events.iter().filter(|e| matches!(e, Event::Model(_) | Event::Choices(_))).collect();
    let [Event::Model(model), Event::Choices(choices)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(choices.targets.len(), 7);
    assert_eq!(plan(&mut page).size.unwrap().trainable, self::config().method.trainable(model));
    page.send(Command::LoadData { config: Box::new(self::config()), files: Vec::new() });
    let whole = plan(&mut page);
    assert_eq!((whole.steps, whole.problem), (Some(2), None));
    let memory = whole.memory.unwrap();
    assert!(memory.bytes > 0 && memory.verdict <= Verdict::WontFit && memory.parts.len() == 7);

    let mut wrong = tree.clone();
    wrong["method"] = json!([{ "kind": "loora" }]);
    page.send(Command::Plan { config: wrong });
    let Some(Event::Plan(plan)) = page.events().pop() else { panic!("no plan") };
    assert!(plan.problem.unwrap().what.contains("loora"));

    page.send(Command::WriteConfig { config: Box::new(self::config()) });
    let file = page.heard.all.take().into_iter().find_map(|(_, bytes)| bytes).unwrap();
    assert_eq!(RunConfig::from_toml(std::str::from_utf8(&file).unwrap()).unwrap(), self::config());
}

#[test]
fn a_model_whose_numbers_went_wrong_is_not_the_tuned_one() {
    let mut page = Page::ready();
    page.send(train(&config()));
    let events = page.events();
    assert_eq!((ending(&events), tuned(&events)), (Some((EndReason::Steps, 2)), vec![Some(2)]));
    let good = page.adapter().unwrap();
    // Without a validation there is nothing that was best before.
    let mut wild = config();
    (wild.train.learning_rate, wild.train.steps, wild.train.warmup_steps) = (1e30, 6, 0);
    page.send(train(&wild));
    let events = page.events();
    assert_eq!(problem(&events).unwrap().kind, ProblemKind::Numeric, "{events:?}");
    assert_eq!(tuned(&events), [], "the diverged model is offered");
    assert_eq!(page.adapter().unwrap(), good);
    // Where something was measured before, the best of it is what is left.
    page.storage.finds_nan.set(true);
    let mut measured = config();
    (measured.data.validation_split, measured.train.eval_every) = (0.02, 1);
    page.send(train(&measured));
    let events = page.events();
    assert_eq!(problem(&events).unwrap().kind, ProblemKind::Numeric, "{events:?}");
    assert_eq!(tuned(&events), [Some(1)]);
    let request =
        GenerateRequest { prompt: "one".into(), variant: ModelVariant::Tuned, max_tokens: 1, ..Default::default() };
    page.send(Command::Generate(request));
    assert_eq!(problem(&page.events()), None);
}

#[test]
fn a_run_that_does_not_start_leaves_the_adapter_of_the_one_before() {
    let mut page = Page::ready();
    page.send(train(&config()));
    let good = page.adapter().unwrap();
    let mut bad = config();
    bad.train.batch_size = 0;
    page.send(train(&bad));
    let events = page.events();
    assert!(problem(&events).is_some() && tuned(&events).is_empty(), "{events:?}");
    assert_eq!(page.adapter(), Some(good));
    // Another model takes it away, and that is said.
    page.send(Command::LoadModel { config: Box::default(), files: Vec::new() });
    assert_eq!(tuned(&page.events()), [None]);
    assert_eq!(page.adapter(), None);
}

#[test]
fn stop_holds_while_a_run_starts_and_not_for_the_next() {
    let mut page = Page::ready();
    for (presses_stop, ended) in [(true, (EndReason::Stopped, 0)), (false, (EndReason::Steps, 2))] {
        // The worker hears of everything as it comes, and the run begins later.
        let command = train(&config());
        assert!(!page.immediate.handle(&command));
        if presses_stop {
            assert!(page.immediate.handle(&Command::Stop));
        }
        block_on(page.engine.handle(command, None));
        assert_eq!(ending(&page.events()), Some(ended));
    }
    // A press that comes when the run is over is nothing to the next one.
    page.send(Command::Stop);
    page.send(train(&config()));
    let events = page.events();
    assert_eq!((ending(&events), tuned(&events)), (Some((EndReason::Steps, 2)), vec![Some(2)]));
}

#[test]
fn a_run_that_cannot_be_saved_goes_on_and_says_so_once() {
    let mut page = Page::ready();
    page.storage.takes_no_checkpoint.set(true);
    page.send(train(&config()));
    let events = page.events();
    let notices = |events: &[Event]| {
        let texts =
            events.iter().filter_map(|e| if let Event::Notice { text } = e { Some(text.clone()) } else { None });
        texts.filter(|text| text.contains("without being saved")).collect::<Vec<_>>()
    };
    assert_eq!(ending(&events), Some((EndReason::Steps, 2)), "{events:?}");
    let told = notices(&events);
    assert!(told.len() == 1 && told[0].contains("the storage is full") && told[0].contains("free space"), "{told:?}");
    assert!(!events.iter().any(|e| matches!(e, Event::Saved { .. })), "nothing was saved");
    assert!(page.adapter().is_some());

    // When there is room again, it is used.
    page.storage.takes_no_checkpoint.set(false);
    page.send(train(&config()));
    let events = page.events();
    assert!(notices(&events).is_empty() && events.iter().any(|e| matches!(e, Event::Saved { .. })));
}

/// Until another run is safe the one before is: whether that does not start, comes to nothing, or is stopped at once.
#[test]
fn a_run_is_replaced_when_another_is_safe_and_not_before() {
    let mut page = Page::ready();
    page.choose("model A", "rows A");
    page.send(train(&RunConfig { model: "model A".into(), ..config() }));
    let first = Some((2, "model A".to_string()));
    assert_eq!((page.saved(), page.copies()), (first.clone(), vec!["model A".into(), "rows A".into()]));
    let whole = RunConfig { model: "model B".into(), ..config() };
    let without_a_checkpoint = {
        let mut config = whole.clone();
        (config.train.learning_rate, config.train.steps, config.train.warmup_steps) = (1e30, 6, 0);
        config.train.checkpoint_every = 0;
        config
    };

    page.choose("model B", "rows B");
    let mut bad = whole.clone();
    bad.method[0].layers = vec![99];
    page.send(train(&bad));
    assert!(problem(&page.events()).is_some());
    assert_eq!((page.saved(), page.copies()), (first.clone(), vec!["model A".into(), "rows A".into()]));
    page.send(train(&without_a_checkpoint));
    assert_eq!(problem(&page.events()).unwrap().kind, ProblemKind::Numeric);
    assert_eq!(page.saved(), first);
    let stopped = train(&whole);
    assert!(!page.immediate.handle(&stopped) && page.immediate.handle(&Command::Stop));
    block_on(page.engine.handle(stopped, None));
    assert_eq!((ending(&page.events()), page.saved()), (Some((EndReason::Stopped, 0)), first.clone()));
    for full in [&page.storage.takes_no_copy, &page.storage.takes_no_checkpoint] {
        full.set(true);
    }
    page.send(train(&whole));
    assert_eq!(ending(&page.events()), Some((EndReason::Steps, 2)));
    for full in [&page.storage.takes_no_copy, &page.storage.takes_no_checkpoint] {
        full.set(false);
    }
    assert_eq!(page.saved(), first);
    // The first goes on from where it was, with its own files.
    page.send(Command::Continue);
    let events = page.events();
    assert_eq!((problem(&events), ending(&events)), (None, Some((EndReason::Steps, 2))));

    page.choose("model B", "rows B");
    page.send(train(&whole));
    assert_eq!(ending(&page.events()), Some((EndReason::Steps, 2)));
    assert_eq!(page.saved(), Some((2, "model B".to_string())));
    assert_eq!(page.copies(), ["model B", "rows B"], "what belongs to the first is dropped");
    // The same files again need no other copy, and a run on what is built in needs none.
    page.send(train(&whole));
    assert_eq!((page.saved(), page.copies()), (Some((2, "model B".into())), vec!["model B".into(), "rows B".into()]));
    page.send(Command::LoadModel { config: Box::default(), files: Vec::new() });
    page.send(Command::LoadData { config: Box::new(config()), files: Vec::new() });
    page.send(train(&config()));
    assert_eq!((page.saved(), page.copies()), (Some((2, "starter".into())), vec![]));
    page.send(Command::Discard);
    assert_eq!(page.saved(), None);
}

/// What a run tells is beside its checkpoint and not in it, and a reloaded page shows all of it once.
#[test]
fn events_are_kept_beside_the_checkpoint() {
    let mut page = Page::ready();
    page.send(train(&config()));
    let steps = |events: &[Event]| -> Vec<usize> {
        events.iter().filter_map(|e| if let Event::Step(step) = e { Some(step.step) } else { None }).collect()
    };
    assert_eq!(steps(&page.events()), [1, 2]);
    let checkpoint = block_on(page.storage.checkpoints.load()).unwrap().unwrap();
    let text = checkpoint.meta.to_string();
    assert!(!text.contains("tokens_per_second") && text.len() < 10_000, "{text}");
    let mut reloaded = Page { storage: page.storage.clone(), ..Page::new() };
    reloaded.engine = Engine::new(reloaded.immediate.clone(), page.storage.clone(), page.storage.clone());
    reloaded.send(Command::Start { device: DeviceChoice::Cpu });
    for _ in 0..2 {
        reloaded.send(Command::Continue);
        let events = reloaded.events();
        assert_eq!((problem(&events), steps(&events)), (None, vec![1, 2]));
    }
}
