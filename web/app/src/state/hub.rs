//! What the page knows of the Hugging Face hub: what was looked up, what comes, what is kept. Nothing is asked of it until a
//! person presses a button for that.

use leptos::prelude::*;
use stratune_protocol::{HubCommand, HubEvent, HubReport, KeptFiles, Problem, ProblemKind};

use super::notices::Notices;
use super::run::Run;
use crate::bridge::browser;
use crate::bridge::files::Picked;
use crate::bridge::hub::{Heard, HubWorker};

/// Under which key a token is remembered, if a person wants that.
const TOKEN: &str = "hub-token";

/// How far a download has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Download {
    /// What is being done.
    pub what: String,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes of all; 0 while they are not known.
    pub total: u64,
    /// When it was first heard of, in milliseconds, and the bytes that were there then.
    since: Option<(f64, u64)>,
}

impl Download {
    /// The same, further.
    fn at(&self, now: f64, what: String, done: u64, total: u64) -> Self {
        // While it is looked up there is nothing to be measured.
        let since = if total == 0 { None } else { self.since.or(Some((now, done))) };
        Self { what, done, total, since }
    }

    /// Bytes a second, once they can be told.
    pub fn rate(&self, now: f64) -> Option<f64> {
        let (begun, there) = self.since?;
        let seconds = (now - begun) / 1000.0;
        (seconds > 1.0 && self.done > there).then(|| (self.done - there) as f64 / seconds)
    }

    /// Seconds that are left, as it goes.
    pub fn left(&self, now: f64) -> Option<f64> {
        Some(self.total.saturating_sub(self.done) as f64 / self.rate(now)?)
    }
}

/// The hub as the page sees it. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Hub {
    /// What was looked up last.
    pub report: RwSignal<Option<HubReport>>,
    /// What is under way.
    pub download: RwSignal<Option<Download>>,
    /// What is kept in the browser's storage.
    pub kept: RwSignal<Vec<KeptFiles>>,
    /// The token, in memory alone unless it is to be remembered.
    pub token: RwSignal<String>,
    /// Whether it is remembered on this machine.
    pub remembers: RwSignal<bool>,
    worker: StoredValue<Option<HubWorker>, LocalStorage>,
    up: StoredValue<bool>,
    waiting: StoredValue<Vec<HubCommand>>,
}

impl Hub {
    /// Of a page that has just been opened.
    pub fn new() -> Self {
        let token = browser::remembered(TOKEN);
        Self {
            report: RwSignal::default(),
            download: RwSignal::default(),
            kept: RwSignal::default(),
            remembers: RwSignal::new(token.is_some()),
            token: RwSignal::new(token.unwrap_or_default()),
            worker: StoredValue::new_local(None),
            up: StoredValue::new(false),
            waiting: StoredValue::new(Vec::new()),
        }
    }

    /// Remembers the token, or forgets it.
    pub fn keep_token(self) {
        let token = self.token.get_untracked();
        let kept = self.remembers.get_untracked() && !token.is_empty();
        browser::remember(TOKEN, kept.then_some(token.as_str()));
    }
}

impl Run {
    /// Asks the hub what a name is; nothing of weights or rows is fetched.
    pub fn look_up(self, name: String, dataset: bool) {
        self.notices.update(Notices::clear_alerts);
        self.hub.report.set(None);
        let (endpoint, token) = (browser::hub(), self.hub.token.get_untracked());
        let what = format!("asking about {name}");
        self.hub.download.set(Some(Download { what, ..Download::default() }));
        self.ask_hub(HubCommand::Look { endpoint, token, name: name.trim().into(), dataset });
    }

    /// Fetches what was looked up.
    pub fn fetch(self) {
        self.notices.update(Notices::clear_alerts);
        // What is kept is not to go when the disk is short of space. A browser that says no keeps it all the same, for a while.
        browser::keep_storage();
        self.hub.download.set(Some(Download::default()));
        self.ask_hub(HubCommand::Fetch);
    }

    /// Ends what is asked or fetched; what has come is kept.
    pub fn stop_download(self) {
        self.ask_hub(HubCommand::Stop);
    }

    /// Has the list of what is kept brought up to date.
    pub fn list_kept(self) {
        self.ask_hub(HubCommand::List);
    }

    /// Takes something kept.
    pub fn open_kept(self, name: String) {
        self.ask_hub(HubCommand::Open { name });
    }

    /// Removes something kept.
    pub fn remove_kept(self, name: String) {
        self.ask_hub(HubCommand::Remove { name });
    }

    fn ask_hub(self, command: HubCommand) {
        if self.hub.worker.with_value(Option::is_none) {
            match HubWorker::start(move |heard| self.hear_hub(heard)) {
                Ok(worker) => self.hub.worker.set_value(Some(worker)),
                Err(problem) => return self.hub_failed(problem),
            }
        }
        if !self.hub.up.get_value() {
            return self.hub.waiting.update_value(|waiting| waiting.push(command));
        }
        let sent = self.hub.worker.with_value(|worker| worker.as_ref().map(|worker| worker.send(&command)));
        if let Some(Err(problem)) = sent {
            self.hub_failed(problem);
        }
    }

    fn hear_hub(self, heard: Heard) {
        match heard {
            Heard::Up => {
                self.hub.up.set_value(true);
                let waiting = self.hub.waiting.try_update_value(std::mem::take).unwrap_or_default();
                waiting.into_iter().for_each(|command| self.ask_hub(command));
            }
            Heard::Event(event, files) => self.react_to_hub(event, files),
            Heard::Died(reason) => {
                self.hub.up.set_value(false);
                let problem = Problem::new(ProblemKind::Internal, format!("the hub's worker stopped: {reason}"));
                self.hub_failed(problem.next("try again: what has come is kept"));
                // Not while it is being heard.
                set_timeout(move || self.hub.worker.set_value(None), std::time::Duration::ZERO);
            }
        }
    }

    fn react_to_hub(self, event: HubEvent, files: Vec<Picked>) {
        match event {
            HubEvent::Found(report) => {
                self.hub.download.set(None);
                self.hub.report.set(Some(report));
            }
            HubEvent::Progress { what, done, total } => self.hub.download.update(|download| {
                *download = download.as_ref().map(|download| download.at(browser::now(), what, done, total));
            }),
            HubEvent::Kept(kept) => self.hub.kept.set(kept),
            HubEvent::Files { name, dataset, .. } => {
                self.hub.download.set(None);
                self.hub.report.set(None);
                if dataset {
                    let file = |p: Picked| Picked { path: file_of_rows(&name, &p.path), ..p };
                    self.choose_data(files.into_iter().map(file).collect());
                } else {
                    self.choose_kept_model(name, files);
                }
            }
            HubEvent::Problem(problem) if problem.kind == ProblemKind::Stopped => {
                self.hub.download.set(None);
                self.list_kept();
            }
            HubEvent::Problem(problem) => self.hub_failed(problem),
        }
    }

    fn hub_failed(self, problem: Problem) {
        self.hub.download.set(None);
        self.alert(problem, None);
    }
}

/// What a file of a dataset is called among the data: `owner-name-default-train-0000.parquet`.
fn file_of_rows(name: &str, file: &str) -> String {
    let (repository, rest) = name.split_once('@').unwrap_or((name, ""));
    let part = rest.split_once(':').map_or("", |(_, part)| part).trim_end_matches(file);
    let parts = [repository, part.trim_end_matches('/'), file];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_rows_say_of_what_they_are() {
        for (name, file, called) in [
            ("o/n@c:default/train", "0000.parquet", "o-n-default-train-0000.parquet"),
            ("o/n@c:data/rows.jsonl", "rows.jsonl", "o-n-data-rows.jsonl"),
            ("o/n@c:rows.jsonl", "rows.jsonl", "o-n-rows.jsonl"),
        ] {
            assert_eq!(file_of_rows(name, file), called);
        }
    }

    #[test]
    fn rate_and_time_left() {
        let download = Download::default().at(0.0, "asking".into(), 0, 0);
        assert_eq!(download.rate(5000.0), None, "nothing has come");
        // What was there before is not counted.
        let first = download.at(10_000.0, "fetching".into(), 500, 2000);
        assert_eq!((first.rate(10_500.0), first.left(10_500.0)), (None, None));
        let then = first.at(15_000.0, "fetching".into(), 1000, 2000);
        assert_eq!((then.rate(15_000.0), then.left(15_000.0)), (Some(100.0), Some(10.0)));
    }
}
