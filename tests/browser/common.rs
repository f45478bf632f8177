//! What every browser test needs: constructors that have run once, and errors that are not overlooked.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use wasm_bindgen_test::console_log;

unsafe extern "C" {
    fn __wasm_call_ctors();
}

static ERRORS: AtomicUsize = AtomicUsize::new(0);

struct Count;

impl Log for Count {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Error
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            ERRORS.fetch_add(1, Ordering::Relaxed);
            console_log!("{}: {}", record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Runs the linker's constructors once, as the page's engine does, and begins to count errors.
pub fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the linker's own function; see the worker's `start`.
        unsafe { __wasm_call_ctors() };
        if log::set_logger(&Count).is_ok() {
            log::set_max_level(LevelFilter::Error);
        }
    });
}

/// A library that logs an error, as cubecl does for a shader that does not compile, fails the test.
pub fn no_errors() {
    assert_eq!(ERRORS.load(Ordering::Relaxed), 0, "errors were logged");
}
