//! Keeps an engine running: chooses it, starts it, hears it, starts another when it fails.

use std::time::Duration;

use js_sys::Uint8Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use stratune_protocol::{DeviceChoice, Problem, ProblemKind};

use super::activity::Activity;
use super::labels::{OBJECTIVE, Said};
use super::notices::Offer;
use super::run::{Progress, Run};
use super::settings::{Command, Event, SavedRun};
use super::webgpu::{self, Gpu};
use crate::bridge::worker::{Engine, EngineKind, Heard};
use crate::bridge::{browser, gpu};
use crate::units;

/// The engine that runs now, and what is awaited from it.
#[derive(Default)]
pub struct Link {
    engine: Option<Engine>,
    pub(super) on_gpu: bool,
    /// It listens.
    up: bool,
    /// Its device has passed the test.
    pub(super) ready: bool,
    /// An answer about a saved run is awaited.
    asked_for_saved: bool,
    /// The saved run goes on as soon as it is found.
    resuming: bool,
    /// A run that loses its engine gets another one, once.
    pub(super) may_restart: bool,
    inbox: Vec<(Event, Option<Uint8Array>)>,
}

impl Link {
    /// A new run may lose its engine once.
    pub fn allow_restart(&mut self) {
        self.may_restart = true;
    }
}

/// Events are taken in together after this long, so that a fast engine does not outrun the page.
const BATCH: Duration = Duration::from_millis(40);

impl Run {
    /// Starts the engine that suits this browser, or the one that the address asks for.
    pub fn start(self) {
        spawn_local(async move {
            match browser::parameter("device").as_deref() {
                Some("cpu") => self.start_engine(EngineKind::Cpu, false),
                Some("wgpu") => self.start_engine(EngineKind::Gpu, false),
                _ => self.start_best(gpu::look().await),
            }
        });
    }

    fn start_best(self, gpu: Gpu) {
        match gpu {
            Gpu::Hardware => return self.start_engine(EngineKind::Gpu, false),
            Gpu::Software(name) => self.tell(
                format!(
                    "This browser only offers a software GPU ({name}), about 100 times slower than the CPU device here"
                ),
                webgpu::advice(&browser::agent()),
                Some(Offer::SoftwareGpu),
            ),
            Gpu::None => self.tell(
                "This browser offers no GPU, so the page computes on the CPU",
                webgpu::advice(&browser::agent()),
                None,
            ),
        }
        self.start_engine(EngineKind::Cpu, false);
    }

    /// Does what a message offered.
    pub fn accept(self, offer: Offer) {
        match offer {
            Offer::SoftwareGpu => self.start_engine(EngineKind::Gpu, false),
            Offer::Restart => {
                let kind = self.link.with_value(|l| if l.on_gpu { EngineKind::Gpu } else { EngineKind::Cpu });
                self.start_engine(kind, false);
            }
        }
    }

    /// Ends the engine there is and starts another; `resuming` goes on with the saved run.
    pub(super) fn start_engine(self, kind: EngineKind, resuming: bool) {
        self.adapter.set(None);
        self.tuned.set(None);
        self.wish.set(None);
        self.activity.set(Activity::Idle);
        self.reading_model.set(true);
        self.reading_data.set(true);
        // Another task: this may have been called by the engine that is about to end.
        spawn_local(async move {
            let engine = Engine::start(kind, move |heard| self.hear(heard));
            let failed = engine.as_ref().err().cloned();
            let may_restart = self.link.with_value(|l| l.may_restart);
            let on_gpu = kind == EngineKind::Gpu;
            self.link.set_value(Link { engine: engine.ok(), on_gpu, resuming, may_restart, ..Link::default() });
            if let Some(problem) = failed {
                self.alert(problem, Some(Offer::Restart));
            }
        });
    }

    /// Sends a command to the engine. Before it is ready only what needs no device goes out: when it is, it is told
    /// everything.
    pub fn send(self, command: &Command, files: &[web_sys::File]) {
        let early = matches!(
            command,
            Command::Start { .. }
                | Command::Catalogue { .. }
                | Command::Plan { .. }
                | Command::WriteConfig { .. }
                | Command::ReadStructure { .. }
        );
        let sent = self.link.with_value(|l| {
            let engine = l.engine.as_ref().filter(|_| l.ready || (early && l.up));
            engine.map(|e| e.send(command, files))
        });
        if let Some(Err(problem)) = sent {
            self.alert(problem, None);
        }
    }

    fn hear(self, heard: Heard) {
        match heard {
            Heard::Up => {
                self.link.update_value(|l| l.up = true);
                self.send(&Command::Catalogue { link: browser::hash() }, &[]);
                let device = if self.link.with_value(|l| l.on_gpu) { DeviceChoice::Wgpu } else { DeviceChoice::Cpu };
                self.send(&Command::Start { device }, &[]);
            }
            Heard::Event(event, bytes) => {
                let first = self.link.try_update_value(|l| {
                    l.inbox.push((*event, bytes));
                    l.inbox.len() == 1
                });
                if first == Some(true) {
                    set_timeout(move || self.take_in(), BATCH);
                }
            }
            Heard::Died(reason) => {
                self.take_in();
                self.lost(&reason);
            }
        }
    }

    /// Takes in all events that have come, and tells the charts once.
    fn take_in(self) {
        let inbox = self.link.try_update_value(|l| std::mem::take(&mut l.inbox)).unwrap_or_default();
        let mut drawn = false;
        for (event, bytes) in inbox {
            let activity = self.activity.get_untracked();
            if activity.after(&event) != activity {
                self.activity.set(activity.after(&event));
            }
            if is_of_a_run(&event) {
                self.history.update_untracked(|h| h.apply(&event));
                drawn = true;
            }
            self.react(event, bytes);
        }
        if drawn {
            self.history.notify();
        }
    }

    fn react(self, event: Event, bytes: Option<Uint8Array>) {
        match event {
            Event::Catalogue { catalogue, config, problem } => self.take_catalogue(*catalogue, *config, problem),
            Event::Plan(plan) => {
                if let Some(link) = &plan.link {
                    browser::set_hash(link);
                }
                self.plan.set(Some(*plan));
            }
            Event::Choices(choices) => self.choices.set(Some(choices)),
            Event::Ready(info) => {
                self.adapter.set(Some(info));
                self.ready();
            }
            Event::Progress { what, done, total } => self.progress.set(Some(Progress { what, done, total })),
            Event::Model(report) => {
                self.progress.set(None);
                self.reading_model.set(false);
                self.shorten_rows(report.context);
                if report.encoder {
                    // What only a model that writes reads would stand in the way, unseen.
                    let objective = self.config.with_untracked(|c| c.text(OBJECTIVE).to_string());
                    self.config.update(|c| c.learn(&objective, true));
                }
                self.model.set(Some(report));
            }
            Event::Data(report) => {
                self.progress.set(None);
                self.reading_data.set(false);
                self.looks.set(report.labelled.clone());
                self.data.set(Some(report));
            }
            Event::Begun { .. } => {
                self.progress.set(None);
                self.open.set(None);
            }
            Event::Saved { run } => self.found_saved(run),
            Event::Tuned { run } => {
                self.tuned.set(run);
                self.said.set(Said::default());
            }
            Event::Labelled(columns) => self.looks.set(Some(columns)),
            Event::Classified { labels, number } => self.said.set(Said { asked: false, labels, number }),
            Event::Ended { .. } => {
                self.progress.set(None);
                self.wish.set(None);
            }
            Event::Paused { .. } | Event::Resumed { .. } => self.wish.set(None),
            Event::Token { variant, text, done } => {
                let tuned_too = self.has_adapter();
                let next = self.answers.try_update(|a| a.hear(variant, &text, done, tuned_too)).flatten();
                if let Some(variant) = next {
                    self.ask(variant);
                }
            }
            Event::File { name, media_type, stored, .. } => {
                self.exporting.set(false);
                self.progress.set(None);
                spawn_local(async move {
                    let file = match (stored, bytes) {
                        (Some(place), _) => browser::stored(&place).await,
                        (None, bytes) => browser::blob(&media_type, bytes.as_ref()),
                    };
                    if file.and_then(|file| browser::download(&name, &file)).is_none() {
                        let problem = Problem::new(ProblemKind::Internal, "the browser refused the download").at(name);
                        self.alert(problem.next("allow downloads for this page and try again"), None);
                    }
                });
            }
            Event::Structure(structure) => self.take_structure(structure),
            Event::Pace(pace) => self.timing.update(|t| t.hear(pace)),
            Event::Notice { text } => self.tell(text, "", None),
            Event::Problem(problem) => self.went_wrong(problem),
            Event::Step(_)
            | Event::Importance { .. }
            | Event::Search(_)
            | Event::Validation { .. }
            | Event::Sample { .. } => {}
        }
    }

    fn ready(self) {
        let resuming = self.link.try_update_value(|l| {
            l.ready = true;
            l.asked_for_saved = true;
            l.resuming
        });
        self.send(&Command::FindSaved, &[]);
        if resuming != Some(true) {
            self.load_model();
            self.load_data();
        }
    }

    /// The answer to the question about a saved run; without a question it is about a checkpoint, which the history
    /// notes.
    fn found_saved(self, run: Option<SavedRun>) {
        let (asked, resuming) = self
            .link
            .try_update_value(|l| (std::mem::take(&mut l.asked_for_saved), std::mem::take(&mut l.resuming)))
            .unwrap_or_default();
        if !asked {
            return;
        }
        self.found.set(run.clone());
        match (resuming, run) {
            (true, Some(run)) => {
                self.tell(format!("Restarting from step {}", units::grouped(run.step as u64)), "", None);
                self.continue_found();
                // Once is enough: an engine that fails at the same place again would fail for ever.
                self.link.update_value(|l| l.may_restart = false);
            }
            (true, None) => {
                let problem = Problem::new(ProblemKind::Storage, "the run was lost: it had no checkpoint yet");
                self.alert(problem.next("train again, with a checkpoint every few steps"), None);
                self.load_model();
                self.load_data();
            }
            (false, _) => {}
        }
    }
}

/// Whether the history of the run takes this in.
fn is_of_a_run(event: &Event) -> bool {
    matches!(
        event,
        Event::Begun { .. }
            | Event::Step(_)
            | Event::Importance { .. }
            | Event::Search(_)
            | Event::Validation { .. }
            | Event::Sample { .. }
            | Event::Saved { .. }
            | Event::Ended { .. }
    )
}
