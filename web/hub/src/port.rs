//! The worker's end of the wire.

use js_sys::{Array, Object, Reflect};
use stratune_protocol::{HubCommand, HubEvent, Problem, ProblemKind};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, File, MessageEvent};

/// The scope that this code runs in.
pub fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Hears every message from now on, and tells the page so.
pub fn listen(mut hear: impl FnMut(Result<HubCommand, Problem>) + 'static) {
    let closure = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        let json = event.data().as_string().unwrap_or_default();
        hear(serde_json::from_str(&json).map_err(|e| {
            Problem::new(ProblemKind::Internal, format!("the page sent what the hub's worker does not know: {e}"))
                .next("reload the page; its parts may be of different versions")
        }));
    });
    scope().set_onmessage(Some(closure.as_ref().unchecked_ref()));
    closure.forget();
    post(&"up".into());
}

/// Tells the page something, and gives it the files that it names.
pub fn send(event: &HubEvent, files: &[File]) {
    let message = Object::new();
    let json = serde_json::to_string(event).unwrap_or_default();
    // Setting a property of a plain object of our own cannot fail.
    let _ = Reflect::set(&message, &"json".into(), &json.into());
    let _ = Reflect::set(&message, &"files".into(), &files.iter().collect::<Array>());
    post(&message);
}

fn post(message: &JsValue) {
    if let Err(e) = scope().post_message(message) {
        web_sys::console::error_1(&e);
    }
}
