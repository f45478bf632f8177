//! What a reload goes on with: the saved run's checkpoint and log, and copies of the files of its model and data. Those of a run
//! to come are kept under other names, beside those of the run that is saved, until its own first checkpoint is safe.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use stratune_protocol::Problem;
use stratune_store::{Checkpoint, EventLog, Folder};

use crate::Assets;

/// The names of copies and logs; there is a second of each.
const MODEL: &str = "model";
const DATA: &str = "data";
const EVENTS: &str = "events";

/// Where a checkpoint says under which names its run is kept.
const FIELD: &str = "files";

/// Files that something was read from.
#[derive(Clone)]
pub(crate) struct Source {
    /// The files.
    pub folder: Rc<dyn Folder>,
    /// The name of the copy that there is of them.
    copy: Option<String>,
    /// Whether they are that copy: as long as they are in use it must not be dropped.
    is_copy: bool,
}

impl Source {
    /// What a person chose.
    pub fn chosen(folder: Option<Rc<dyn Folder>>) -> Option<Self> {
        folder.map(|folder| Self { folder, copy: None, is_copy: false })
    }

    fn in_use(source: Option<&Self>) -> Option<&str> {
        source.filter(|source| source.is_copy)?.copy.as_deref()
    }
}

/// The names under which a run is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Its model's copy; none of what is built in.
    pub model: Option<String>,
    /// Its data's.
    pub data: Option<String>,
    /// Its log.
    pub events: String,
}

impl Place {
    /// Where a checkpoint's run is kept. Earlier versions had one name of each, and did not write it.
    fn of(checkpoint: &Checkpoint) -> Self {
        let first = || Self { model: Some(MODEL.into()), data: Some(DATA.into()), events: EVENTS.into() };
        serde_json::from_value(checkpoint.meta[FIELD].clone()).unwrap_or_else(|_| first())
    }

    /// What a checkpoint is to say of it.
    pub fn in_checkpoint(&self) -> serde_json::Value {
        serde_json::json!({ FIELD: self })
    }
}

/// The first name, or the second if the first is taken.
fn free(first: &str, taken: Option<&str>) -> String {
    if taken == Some(first) { second(first) } else { first.into() }
}

fn second(first: &str) -> String {
    format!("{first}-2")
}

/// The storage of runs.
pub(crate) struct Copies {
    assets: Rc<dyn Assets>,
    /// Checkpoints and logs.
    pub checkpoints: Rc<dyn EventLog>,
    /// Where the run is that is saved, if there is one; unknown until somebody has looked.
    saved: Option<Option<Place>>,
}

impl Copies {
    pub fn new(assets: Rc<dyn Assets>, checkpoints: Rc<dyn EventLog>) -> Self {
        Self { assets, checkpoints, saved: None }
    }

    /// The checkpoint of the run that is saved.
    ///
    /// # Errors
    /// It is damaged, or the storage fails.
    pub async fn checkpoint(&mut self) -> Result<Option<(Checkpoint, Place)>, Problem> {
        let found = self.checkpoints.load().await?.map(|checkpoint| {
            let place = Place::of(&checkpoint);
            (checkpoint, place)
        });
        self.saved = Some(found.as_ref().map(|(_, place)| place.clone()));
        Ok(found)
    }

    /// The copy of a run's files that is kept under a name.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn source(&self, name: Option<&str>) -> Result<Option<Source>, Problem> {
        let Some(name) = name else { return Ok(None) };
        Ok(Some(Source { folder: self.assets.kept(name).await?, copy: Some(name.into()), is_copy: true }))
    }

    /// Copies the files that have no copy yet, for a run to come. What is saved stays as it is.
    ///
    /// # Errors
    /// The storage fails; then nothing of it is left.
    pub async fn make(&mut self, model: Option<&mut Source>, data: Option<&mut Source>) -> Result<Place, Problem> {
        if self.saved.is_none() {
            // A damaged one is written over, as by any save.
            self.saved = Some(self.checkpoint().await.ok().flatten().map(|(_, place)| place));
        }
        let saved = self.saved.clone().flatten();
        let of = |name: fn(&Place) -> Option<&str>| saved.as_ref().and_then(name);
        let model = self.copied(model, free(MODEL, of(|place| place.model.as_deref()))).await?;
        let data = self.copied(data, free(DATA, of(|place| place.data.as_deref()))).await?;
        Ok(Place { model, data, events: free(EVENTS, of(|place| Some(place.events.as_str()))) })
    }

    async fn copied(&self, source: Option<&mut Source>, name: String) -> Result<Option<String>, Problem> {
        let Some(source) = source else { return Ok(None) };
        if source.copy.is_none() {
            // What a run that came to nothing has left there.
            self.assets.forget(&name).await?;
            if let Err(problem) = self.assets.keep(&name, source.folder.as_ref()).await {
                // A part of a model is of no use. If that cannot be dropped either, it is dropped by the next.
                let _ = self.assets.forget(&name).await;
                return Err(problem);
            }
            source.copy = Some(name);
        }
        Ok(source.copy.clone())
    }

    /// Drops what is kept of the run that is saved and not of the one at `place`: to be awaited when that one's first
    /// checkpoint is safe.
    pub fn drop_replaced(&self, place: &Place) -> LocalBoxFuture<'static, ()> {
        let saved = self.saved.clone().flatten();
        let gone = |name: fn(&Place) -> Option<&str>| {
            let name = name(saved.as_ref()?).filter(|there| name(place) != Some(*there));
            name.map(ToString::to_string)
        };
        let copies = [gone(|place| place.model.as_deref()), gone(|place| place.data.as_deref())];
        let log = gone(|place| Some(place.events.as_str()));
        let (assets, checkpoints) = (self.assets.clone(), self.checkpoints.clone());
        Box::pin(async move {
            // What cannot be dropped now is dropped when its name is needed.
            for name in copies.into_iter().flatten() {
                let _ = assets.forget(&name).await;
            }
            if let Some(log) = log {
                let _ = checkpoints.erase(&log).await;
            }
        })
    }

    /// Takes notice that the run at `place` is the one that is saved.
    pub fn is_saved(&mut self, place: Place) {
        self.saved = Some(Some(place));
    }

    /// Drops the run that is saved, and every copy but those that the loaded model or data are read from.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn discard(&mut self, model: Option<&mut Source>, data: Option<&mut Source>) -> Result<(), Problem> {
        self.checkpoints.clear().await?;
        self.saved = Some(None);
        let used = [Source::in_use(model.as_deref()), Source::in_use(data.as_deref())].map(|u| u.map(str::to_string));
        for name in [MODEL, DATA].into_iter().flat_map(|first| [first.to_string(), second(first)]) {
            if !used.contains(&Some(name.clone())) {
                self.assets.forget(&name).await?;
            }
        }
        for source in [model, data].into_iter().flatten().filter(|source| !source.is_copy) {
            source.copy = None;
        }
        for log in [EVENTS.to_string(), second(EVENTS)] {
            self.checkpoints.erase(&log).await?;
        }
        Ok(())
    }
}
