//! The engine behind the page, driven by commands as the page drives it.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used)]

mod labels;
mod packed;
mod page;
mod search;
mod taken;
mod talk;
mod tool_calls;

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

use page::Page;

const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/session/assets/starter");

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

/// Beyond the model's context rows are cut to that, whatever length is asked for: they are read once.
#[test]
fn rows_are_read_again_only_if_they_come_out_otherwise() {
    let mut page = Page::ready();
    let of_length = |max_length| {
        let mut config = config();
        config.data.max_length = max_length;
        config
    };
    let reads = |page: &Page| page.events().iter().filter(|event| matches!(event, Event::Data(_))).count();
    page.send(Command::LoadData { config: Box::new(of_length(512)), files: Vec::new() });
    assert_eq!(reads(&page), 2, "what is loaded at first, and this");
    for (max_length, again) in [(256, 0), (1000, 0), (64, 1), (64, 0)] {
        page.send(train(&of_length(max_length)));
        assert_eq!(reads(&page), again, "{max_length}");
    }
}
