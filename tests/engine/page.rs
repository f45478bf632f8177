//! An engine with all that it lives with, as a page has it.

use super::*;

/// What the engine has said, and the files beside it.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) all: RefCell<Vec<(Event, Option<Vec<u8>>)>>,
    /// Presses stop at the next piece of an answer, once.
    pub(super) stops_at_a_token: Cell<Option<ImmediateCommands>>,
    /// Presses stop at the next step, once.
    pub(super) stops_at_a_step: Cell<Option<ImmediateCommands>>,
}

impl Outbox for Heard {
    fn send(&self, event: &Event, bytes: Option<Vec<u8>>) {
        if let Event::Token { .. } = event
            && let Some(immediate) = self.stops_at_a_token.take()
        {
            immediate.handle(&Command::Stop);
        }
        if let Event::Step(_) = event
            && let Some(immediate) = self.stops_at_a_step.take()
        {
            immediate.handle(&Command::Stop);
        }
        self.all.borrow_mut().push((event.clone(), bytes));
    }
}

/// Storage that may be full.
#[derive(Default)]
pub(super) struct Storage {
    pub(super) checkpoints: MemoryCheckpoints,
    pub(super) takes_no_checkpoint: Cell<bool>,
    pub(super) takes_no_copy: Cell<bool>,
    pub(super) finds_nan: Cell<bool>,
    /// Copies that were made, by their names: what the folder was called.
    pub(super) copies: RefCell<BTreeMap<String, String>>,
    /// What was taken away last.
    pub(super) outgoing: RefCell<Option<tempfile::NamedTempFile>>,
    /// Files that were unpacked.
    pub(super) unpacked: RefCell<Vec<String>>,
}

impl Storage {
    pub(super) fn refuse(&self, refuses: &Cell<bool>) -> Result<(), Problem> {
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
pub(super) fn chosen(label: &str) -> Rc<dyn Folder> {
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
pub(super) struct Page {
    pub(super) heard: Rc<Heard>,
    pub(super) storage: Rc<Storage>,
    pub(super) immediate: ImmediateCommands,
    pub(super) engine: Engine,
}

impl Page {
    /// One that has done nothing.
    pub(super) fn new() -> Self {
        let (heard, storage) = (Rc::new(Heard::default()), Rc::new(Storage::default()));
        let immediate = ImmediateCommands::new(heard.clone(), Control::default());
        let engine = Engine::new(immediate.clone(), storage.clone(), storage.clone());
        Self { heard, storage, immediate, engine }
    }

    /// One with the starter and the example loaded.
    pub(super) fn ready() -> Self {
        let mut page = Self::new();
        page.send(Command::Start { device: DeviceChoice::Cpu });
        page.send(Command::LoadModel { config: Box::default(), files: Vec::new() });
        page.send(Command::LoadData { config: Box::new(config()), files: Vec::new() });
        page
    }

    /// Sends a command as a worker does: what is answered at once is, and the rest is done.
    pub(super) fn send(&mut self, command: Command) {
        if !self.immediate.handle(&command) {
            block_on(self.engine.handle(command, None));
        }
    }

    /// Loads files that a person chose.
    pub(super) fn choose(&mut self, model: &str, data: &str) {
        let config = RunConfig { model: model.into(), ..config() };
        let load = Command::LoadModel { config: Box::new(config.clone()), files: Vec::new() };
        block_on(self.engine.handle(load, Some(chosen(model))));
        let load = Command::LoadData { config: Box::new(config), files: Vec::new() };
        block_on(self.engine.handle(load, Some(chosen(data))));
        assert_eq!(problem(&self.events()), None);
    }

    /// The steps of the run that is saved, and the model that it trains.
    pub(super) fn saved(&mut self) -> Option<(usize, String)> {
        self.events();
        self.send(Command::FindSaved);
        let of = |e: Event| if let Event::Saved { run } = e { run.map(|run| (run.step, run.model)) } else { None };
        self.events().into_iter().find_map(of)
    }

    /// What there are copies of.
    pub(super) fn copies(&self) -> Vec<String> {
        let mut copies: Vec<String> = self.storage.copies.borrow().values().cloned().collect();
        copies.sort();
        copies
    }

    /// What was said since the last call.
    pub(super) fn events(&self) -> Vec<Event> {
        self.heard.all.take().into_iter().map(|(event, _)| event).collect()
    }

    /// The adapter; none if there is none.
    pub(super) fn adapter(&mut self) -> Option<Vec<u8>> {
        self.events();
        self.send(Command::Export { form: ExportForm::Adapter });
        self.heard.all.take().into_iter().find_map(|(_, bytes)| bytes)
    }
}
