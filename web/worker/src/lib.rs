//! The engine in a dedicated worker: commands in, events out.
//!
//! The page posts `{ json, files }`: a [`Command`](stratune_session::Command) and the files it speaks of. The worker
//! posts the string `up` when it listens, then `{ json, bytes? }`: an [`Event`](stratune_session::Event) and a file's
//! bytes beside it.

#![cfg(target_family = "wasm")]

mod console;
mod files;
mod lock;
mod port;
mod unpack;

use std::rc::Rc;

use futures::StreamExt;
use futures::channel::mpsc;
use stratune_runtime::Control;
use stratune_session::{Engine, Event, ImmediateCommands, Outbox};
use wasm_bindgen_futures::spawn_local;

use crate::files::OwnFiles;
use crate::port::Port;

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Listens, and does what commands say, one after the other; what needs no waiting is answered at once.
pub fn start() {
    // SAFETY: the linker's own function, called once, before anything else. Naming it keeps the linker from calling it
    // again at every entry from JavaScript, which would register the whole inventory of kernels each time: a hundred
    // times slower. A browser test counts on it.
    unsafe { __wasm_call_ctors() };
    console::install();
    let (send, mut receive) = mpsc::unbounded();
    let port = Rc::new(Port::new());
    let refused = port.clone();
    let immediate = ImmediateCommands::new(port.clone(), Control::default());
    let first = immediate.clone();
    port.listen(move |message| match message {
        Ok((command, _)) if first.handle(&command) => {}
        // The receiver lives as long as the worker.
        Ok(message) => drop(send.unbounded_send(message)),
        Err(problem) => refused.send(&Event::Problem(problem), None),
    });
    let files = Rc::new(OwnFiles::default());
    let mut engine = Engine::new(immediate, files.clone(), files);
    spawn_local(async move {
        while let Some((command, files)) = receive.next().await {
            engine.handle(command, files).await;
        }
    });
}
