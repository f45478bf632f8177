//! Models and datasets by their id on the Hugging Face hub: said before they are fetched, and kept in the cache that all tools
//! share.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stratune_hub::{Cache, HttpTransport, Hub, Progress, RemoteDataset, RemoteFiles, RemoteModel, Settings, Stage};
use stratune_protocol::{Bytes, DataConfig, HubId, Problem, ProblemKind};
use stratune_session::STARTER;
use stratune_train::Event;

use crate::report;

/// The name that a run keeps of a model: of one on the hub its id with the commit, after it has been fetched; any other name as
/// it is. A path that exists is never an id.
///
/// # Errors
/// The model is not to be had.
pub async fn fetched(model: &str, json: bool) -> Result<String, Problem> {
    match id(model)? {
        Some(id) => Ok(fetch(&id, json).await?.to_string()),
        None => Ok(model.into()),
    }
}

/// Where a model is: a path as it is, or the place in the cache of one that [`fetched`] has named.
///
/// # Errors
/// It is no path, and not in the cache.
pub fn path(model: &str) -> Result<PathBuf, Problem> {
    match id(model)? {
        Some(id) => Ok(Cache::new(Settings::from_environment()?.cache).kept(&id)?.path),
        None => Ok(model.into()),
    }
}

/// Fetches the datasets among the names of data files, and names them by their commit; other names stay as they are.
///
/// # Errors
/// A dataset is not to be had.
pub async fn fetch_data(data: &mut DataConfig, json: bool) -> Result<(), Problem> {
    for name in data.files.iter_mut().chain(&mut data.validation_files) {
        if let Some(id) = dataset_id(name)? {
            *name = fetch_rows(&id, json).await?.to_string();
        }
    }
    Ok(())
}

/// The files of a dataset that [`fetch_data`] has named, each with what it is called; none if the name is no id.
///
/// # Errors
/// It is not in the cache.
pub fn data_files(name: &str) -> Result<Option<Vec<(String, PathBuf)>>, Problem> {
    match dataset_id(name)? {
        Some(id) => Ok(Some(Cache::new(Settings::from_environment()?.cache).kept_rows(&id)?.files)),
        None => Ok(None),
    }
}

/// The id of a dataset that a name is, if nothing on disk is called so.
fn dataset_id(name: &str) -> Result<Option<HubId>, Problem> {
    if Path::new(name).exists() { Ok(None) } else { HubId::read_dataset(name).transpose() }
}

/// Whether a name is an id, and nothing on disk is called so.
pub fn is_id(model: &str) -> bool {
    matches!(id(model), Ok(Some(_)))
}

/// The id that a name is, if nothing on disk is called so.
fn id(model: &str) -> Result<Option<HubId>, Problem> {
    if model == STARTER || Path::new(model).exists() {
        return Ok(None);
    }
    match HubId::read(model) {
        Some(id) => id.map(Some),
        None => Err(Problem::input("there is no such file or folder, and it is no model's id").at(model).next(
            "check the path; a model of the hub is named owner/name, owner/name@revision or by the address of its page",
        )),
    }
}

async fn fetch(id: &HubId, json: bool) -> Result<HubId, Problem> {
    let settings = Settings::from_environment()?;
    let cache = Cache::new(&settings.cache);
    if settings.offline {
        return Ok(used(cache.kept(id)?.pinned, "HF_HUB_OFFLINE is set", json));
    }
    let hub = Hub::new(Rc::new(HttpTransport::new()), &settings.endpoint, settings.token)?;
    let bar = Bar::new(json);
    let mut watch = |progress: &Progress| {
        bar.show(progress);
        ControlFlow::Continue(())
    };
    let looked = hub.model(id, &|repository, entry| cache.bytes(repository, entry), &mut watch).await;
    let model = match or_kept(looked, || Ok(cache.kept(id)?.pinned), id, json)? {
        Found::Remote(model) => model,
        Found::Kept(pinned) => return Ok(pinned),
    };
    bar.clear();
    say(&hub, &cache, &model.remote, &of_model(&model), json);
    cache.fetch(&hub, &model.remote, &mut watch).await?;
    bar.clear();
    Ok(model.pinned())
}

async fn fetch_rows(id: &HubId, json: bool) -> Result<HubId, Problem> {
    let settings = Settings::from_environment()?;
    let cache = Cache::new(&settings.cache);
    if settings.offline {
        return Ok(used(cache.kept_rows(id)?.pinned, "HF_HUB_OFFLINE is set", json));
    }
    let hub = Hub::new(Rc::new(HttpTransport::new()), &settings.endpoint, settings.token)?;
    let bar = Bar::new(json);
    let mut watch = |progress: &Progress| {
        bar.show(progress);
        ControlFlow::Continue(())
    };
    let looked = hub.dataset(id, &mut watch).await;
    let rows = match or_kept(looked, || Ok(cache.kept_rows(id)?.pinned), id, json)? {
        Found::Remote(rows) => rows,
        Found::Kept(pinned) => return Ok(pinned),
    };
    bar.clear();
    say(&hub, &cache, &rows.remote, &of_rows(&rows), json);
    cache.fetch(&hub, &rows.remote, &mut watch).await?;
    bar.clear();
    Ok(rows.pinned())
}

/// What is fetched from the hub, or is taken from the cache.
enum Found<T> {
    Remote(T),
    Kept(HubId),
}

/// What the hub has said; without a connection what was fetched before, which is as good as ever.
fn or_kept<T>(
    looked: Result<T, Problem>,
    kept: impl Fn() -> Result<HubId, Problem>,
    id: &HubId,
    json: bool,
) -> Result<Found<T>, Problem> {
    let problem = match looked {
        Ok(found) => return Ok(Found::Remote(found)),
        Err(problem) => problem,
    };
    match kept() {
        Ok(pinned) if problem.kind == ProblemKind::Network => Ok(Found::Kept(used(pinned, &problem.what, json))),
        Ok(_) | Err(_) => Err(neither(id, problem)),
    }
}

/// A name that is an id could have been meant as a path.
fn neither(id: &HubId, problem: Problem) -> Problem {
    let what = format!("{} (and there is no file or folder of that name here)", problem.what);
    // An address is no path.
    if id.repository.contains('/') { Problem { what, ..problem } } else { problem }
}

/// Says that something is taken from the cache, and why the hub was not asked.
fn used(pinned: HubId, why: &str, json: bool) -> HubId {
    notice(json, format!("{pinned} is taken from the cache: {why}"));
    pinned
}

/// What a model is: its family, size and terms.
fn of_model(model: &RemoteModel) -> String {
    let family = model.family.as_deref().map(|family| format!(" · {family}")).unwrap_or_default();
    let parameters = model.parameters.map(|n| format!(" · {:.1} M parameters", n as f64 / 1e6)).unwrap_or_default();
    format!("{family}{parameters} · {}", terms(model.licence.as_deref(), model.gated))
}

/// What rows are: which of the dataset, and under which terms.
fn of_rows(rows: &RemoteDataset) -> String {
    let name = rows.id.file.as_deref().unwrap_or_default();
    let partial = if rows.partial { ", the first 5 GB of them, which the hub has converted" } else { "" };
    let others = match rows.others.len() {
        0 => String::new(),
        1..=8 => format!(" (others: {})", rows.others.join(", ")),
        count => format!(" (others: {} and {} more)", rows.others[..8].join(", "), count - 8),
    };
    format!(" · rows {name}{partial}{others} · {}", terms(rows.licence.as_deref(), rows.gated))
}

fn terms(licence: Option<&str>, gated: bool) -> String {
    let licence = licence.map_or("no licence named".to_string(), |name| format!("licence {name}"));
    format!("{licence}{}", if gated { ", gated" } else { "" })
}

/// Says what is to come: from where, how much, under which licence.
fn say(hub: &Hub, cache: &Cache, remote: &RemoteFiles, about: &str, json: bool) {
    let commit = remote.commit.get(..8).unwrap_or_default();
    let files = match remote.files.len() {
        1 => "1 file".to_string(),
        count => format!("{count} files"),
    };
    let from = match cache.missing(remote) {
        0 => format!("{files}, all in the cache"),
        missing => format!(
            "fetching {} of {} in {files} from {} into {}",
            Bytes(missing),
            Bytes(remote.bytes),
            hub.host(),
            cache.root().display()
        ),
    };
    let what = format!("{} at {} ({commit}){about}", remote.repository.id, remote.revision);
    if json {
        report::event(&Event::Notice { text: format!("{what}; {from}") });
    } else {
        eprintln!("hub      {what}");
        eprintln!("         {from}");
    }
}

fn notice(json: bool, text: String) {
    if json {
        report::event(&Event::Notice { text });
    } else {
        eprintln!("hub      {text}");
    }
}

/// How far a download has come: a bar on a terminal, or events, one for each hundredth.
struct Bar {
    bar: ProgressBar,
    json: bool,
    told: std::cell::Cell<Option<(u64, u64)>>,
}

impl Bar {
    fn new(json: bool) -> Self {
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, json, told: std::cell::Cell::new(None) }
    }

    fn show(&self, progress: &Progress) {
        let Progress { file, stage, done, total } = progress;
        let what = match stage {
            Stage::Fetching => format!("fetching {file}"),
            Stage::Checking => format!("checking {file}"),
            Stage::Waiting(seconds, why) => format!("{why}; again in {seconds} s"),
        };
        if !self.json {
            self.bar.set_length(*total);
            self.bar.set_position(*done);
            self.bar.set_message(what);
            return;
        }
        let hundredth = |done: u64| done.saturating_mul(100).checked_div(*total).unwrap_or(0);
        let now = Some((hundredth(*done), *total));
        if self.told.replace(now) != now {
            report::event(&Event::Progress { what, done: *done, total: *total });
        }
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
        self.bar.reset();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_path_and_a_word_is_no_id() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().to_str().unwrap();
        for name in [STARTER, there, "src/commands"] {
            assert_eq!(id(name).unwrap(), None, "{name}");
        }
        assert_eq!(id("owner/name@main").unwrap().unwrap().repository, "owner/name");
        for name in ["gpt2", "no/such/folder", "./no", "models/none.gguf"] {
            let problem = id(name).unwrap_err();
            assert!(problem.what.contains("no such file or folder, and it is no model's id"), "{name}: {problem:?}");
        }
        assert!(id("owner/no--name").unwrap_err().what.contains("not the name of a repository"));
    }
}
