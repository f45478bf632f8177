//! Where the time of a step goes, by what it was spent on.
//!
//! A span is open while its guard lives. While nobody asks it costs one load. On a CPU its time is the host's. A GPU works
//! on after the host has gone on, so there the engine times each kernel that is launched within the span, and the device
//! may answer when all is done: spans never wait.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use web_time::Instant;

static ASKED: AtomicBool = AtomicBool::new(false);
static SPENT: Mutex<BTreeMap<&'static str, Spent>> = Mutex::new(BTreeMap::new());

thread_local! {
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

/// A span that has begun.
struct Open {
    name: &'static str,
    begun: Instant,
    /// Seconds of the spans within it.
    within: f64,
}

/// What was spent under one name, without the spans within.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Spans.
    pub calls: u64,
    /// Seconds of the host.
    pub host_seconds: f64,
    /// Kernels launched on a GPU.
    pub launches: u64,
    /// Seconds that these ran.
    pub device_seconds: f64,
}

/// Ends its span when it is dropped.
#[must_use]
pub struct Span {
    counts: bool,
}

/// Begins a span.
pub fn span(name: &'static str) -> Span {
    let counts = ASKED.load(Ordering::Relaxed);
    if counts {
        OPEN.with_borrow_mut(|open| open.push(Open { name, begun: Instant::now(), within: 0.0 }));
    }
    Span { counts }
}

impl Drop for Span {
    fn drop(&mut self) {
        if !self.counts {
            return;
        }
        OPEN.with_borrow_mut(|open| {
            let Some(Open { name, begun, within }) = open.pop() else { return };
            let seconds = begun.elapsed().as_secs_f64();
            if let Some(around) = open.last_mut() {
                around.within += seconds;
            }
            add(name, Spent { calls: 1, host_seconds: seconds - within, ..Spent::default() });
        });
    }
}

/// Names the innermost open span of this thread.
#[cfg(any(test, feature = "wgpu", feature = "cuda"))]
pub(crate) fn innermost() -> Option<&'static str> {
    OPEN.with_borrow(|open| open.last().map(|o| o.name))
}

/// Begins to count spans.
pub(crate) fn begin() {
    if let Ok(mut spent) = SPENT.lock() {
        spent.clear();
    }
    ASKED.store(true, Ordering::Relaxed);
}

/// Ends it.
pub(crate) fn end() -> BTreeMap<&'static str, Spent> {
    ASKED.store(false, Ordering::Relaxed);
    SPENT.lock().map(|mut spent| std::mem::take(&mut *spent)).unwrap_or_default()
}

/// Adds to what was spent under a name.
fn add(name: &'static str, more: Spent) {
    if let Ok(mut spent) = SPENT.lock() {
        let sum = spent.entry(name).or_default();
        sum.calls += more.calls;
        sum.host_seconds += more.host_seconds;
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_has_the_time_that_those_within_it_leave() {
        let nested = || {
            let _outer = span("outer");
            sleep(Duration::from_millis(20));
            for _ in 0..2 {
                let _inner = span("inner");
                assert_eq!(innermost(), ASKED.load(Ordering::Relaxed).then_some("inner"));
                sleep(Duration::from_millis(30));
            }
        };
        nested();
        begin();
        let clock = Instant::now();
        nested();
        let whole = clock.elapsed().as_secs_f64();
        let spent = end();
        assert_eq!((spent["outer"].calls, spent["inner"].calls), (1, 2), "what nobody asked for is not counted");
        // A sleep is at least as long as asked for. What is within the outer span is not counted twice.
        let (outer, inner) = (spent["outer"].host_seconds, spent["inner"].host_seconds);
        assert!(outer >= 0.02 && inner >= 0.06 && outer + inner <= whole, "{spent:?} of {whole}");
    }
}
