//! The engine behind the page, driven by commands as the page drives it.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use serde_json::json;
use stratune_protocol::{
    Command, DeviceChoice, EndReason, Event, GenerateRequest, Problem, ProblemKind, RunConfig, Verdict, Voice,
};
use stratune_runtime::{Control, block_on};
use stratune_session::{Assets, AtOnce, Engine, Outbox};
use stratune_store::{Checkpoint, DiskFolder, Folder, MemoryVault, Vault};

const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/session/assets/starter");

/// What the engine has said, and the files beside it.
#[derive(Default)]
struct Heard(RefCell<Vec<(Event, Option<Vec<u8>>)>>);

impl Outbox for Heard {
    fn send(&self, event: &Event, bytes: Option<Vec<u8>>) {
        self.0.borrow_mut().push((event.clone(), bytes));
    }
}

/// Storage that may be full.
#[derive(Default)]
struct Storage {
    vault: MemoryVault,
    takes_no_checkpoint: Cell<bool>,
    takes_no_copy: Cell<bool>,
    finds_nan: Cell<bool>,
}

impl Storage {
    fn refuse(&self, refuses: &Cell<bool>) -> Result<(), Problem> {
        match refuses.get() {
            true => Err(Problem::new(ProblemKind::Storage, "the storage is full").next("free space")),
            false => Ok(()),
        }
    }
}

impl Vault for Storage {
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            self.refuse(&self.takes_no_checkpoint)?;
            if self.finds_nan.get() {
                return Err(Problem::new(ProblemKind::Numeric, "a tensor holds NaN"));
            }
            self.vault.save(checkpoint).await
        })
    }

    fn load<'a>(&'a self) -> LocalBoxFuture<'a, Result<Option<Checkpoint>, Problem>> {
        self.vault.load()
    }

    fn clear<'a>(&'a self) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.vault.clear()
    }
}

impl Assets for Storage {
    fn starter(&self) -> LocalBoxFuture<'_, Result<Rc<dyn Folder>, Problem>> {
        Box::pin(async { Ok(Rc::new(DiskFolder::new(STARTER)?) as Rc<dyn Folder>) })
    }

    fn keep<'a>(&'a self, _: &'a str, _: &'a dyn Folder) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { self.refuse(&self.takes_no_copy) })
    }

    fn kept<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<Rc<dyn Folder>, Problem>> {
        self.starter()
    }

    fn forget<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }
}

/// An engine with all that it lives with.
struct Page {
    heard: Rc<Heard>,
    storage: Rc<Storage>,
    at_once: AtOnce,
    engine: Engine,
}

impl Page {
    /// One that has done nothing.
    fn new() -> Self {
        let (heard, storage) = (Rc::new(Heard::default()), Rc::new(Storage::default()));
        let at_once = AtOnce::new(heard.clone(), Control::default());
        let engine = Engine::new(at_once.clone(), storage.clone(), storage.clone());
        Self { heard, storage, at_once, engine }
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
        if !self.at_once.hear(&command) {
            block_on(self.engine.handle(command, None));
        }
    }

    /// What was said since the last call.
    fn events(&self) -> Vec<Event> {
        self.heard.0.take().into_iter().map(|(event, _)| event).collect()
    }

    /// The adapter; none if there is none.
    fn adapter(&mut self) -> Option<Vec<u8>> {
        self.events();
        self.send(Command::ExportAdapter);
        self.heard.0.take().into_iter().find_map(|(_, bytes)| bytes)
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
    let file = page.heard.0.take().into_iter().find_map(|(_, bytes)| bytes).unwrap();
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
    let request = GenerateRequest { prompt: "one".into(), voice: Voice::Tuned, max_tokens: 1, ..Default::default() };
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
        assert!(!page.at_once.hear(&command));
        if presses_stop {
            assert!(page.at_once.hear(&Command::Stop));
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
