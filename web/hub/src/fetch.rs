//! Requests by the browser's `fetch`: without cookies, without the page's address, past its cache.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, LocalBoxFuture, select};
use js_sys::{IteratorNext, Promise, Uint8Array};
use stratune_hub::{Body, Broken, Request, Response, Transport};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, ReferrerPolicy, RequestCache, RequestCredentials,
    RequestInit, RequestRedirect, SecurityPolicyViolationEvent,
};

use crate::port::scope;

/// Longest without an answer, and without a byte of one.
const SILENCE: Duration = Duration::from_secs(30);

/// Whoever makes requests for the page.
#[derive(Default)]
pub struct Fetch {
    /// The request under way.
    current: Rc<RefCell<Option<AbortController>>>,
    stopped: Cell<bool>,
    /// The address that the page's policy has refused last.
    refused: Rc<RefCell<Option<String>>>,
}

impl Fetch {
    /// Hears what the page's policy refuses: `fetch` does not tell it from a connection that is down.
    pub fn new() -> Self {
        let fetch = Self::default();
        let refused = fetch.refused.clone();
        let hear = Closure::<dyn FnMut(SecurityPolicyViolationEvent)>::new(move |e: SecurityPolicyViolationEvent| {
            *refused.borrow_mut() = Some(e.blocked_uri());
        });
        // A browser that has no such event says less.
        let _ = scope().add_event_listener_with_callback("securitypolicyviolation", hear.as_ref().unchecked_ref());
        hear.forget();
        fetch
    }

    /// Ends the request under way, and those that would follow.
    pub fn stop(&self) {
        self.stopped.set(true);
        if let Some(current) = self.current.borrow().as_ref() {
            current.abort();
        }
    }

    /// Lets requests be made again.
    pub fn go_on(&self) {
        self.stopped.set(false);
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    async fn ask(&self, request: Request) -> Result<Response, Broken> {
        let none = |e: JsValue| Broken { why: message(&e), lasting: true };
        let controller = AbortController::new().map_err(none)?;
        let headers = Headers::new().map_err(none)?;
        for (name, value) in &request.headers {
            headers.set(name, value).map_err(none)?;
        }
        if let Some(range) = &request.range {
            let range = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            headers.set("Range", &range).map_err(none)?;
        }
        let init = RequestInit::new();
        init.set_method("GET");
        init.set_headers(&headers);
        init.set_cache(RequestCache::NoStore);
        init.set_credentials(RequestCredentials::Omit);
        // At a redirect to another host the browser takes the token out.
        init.set_redirect(RequestRedirect::Follow);
        init.set_referrer_policy(ReferrerPolicy::NoReferrer);
        init.set_signal(Some(&controller.signal()));
        *self.current.borrow_mut() = Some(controller.clone());
        let asked = scope().fetch_with_str_and_init(&request.url, &init);
        let answer = within(SILENCE, asked).await.map_err(|failed| self.broken(failed, &controller))?;
        let answer: web_sys::Response = answer.unchecked_into();
        let reader = answer.body().map(|body| body.get_reader().unchecked_into());
        Ok(Response {
            status: answer.status(),
            headers: pairs(&answer.headers()),
            url: answer.url(),
            body: Box::new(Chunks { reader, controller }),
        })
    }

    /// Why there is no answer.
    fn broken(&self, failed: Failed, controller: &AbortController) -> Broken {
        controller.abort();
        if let Some(address) = self.refused.borrow_mut().take() {
            let why = format!("the page's content-security policy does not allow {address}");
            return Broken { why, lasting: true };
        }
        failed.into()
    }
}

impl Transport for Fetch {
    fn send(&self, request: Request) -> LocalBoxFuture<'_, Result<Response, Broken>> {
        Box::pin(self.ask(request))
    }

    fn wait(&self, time: Duration) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move { drop(JsFuture::from(timer(time)).await) })
    }
}

/// A body that comes.
struct Chunks {
    reader: Option<ReadableStreamDefaultReader>,
    controller: AbortController,
}

impl Body for Chunks {
    fn chunk(&mut self) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, Broken>> {
        Box::pin(async move {
            let Some(reader) = &self.reader else { return Ok(None) };
            loop {
                let read: IteratorNext = within(SILENCE, reader.read()).await?.unchecked_into();
                if read.done() {
                    return Ok(None);
                }
                let bytes: Uint8Array = read.value().unchecked_into();
                if bytes.length() > 0 {
                    return Ok(Some(bytes.to_vec()));
                }
            }
        })
    }
}

/// What is not read to its end is not wanted.
impl Drop for Chunks {
    fn drop(&mut self) {
        self.controller.abort();
    }
}

/// Why a promise was not kept.
enum Failed {
    Silent,
    Thrown(JsValue),
}

impl From<Failed> for Broken {
    fn from(failed: Failed) -> Self {
        let why = match failed {
            Failed::Silent => format!("no answer within {} s", SILENCE.as_secs()),
            Failed::Thrown(e) => format!("the browser says '{}'", message(&e)),
        };
        Self { why, lasting: false }
    }
}

/// What a promise gives, within a time.
async fn within(time: Duration, promise: Promise) -> Result<JsValue, Failed> {
    match select(JsFuture::from(promise), JsFuture::from(timer(time))).await {
        Either::Left((given, _)) => given.map_err(Failed::Thrown),
        Either::Right(_) => Err(Failed::Silent),
    }
}

/// A promise that is kept after a time.
fn timer(time: Duration) -> Promise {
    Promise::new(&mut |done, _| {
        let milliseconds = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // A worker has timers.
        let _ = scope().set_timeout_with_callback_and_timeout_and_arguments_0(&done, milliseconds);
    })
}

fn pairs(headers: &Headers) -> stratune_hub::Headers {
    let entries = headers.entries().into_iter().flatten();
    let pair = |entry: JsValue| {
        let entry: js_sys::Array = entry.unchecked_into();
        Some((entry.get(0).as_string()?, entry.get(1).as_string()?))
    };
    entries.filter_map(pair).collect()
}

/// What a thrown value says.
fn message(thrown: &JsValue) -> String {
    let message = js_sys::Reflect::get(thrown, &"message".into()).ok().and_then(|text| text.as_string());
    message.or_else(|| thrown.as_string()).unwrap_or_else(|| "no reason given".into())
}
