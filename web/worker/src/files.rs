//! The engine's own files: the starter model from the page's origin, and the interrupted run in the browser's storage.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::BufWriter;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use js_sys::{ArrayBuffer, Uint8Array};
use stratune_protocol::{DataFormat, Problem, ProblemKind};
use stratune_session::{Assets, Outgoing, STARTER};
use stratune_store::{
    BrowserFolder, Checkpoint, CheckpointStore, EventLog, Folder, MemoryFolder, OpfsCheckpoints, OpfsFiles,
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DedicatedWorkerGlobalScope, Response, Url};

use crate::{lock, unpack};

const STARTER_FILES: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/// The browser directory of the run's checkpoints.
const CHECKPOINTS: &str = "run-checkpoints";

/// What was taken away last.
const OUTGOING: &str = "outgoing";

/// The engine's own files. The storage is opened when it is first needed, and asked for again by a run for which it was not
/// to be had before.
#[derive(Default)]
pub struct OwnFiles {
    checkpoints: RefCell<Option<Rc<OpfsCheckpoints>>>,
}

impl OwnFiles {
    /// The place of checkpoints, for this tab alone.
    async fn storage(&self) -> Result<Rc<OpfsCheckpoints>, Problem> {
        if let Some(checkpoints) = self.checkpoints.borrow().as_ref() {
            return Ok(checkpoints.clone());
        }
        if !lock::take().await {
            let what = "another tab of this page keeps its run in the browser's storage";
            return Err(Problem::new(ProblemKind::Storage, what).next("close the other tab and train again"));
        }
        let checkpoints = Rc::new(OpfsCheckpoints::open(CHECKPOINTS).await?);
        *self.checkpoints.borrow_mut() = Some(checkpoints.clone());
        Ok(checkpoints)
    }

    /// A directory of copies, for this tab alone.
    async fn directory(&self, name: &str) -> Result<OpfsFiles, Problem> {
        self.storage().await?;
        OpfsFiles::open(&format!("run-{name}")).await
    }
}

impl CheckpointStore for OwnFiles {
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.storage().await?.save(checkpoint).await })
    }

    /// Where there is no storage there is no run in it: that is said when a run would be saved there.
    fn load<'a>(&'a self) -> LocalBoxFuture<'a, Result<Option<Checkpoint>, Problem>> {
        Box::pin(async move {
            match self.storage().await {
                Ok(checkpoints) => checkpoints.load().await,
                Err(_) => Ok(None),
            }
        })
    }

    fn clear<'a>(&'a self) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.storage().await?.clear().await })
    }
}

impl EventLog for OwnFiles {
    fn append<'a>(&'a self, log: &'a str, lines: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.storage().await?.append(log, lines).await })
    }

    fn lines<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<String, Problem>> {
        Box::pin(async move { self.storage().await?.lines(log).await })
    }

    fn erase<'a>(&'a self, log: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.storage().await?.erase(log).await })
    }
}

impl Assets for OwnFiles {
    fn starter(&self) -> LocalBoxFuture<'_, Result<Rc<dyn Folder>, Problem>> {
        Box::pin(async {
            let mut files = Vec::new();
            for name in STARTER_FILES {
                files.push((name.to_string(), Cow::Owned(fetch(&format!("./starter/{name}")).await?)));
            }
            Ok(Rc::new(MemoryFolder::new(STARTER, files)) as Rc<dyn Folder>)
        })
    }

    fn keep<'a>(&'a self, name: &'a str, folder: &'a dyn Folder) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let copies = self.directory(name).await?;
            for file in folder.names() {
                copies.put_from(&file, folder).await?;
            }
            Ok(())
        })
    }

    fn kept<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Rc<dyn Folder>, Problem>> {
        Box::pin(async move {
            let copies = self.directory(name).await?;
            let mut files = Vec::new();
            for file in copies.names().await? {
                if let Some(bytes) = copies.file(&file).await? {
                    files.push((file, bytes));
                }
            }
            Ok(Rc::new(BrowserFolder::new(name, files)) as Rc<dyn Folder>)
        })
    }

    fn outgoing<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Outgoing, Problem>> {
        Box::pin(async move {
            let files = self.directory(OUTGOING).await?;
            for before in files.names().await? {
                files.remove(&before).await?;
            }
            let file = BufWriter::with_capacity(1 << 20, files.writer(name).await?);
            Ok(Outgoing { file: Box::new(file), stored: [format!("run-{OUTGOING}"), name.into()] })
        })
    }

    fn forget<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let copies = self.directory(name).await?;
            for file in copies.names().await? {
                copies.remove(&file).await?;
            }
            Ok(())
        })
    }

    fn unpacked<'a>(
        &'a self,
        name: &'a str,
        bytes: Vec<u8>,
        format: DataFormat,
    ) -> LocalBoxFuture<'a, Result<Vec<u8>, Problem>> {
        Box::pin(unpack::unpacked(name, bytes, format))
    }
}

/// The address of a file beside the page, whose own is the worker's name: the worker's is that of a blob.
pub fn beside_page(path: &str) -> Result<String, JsValue> {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    Ok(Url::new_with_base(path, &scope.name())?.href())
}

/// A file beside the page.
async fn fetch(path: &str) -> Result<Vec<u8>, Problem> {
    let failed = |why: String| {
        Problem::new(ProblemKind::Storage, format!("{path} cannot be loaded: {why}"))
            .next("check the connection and reload the page")
    };
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let address = beside_page(path).map_err(|e| failed(format!("{e:?}")))?;
    let response = JsFuture::from(scope.fetch_with_str(&address)).await.map_err(|e| failed(format!("{e:?}")))?;
    let response: Response = response.unchecked_into();
    if !response.ok() {
        return Err(failed(format!("the server answers {}", response.status())));
    }
    let buffer = response.array_buffer().map_err(|e| failed(format!("{e:?}")))?;
    let buffer: ArrayBuffer = JsFuture::from(buffer).await.map_err(|e| failed(format!("{e:?}")))?.unchecked_into();
    Ok(Uint8Array::new(&buffer).to_vec())
}
