//! Packed files and images, which another worker unpacks (`web/unpack`): the engine is smaller without, and a decoder that a damaged
//! file ends does not end the engine.

use std::cell::RefCell;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use js_sys::{Array, Object, Reflect, Uint8Array};
use stratune_protocol::{DataFormat, Problem, ProblemKind};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, BlobPropertyBag, Event, MessageEvent, Url, Worker, WorkerOptions, WorkerType};

use crate::files::beside_page;

/// What the worker starts with.
const SCRIPT: &str = "./unpack_loader.js";

/// A worker that has unpacked more bytes than this is not kept: its memory does not shrink.
const KEPT: usize = 64 << 20;

thread_local! {
    /// The worker that unpacked the file before, for the next one: a folder of images has many.
    static IDLE: RefCell<Option<(Unpacker, UnboundedReceiver<Heard>)>> = const { RefCell::new(None) };
}

/// What a packed file holds.
pub async fn unpacked(name: &str, bytes: Vec<u8>, format: DataFormat) -> Result<Vec<u8>, Problem> {
    let idle = IDLE.with_borrow_mut(Option::take);
    let (unpacker, mut heard) = match idle {
        Some(idle) => idle,
        None => {
            let (unpacker, mut heard) = Unpacker::start().map_err(|error| not_started(&reason(&error)))?;
            // It says that it listens.
            next(&mut heard).await.map_err(|why| not_started(&why))?;
            (unpacker, heard)
        }
    };
    unpacker.send(name, &bytes, format).map_err(|error| ended(name, &reason(&error)))?;
    drop(bytes);
    let mut parts = Vec::new();
    let end = loop {
        match next(&mut heard).await.map_err(|why| ended(name, &why))?.dyn_into::<Uint8Array>() {
            Ok(part) => parts.push(part),
            Err(end) => break end.as_string().unwrap_or_default(),
        }
    };
    match serde_json::from_str::<Option<Problem>>(&end) {
        Ok(None) => {
            let whole = whole(parts);
            if whole.len() <= KEPT {
                IDLE.set(Some((unpacker, heard)));
            }
            Ok(whole)
        }
        Ok(Some(problem)) => Err(problem),
        Err(error) => Err(ended(name, &error.to_string())),
    }
}

/// Parts one behind the other.
fn whole(parts: Vec<Uint8Array>) -> Vec<u8> {
    let mut all = vec![0; parts.iter().map(|part| part.length() as usize).sum()];
    let mut rest = all.as_mut_slice();
    for part in parts {
        let (here, behind) = rest.split_at_mut(part.length() as usize);
        part.copy_to(here);
        rest = behind;
    }
    all
}

/// A message of the worker, or why there are none any more.
type Heard = Result<JsValue, String>;

async fn next(heard: &mut UnboundedReceiver<Heard>) -> Heard {
    heard.next().await.unwrap_or_else(|| Err("it has ended".into()))
}

/// A worker that unpacks; dropping it ends it.
struct Unpacker {
    worker: Worker,
    address: String,
    _on_message: Closure<dyn Fn(MessageEvent)>,
}

impl Unpacker {
    /// Starts it, and gives what is heard from it. Its script is a blob that imports what is beside the page, as the
    /// engine's is: so it is under the same content-security policy.
    fn start() -> Result<(Self, UnboundedReceiver<Heard>), JsValue> {
        // A JSON text is one of JavaScript.
        let script = serde_json::Value::from(beside_page(SCRIPT)?);
        let text = format!("import({script}).catch(error => setTimeout(() => {{ throw error; }}));");
        let options = BlobPropertyBag::new();
        options.set_type("text/javascript");
        let blob = Blob::new_with_str_sequence_and_options(&Array::of1(&text.into()), &options)?;
        let address = Url::create_object_url_with_blob(&blob)?;
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = Worker::new_with_options(&address, &options)?;
        let (hear, heard) = unbounded();
        let on_message = Closure::<dyn Fn(MessageEvent)>::new({
            let hear = hear.clone();
            move |message: MessageEvent| drop(hear.unbounded_send(Ok(message.data())))
        });
        let on_error = Closure::<dyn Fn(Event)>::new(move |error: Event| {
            // It goes no further: to the page it would be an end of the engine.
            error.prevent_default();
            drop(hear.unbounded_send(Err(reason(&error))));
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        // It outlives this: what a decoder died of may be heard after its problem, when nobody waits for more.
        worker.set_onerror(Some(on_error.into_js_value().unchecked_ref()));
        Ok((Self { worker, address, _on_message: on_message }, heard))
    }

    /// Gives it a file.
    fn send(&self, name: &str, bytes: &[u8], format: DataFormat) -> Result<(), JsValue> {
        let (file, bytes) = (Object::new(), Uint8Array::from(bytes));
        let format = serde_json::to_string(&format).unwrap_or_default();
        Reflect::set(&file, &"name".into(), &name.into())?;
        Reflect::set(&file, &"format".into(), &format.into())?;
        Reflect::set(&file, &"bytes".into(), &bytes)?;
        self.worker.post_message_with_transfer(&file, &Array::of1(&bytes.buffer()))
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.terminate();
        drop(Url::revoke_object_url(&self.address));
    }
}

/// What a thrown value or an event says.
fn reason(error: &JsValue) -> String {
    let message = Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string());
    message.unwrap_or_else(|| format!("{error:?}"))
}

fn not_started(why: &str) -> Problem {
    Problem::new(ProblemKind::Storage, format!("what unpacks files cannot be loaded: {why}"))
        .next("check the connection and reload the page")
}

/// A worker that ended without a word: its memory did not suffice, as far as is known.
fn ended(name: &str, why: &str) -> Problem {
    Problem::input(format!("the file could not be unpacked: {why}"))
        .at(name)
        .next("it needs more memory than a tab has, or is damaged: split it, or write or download it again")
}
