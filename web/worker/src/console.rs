//! Warnings and errors where a person, the page and the tests look: in the browser's console, and for a death of the
//! engine in the page's `onerror` as well.

use js_sys::{Error, Function, Reflect};
use log::{Level, LevelFilter, Log, Metadata, Record};

use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::DedicatedWorkerGlobalScope;

struct Console;

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = format!("{}: {}", record.target(), record.args()).into();
        if record.level() == Level::Error {
            web_sys::console::error_1(&text);
        } else {
            web_sys::console::warn_1(&text);
        }
    }

    fn flush(&self) {}
}

/// Sends log records to the console from now on, and deaths to the page.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        report(&Error::new(&info.to_string()).into());
    }));
    // A trap within a task, such as memory running out, would otherwise end as a rejection that nobody hears.
    let rejected = Closure::<dyn Fn(JsValue)>::new(|event: JsValue| {
        report(&Reflect::get(&event, &"reason".into()).unwrap_or(JsValue::UNDEFINED));
    });
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let listening =
        scope.add_event_listener_with_callback("unhandledrejection", rejected.as_ref().unchecked_ref::<Function>());
    if listening.is_ok() {
        rejected.forget();
    }
    if log::set_logger(&Console).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Raises an error event, which reaches the page's `onerror`. (web-sys has no binding of `reportError` for workers.)
fn report(error: &JsValue) {
    let scope = js_sys::global();
    if let Ok(raise) = Reflect::get(&scope, &"reportError".into()).and_then(|f| f.dyn_into::<Function>()) {
        // It does not throw; it dispatches an event.
        let _ = raise.call1(&scope, error);
    }
}
