//! Clock, yielding, and running a future to its end.

use std::future::Future;

use web_time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since a moment.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Milliseconds since 1970.
pub fn unix_millis() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis())
        .unwrap_or(u64::MAX)
}

/// Lets other work run: in a browser the worker's messages (a macrotask, because a microtask would starve them),
/// natively nothing, where signals arrive by themselves.
pub async fn yield_now() {
    #[cfg(target_family = "wasm")]
    browser::macrotask().await;
}

/// Waits a little, while there is nothing to do.
pub async fn rest() {
    #[cfg(target_family = "wasm")]
    browser::pause().await;
    #[cfg(not(target_family = "wasm"))]
    std::thread::sleep(Duration::from_millis(20));
}

/// Runs a future to its end. Native only: a browser's thread may not block.
#[cfg(not(target_family = "wasm"))]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// Refuses: a browser's thread may not block.
#[cfg(target_family = "wasm")]
pub fn block_on<T>(_: impl Future<Output = T>) -> T {
    unreachable!("the page's engine awaits; it never blocks")
}

#[cfg(target_family = "wasm")]
mod browser {
    use wasm_bindgen::closure::Closure;
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;

    /// One turn of the event loop. A message port is used because `setTimeout` is held back to 4 ms when nested.
    pub async fn macrotask() {
        let Ok(channel) = web_sys::MessageChannel::new() else { return };
        let receiver = channel.port1();
        let turn = js_sys::Promise::new(&mut |resolve, _| {
            let done = Closure::once_into_js(move || {
                // A promise that cannot be resolved belongs to a worker that is being shut down.
                let _ = resolve.call0(&JsValue::NULL);
            });
            receiver.set_onmessage(Some(done.unchecked_ref()));
        });
        if channel.port2().post_message(&JsValue::NULL).is_ok() {
            let _ = JsFuture::from(turn).await;
        }
        receiver.close();
    }

    /// A twentieth of a second.
    pub async fn pause() {
        let scope: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
        let over = js_sys::Promise::new(&mut |resolve, _| {
            // Without a timer the promise is settled at once, and waiting becomes asking again.
            if scope.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, 50).is_err() {
                let _ = resolve.call0(&JsValue::NULL);
            }
        });
        let _ = JsFuture::from(over).await;
    }
}
