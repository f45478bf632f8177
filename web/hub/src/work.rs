//! Does what commands say, one after the other.

use std::ops::ControlFlow;
use std::rc::Rc;

use futures::StreamExt;
use futures::channel::mpsc;
use stratune_hub::{Entry, Hub, Progress, RemoteFiles, Repository, Stage, Token};
use stratune_protocol::{HubCommand, HubEvent, HubId, HubReport, Problem};
use wasm_bindgen_futures::spawn_local;

use crate::fetch::Fetch;
use crate::{port, shelf};

/// Bytes between two reports of a download.
const TOLD: u64 = 1 << 20;

/// Listens, and does what commands say; a stop is heard at once.
pub fn start() {
    console_error_panic_hook::set_once();
    let fetch = Rc::new(Fetch::new());
    let (send, mut receive) = mpsc::unbounded();
    let stops = fetch.clone();
    port::listen(move |message| match message {
        Ok(HubCommand::Stop) => stops.stop(),
        // The receiver lives as long as the worker.
        Ok(command) => drop(send.unbounded_send(command)),
        Err(problem) => port::send(&HubEvent::Problem(problem), &[]),
    });
    spawn_local(async move {
        let mut work = Work { fetch, found: None };
        while let Some(command) = receive.next().await {
            work.fetch.go_on();
            if let Err(problem) = work.handle(command).await {
                port::send(&HubEvent::Problem(problem), &[]);
            }
        }
    });
}

/// What was looked up last.
struct Found {
    hub: Hub,
    report: HubReport,
    remote: RemoteFiles,
}

struct Work {
    fetch: Rc<Fetch>,
    found: Option<Found>,
}

impl Work {
    async fn handle(&mut self, command: HubCommand) -> Result<(), Problem> {
        match command {
            HubCommand::List => self.list().await,
            HubCommand::Look { endpoint, token, name, dataset } => self.look(&endpoint, &token, &name, dataset).await,
            HubCommand::Fetch => self.download().await,
            HubCommand::Open { name } => hand_out(&name).await,
            HubCommand::Remove { name } => {
                shelf::remove(&name).await?;
                self.list().await
            }
            // Heard at once, before there is a line to stand in.
            HubCommand::Stop => Ok(()),
        }
    }

    async fn list(&self) -> Result<(), Problem> {
        port::send(&HubEvent::Kept(shelf::kept().await?), &[]);
        Ok(())
    }

    async fn look(&mut self, endpoint: &str, token: &str, name: &str, dataset: bool) -> Result<(), Problem> {
        self.found = None;
        let hub = Hub::new(self.fetch.clone(), endpoint, Token::new(token)?)?;
        let read = if dataset { HubId::read_dataset(name) } else { HubId::read(name) };
        let id = read.unwrap_or_else(|| {
            Err(Problem::input(format!("'{name:.80}' is not the name of anything on the hub"))
                .next("use owner/name, or the address of its page"))
        })?;
        let fetch = self.fetch.clone();
        let mut watch = |progress: &Progress| {
            tell(progress);
            go_on(&fetch)
        };
        let (mut report, remote) = match dataset {
            false => {
                // An index of weights is small, and looked at again.
                let known = |_: &Repository, _: &Entry| None;
                let model = hub.model(&id, &known, &mut watch).await?;
                let report = HubReport {
                    name: model.pinned().to_string(),
                    gguf: model.is_gguf(),
                    licence: model.licence.unwrap_or_default(),
                    gated: model.gated,
                    family: model.family.unwrap_or_default(),
                    parameters: model.parameters,
                    ..HubReport::default()
                };
                (report, model.remote)
            }
            true => {
                let rows = hub.dataset(&id, &mut watch).await?;
                let report = HubReport {
                    name: rows.pinned().to_string(),
                    dataset,
                    licence: rows.licence.unwrap_or_default(),
                    gated: rows.gated,
                    others: rows.others,
                    ..HubReport::default()
                };
                (report, rows.remote)
            }
        };
        report.repository = remote.repository.id.clone();
        report.host = hub.host().into();
        report.bytes = remote.bytes;
        report.missing = remote.bytes.saturating_sub(shelf::there(&report.name).await?);
        port::send(&HubEvent::Found(report.clone()), &[]);
        self.found = Some(Found { hub, report, remote });
        Ok(())
    }

    async fn download(&mut self) -> Result<(), Problem> {
        let Some(Found { hub, report, remote }) = &self.found else {
            return Err(Problem::input("nothing was looked up").next("look a model up first"));
        };
        shelf::check_room(report.missing).await?;
        let mut shelf = shelf::Shelf::open(&report.name, report.dataset, remote).await?;
        let mut before = 0;
        for entry in &remote.files {
            if !shelf.has(entry).await? {
                let mut part = shelf.part(entry).await?;
                let mut told = None;
                let mut watch = |stage: Stage, done: u64| {
                    // Pieces are small and many.
                    let now = (done / TOLD, stage.clone());
                    if told.as_ref() != Some(&now) {
                        let (file, done, total) = (entry.path.clone(), before + done, remote.bytes);
                        tell(&Progress { file, stage, done, total });
                        told = Some(now);
                    }
                    go_on(&self.fetch)
                };
                let fetched = hub.fetch_file(remote, entry, &mut part, &mut watch).await;
                let flushed = part.0.flush();
                drop(part);
                fetched?;
                flushed?;
                shelf.is_whole(entry).await?;
            }
            before += entry.size;
        }
        self.list().await?;
        hand_out(&report.name).await
    }
}

/// Gives the page the files of something kept.
async fn hand_out(name: &str) -> Result<(), Problem> {
    let (dataset, assets, files) = shelf::files(name).await?;
    port::send(&HubEvent::Files { name: name.into(), dataset, files: assets }, &files);
    Ok(())
}

fn go_on(fetch: &Fetch) -> ControlFlow<()> {
    if fetch.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn tell(Progress { file, stage, done, total }: &Progress) {
    let what = match stage {
        Stage::Fetching => format!("fetching {file}"),
        Stage::Checking => format!("checking {file}"),
        Stage::Waiting(seconds, why) => format!("{why}; again in {seconds} s"),
    };
    port::send(&HubEvent::Progress { what, done: *done, total: *total }, &[]);
}
