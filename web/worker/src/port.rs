//! The worker's end of the wire.

use std::rc::Rc;

use js_sys::{Array, Object, Reflect, Uint8Array};
use stratune_protocol::{Asset, Problem, ProblemKind};
use stratune_session::{Command, Event, Outbox};
use stratune_store::{BrowserFolder, Folder};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, File, MessageEvent};

/// A command, and what travelled beside it.
pub type Message = (Command, Option<Rc<dyn Folder>>);

/// The worker's end of the wire.
pub struct Port {
    scope: DedicatedWorkerGlobalScope,
}

impl Port {
    /// The worker this code runs in.
    pub fn new() -> Self {
        Self { scope: js_sys::global().unchecked_into() }
    }

    /// Hears every message from now on, and tells the page so.
    pub fn listen(&self, mut hear: impl FnMut(Result<Message, Problem>) + 'static) {
        let closure = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| hear(read(&event.data())));
        self.scope.set_onmessage(Some(closure.as_ref().unchecked_ref()));
        closure.forget();
        self.post(&"up".into());
    }

    fn post(&self, message: &JsValue) {
        if let Err(e) = self.scope.post_message(message) {
            web_sys::console::error_1(&e);
        }
    }
}

impl Outbox for Port {
    fn send(&self, event: &Event, bytes: Option<Vec<u8>>) {
        let message = Object::new();
        let json = serde_json::to_string(event).unwrap_or_default();
        // Setting a property of a plain object of our own cannot fail.
        let _ = Reflect::set(&message, &"json".into(), &json.into());
        if let Some(bytes) = bytes {
            let _ = Reflect::set(&message, &"bytes".into(), &Uint8Array::from(&bytes[..]));
        }
        self.post(&message);
    }
}

fn read(data: &JsValue) -> Result<Message, Problem> {
    let field = |name: &str| Reflect::get(data, &name.into()).unwrap_or(JsValue::UNDEFINED);
    let json = field("json").as_string().unwrap_or_default();
    let command: Command = serde_json::from_str(&json).map_err(|e| {
        Problem::new(ProblemKind::Internal, format!("the page sent a command that the engine does not know: {e}"))
            .next("reload the page; its parts may be of different versions")
    })?;
    let (label, names) = match &command {
        Command::LoadModel { config, files } => (config.model.as_str(), files.as_slice()),
        Command::LoadData { files, .. } => ("data", files.as_slice()),
        Command::Classify { files, .. } => ("image", files.as_slice()),
        Command::LoadAdapter { name, files } => (name.as_str(), files.as_slice()),
        _ => ("", [].as_slice()),
    };
    let files = field("files").dyn_into::<Array>().unwrap_or_default();
    let files = names.iter().zip(files.iter());
    let named: Vec<(String, File)> =
        files.filter_map(|(Asset { name, .. }, file)| Some((name.clone(), file.dyn_into().ok()?))).collect();
    let folder = (!named.is_empty()).then(|| Rc::new(BrowserFolder::new(label, named)) as Rc<dyn Folder>);
    Ok((command, folder))
}
