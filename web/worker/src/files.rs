//! The engine's own files: the starter model from the page's origin, and the interrupted run's in the browser's storage.

use std::borrow::Cow;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use js_sys::{ArrayBuffer, Uint8Array};
use stratune_protocol::{Problem, ProblemKind};
use stratune_session::{Assets, STARTER};
use stratune_store::{BrowserFolder, Folder, MemoryFolder, OpfsFiles};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{DedicatedWorkerGlobalScope, Response, Url};

const STARTER_FILES: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/// The engine's own files.
pub struct OwnFiles;

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
            let copies = directory(name).await?;
            for file in folder.names() {
                copies.put_from(&file, folder).await?;
            }
            Ok(())
        })
    }

    fn kept<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Rc<dyn Folder>, Problem>> {
        Box::pin(async move {
            let copies = directory(name).await?;
            let mut files = Vec::new();
            for file in copies.names().await? {
                if let Some(bytes) = copies.file(&file).await? {
                    files.push((file, bytes));
                }
            }
            Ok(Rc::new(BrowserFolder::new(name, files)) as Rc<dyn Folder>)
        })
    }

    fn forget<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let copies = directory(name).await?;
            for file in copies.names().await? {
                copies.remove(&file).await?;
            }
            Ok(())
        })
    }
}

async fn directory(name: &str) -> Result<OpfsFiles, Problem> {
    OpfsFiles::open(&format!("run-{name}")).await
}

/// A file beside the page. Its address is the worker's name: the worker's own is that of a blob.
async fn fetch(path: &str) -> Result<Vec<u8>, Problem> {
    let failed = |why: String| {
        Problem::new(ProblemKind::Storage, format!("{path} cannot be loaded: {why}"))
            .next("check the connection and reload the page")
    };
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let address = Url::new_with_base(path, &scope.name()).map_err(|e| failed(format!("{e:?}")))?.href();
    let response = JsFuture::from(scope.fetch_with_str(&address)).await.map_err(|e| failed(format!("{e:?}")))?;
    let response: Response = response.unchecked_into();
    if !response.ok() {
        return Err(failed(format!("the server answers {}", response.status())));
    }
    let buffer = response.array_buffer().map_err(|e| failed(format!("{e:?}")))?;
    let buffer: ArrayBuffer = JsFuture::from(buffer).await.map_err(|e| failed(format!("{e:?}")))?.unchecked_into();
    Ok(Uint8Array::new(&buffer).to_vec())
}
