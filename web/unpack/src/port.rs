//! The worker's end of the wire. It posts `up` when it listens, and is posted `{ name, format, bytes }`, one after another: a file, its format
//! as JSON, and what it holds. It posts what that unpacks to, part after part, and at the end a
//! [`Problem`](stratune_protocol::Problem) or `null` as JSON.

use std::io::{self, BufWriter, Write};

use js_sys::{Array, Reflect, Uint8Array};
use stratune_data::{contradicts_itself, unpack};
use stratune_protocol::Problem;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

/// Bytes of a part.
const PART: usize = 1 << 20;

/// Waits for files, and unpacks each.
pub fn listen() {
    let scope = scope();
    let hear = Closure::<dyn Fn(MessageEvent)>::new(|event: MessageEvent| answer(&event.data()));
    scope.set_onmessage(Some(hear.as_ref().unchecked_ref()));
    hear.forget();
    post(&"up".into());
}

fn answer(file: &JsValue) {
    let field = |name: &str| Reflect::get(file, &name.into()).unwrap_or(JsValue::UNDEFINED);
    let name = field("name").as_string().unwrap_or_default();
    let format = serde_json::from_str(&field("format").as_string().unwrap_or_default()).unwrap_or_default();
    let bytes = field("bytes").dyn_into::<Uint8Array>().map(|bytes| bytes.to_vec()).unwrap_or_default();
    let panicked = end(Some(&contradicts_itself(&name)));
    // The last word of a decoder: nothing can be caught here.
    std::panic::set_hook(Box::new(move |_| post(&panicked.as_str().into())));
    let done = unpack(&name, bytes.into(), format, &mut BufWriter::with_capacity(PART, Parts));
    post(&end(done.err().as_ref()).into());
}

/// The last message.
fn end(problem: Option<&Problem>) -> String {
    serde_json::to_string(&problem).unwrap_or_default()
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

fn post(message: &JsValue) {
    // What these messages are made of can always be posted.
    let _ = scope().post_message(message);
}

/// Posts what is written.
struct Parts;

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = Uint8Array::from(bytes);
        scope()
            .post_message_with_transfer(&part, &Array::of1(&part.buffer()))
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
