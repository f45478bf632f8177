//! An engine in a worker: commands out, events in.
//!
//! A worker that is started from an address takes its content-security policy from the server's response, of which a page
//! on any static host knows nothing. One that is started from a blob inherits the page's: so the worker's own script is a
//! blob that imports the engine's.
//!
//! A message to the engine is `{json, files}`: a command and the files that it names. A message from it is the word
//! `up` once, then `{json, bytes}`: an event and, for a file to take away, its bytes.

use js_sys::{Array, Object, Reflect, Uint8Array};
use stratune_protocol::{Problem, ProblemKind};
use wasm_bindgen::prelude::*;
use web_sys::{Blob, BlobPropertyBag, MessageEvent, Url, Worker, WorkerOptions, WorkerType};

use super::browser::document;
use crate::state::settings::{Command, Event};

/// Which engine is built into the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// Small: the CPU alone.
    Cpu,
    /// The GPU through WebGPU, and the CPU.
    Gpu,
}

impl EngineKind {
    fn script(self) -> &'static str {
        match self {
            Self::Cpu => "./engine_cpu_loader.js",
            Self::Gpu => "./engine_gpu_loader.js",
        }
    }
}

/// What comes from a worker.
pub enum Heard {
    /// It listens.
    Up,
    /// An event, and the bytes beside it.
    Event(Box<Event>, Option<Uint8Array>),
    /// It is no more, and why.
    Died(String),
}

/// A running engine; dropping it ends the worker.
pub struct Engine(Port);

/// A running worker; dropping it ends it.
pub struct Port {
    worker: Worker,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(web_sys::Event)>,
    _script: OwnScript,
}

/// The script that a worker starts with, there as long as the worker.
struct OwnScript {
    /// Its own address.
    address: String,
    /// That of the page.
    home: String,
}

impl OwnScript {
    /// One that imports the script at `path`, seen from the page. That the import fails reaches the page as an error of the
    /// worker.
    fn importing(path: &str) -> Result<Self, JsValue> {
        let home = document().base_uri()?.unwrap_or_default();
        // A JSON text is one of JavaScript.
        let engine = serde_json::Value::from(Url::new_with_base(path, &home)?.href());
        let text = format!("import({engine}).catch(error => setTimeout(() => {{ throw error; }}));");
        let options = BlobPropertyBag::new();
        options.set_type("text/javascript");
        let blob = Blob::new_with_str_sequence_and_options(&Array::of1(&text.into()), &options)?;
        Ok(Self { address: Url::create_object_url_with_blob(&blob)?, home })
    }
}

impl Drop for OwnScript {
    fn drop(&mut self) {
        drop(Url::revoke_object_url(&self.address));
    }
}

impl Engine {
    /// Starts a worker; `hear` is called with everything that comes from it.
    pub fn start(kind: EngineKind, hear: impl Fn(Heard) + Clone + 'static) -> Result<Self, Problem> {
        let died = hear.clone();
        Port::start(kind.script(), move |data| hear(read(&data)), move |reason| died(Heard::Died(reason))).map(Self)
    }

    /// Sends a command and the files that it names.
    pub fn send(&self, command: &Command, files: &[web_sys::File]) -> Result<(), Problem> {
        let json = serde_json::to_string(command).map_err(|e| internal(format!("a command cannot be written: {e}")))?;
        let message = Object::new();
        let put = |name: &str, value: &JsValue| Reflect::set(&message, &name.into(), value).map(|_| ());
        put("json", &json.into())
            .and_then(|()| put("files", &files.iter().collect::<Array>()))
            .map_err(|e| internal(format!("a command cannot be written: {}", text(&e))))?;
        self.0.post(&message)
    }
}

impl Port {
    /// Starts the worker whose script is at `path`; `hear` is called with everything that comes from it, `died` with the reason
    /// when it is no more.
    pub fn start(
        path: &str,
        hear: impl Fn(JsValue) + 'static,
        died: impl Fn(String) + 'static,
    ) -> Result<Self, Problem> {
        let script = OwnScript::importing(path);
        let worker = script
            .and_then(|script| {
                let options = WorkerOptions::new();
                options.set_type(WorkerType::Module);
                // A blob has no place that addresses could be relative to: the page's is the worker's name.
                options.set_name(&script.home);
                Ok((Worker::new_with_options(&script.address, &options)?, script))
            })
            .map_err(|e| internal(format!("a worker cannot be started: {}", text(&e))));
        let (worker, script) = worker?;
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |message: MessageEvent| hear(message.data()));
        let on_error = Closure::<dyn Fn(web_sys::Event)>::new(move |error: web_sys::Event| {
            error.prevent_default();
            died(field(&error, "message").as_string().unwrap_or_default());
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Ok(Self { worker, _on_message: on_message, _on_error: on_error, _script: script })
    }

    /// Sends a message.
    pub fn post(&self, message: &JsValue) -> Result<(), Problem> {
        let sent = self.worker.post_message(message);
        sent.map_err(|e| internal(format!("a command cannot be sent to a worker: {}", text(&e))))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

fn read(data: &JsValue) -> Heard {
    if data.as_string().as_deref() == Some("up") {
        return Heard::Up;
    }
    let json = field(data, "json").as_string().unwrap_or_default();
    let event = serde_json::from_str(&json)
        .unwrap_or_else(|e| Event::Problem(internal(format!("the engine said something unknown: {e}"))));
    Heard::Event(Box::new(event), field(data, "bytes").dyn_into().ok())
}

/// A field of a JavaScript value; undefined if there is none.
pub fn field(value: &JsValue, name: &str) -> JsValue {
    Reflect::get(value, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// What a thrown value says.
pub fn text(thrown: &JsValue) -> String {
    field(thrown, "message").as_string().or_else(|| thrown.as_string()).unwrap_or_else(|| "no reason given".into())
}

fn internal(what: String) -> Problem {
    Problem::new(ProblemKind::Internal, what).next("reload the page; a saved run can go on")
}
