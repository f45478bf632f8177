//! What an engine is given by the page's worker: where events go, and the files it lives with.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use stratune_protocol::{DataFormat, Problem};
use stratune_store::{Folder, WriteSeek};
use stratune_train::Event;

/// Where an engine's events go.
pub trait Outbox {
    /// Sends an event, and the bytes of a file beside it.
    fn send(&self, event: &Event, bytes: Option<Vec<u8>>);
}

/// The files an engine lives with: the built-in model, the files of the run that would have to survive a reload, and what
/// packed files hold.
pub trait Assets {
    /// The built-in model's folder.
    fn starter(&self) -> LocalBoxFuture<'_, Result<Rc<dyn Folder>, Problem>>;
    /// Keeps a copy of `folder` under `name` until [`forget`](Self::forget).
    fn keep<'a>(&'a self, name: &'a str, folder: &'a dyn Folder) -> LocalBoxFuture<'a, Result<(), Problem>>;
    /// The copy kept under `name`.
    fn kept<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Rc<dyn Folder>, Problem>>;
    /// An empty file in storage for what is taken away, in the place of the one before.
    fn outgoing<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Outgoing, Problem>>;
    /// Drops the copy under `name`.
    fn forget<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>>;
    /// What a [packed](stratune_data::is_packed) file of this format holds; the file itself where it is unpacked as its rows are read.
    fn unpacked<'a>(
        &'a self,
        _name: &'a str,
        bytes: Vec<u8>,
        _format: DataFormat,
    ) -> LocalBoxFuture<'a, Result<Vec<u8>, Problem>> {
        Box::pin(async { Ok(bytes) })
    }
}

/// A file in storage that is written, to be taken away.
pub struct Outgoing {
    /// What is written.
    pub file: Box<dyn WriteSeek>,
    /// Its folder and its name there.
    pub stored: [String; 2],
}
