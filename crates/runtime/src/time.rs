//! Clock, yielding, and running a future to its end.

use std::future::{Future, poll_fn};
use std::pin::pin;
#[cfg(not(target_family = "wasm"))]
use std::task::Context;
use std::task::Poll;

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

/// Lets other work run: in a browser the worker's messages (a macrotask, because a microtask would starve them), natively
/// whoever waits for this future, as [`until`] does.
pub async fn yield_now() {
    #[cfg(target_family = "wasm")]
    browser::macrotask().await;
    #[cfg(not(target_family = "wasm"))]
    {
        let mut waited = false;
        let once = |context: &mut Context<'_>| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        };
        poll_fn(once).await;
    }
}

/// Runs a future to its end, or until `over` says so: it is asked at the beginning and wherever the future waits, and a future
/// that is over is dropped there.
pub async fn until<T>(future: impl Future<Output = T>, mut over: impl FnMut() -> bool) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match over() {
        true => Poll::Ready(None),
        false => future.as_mut().poll(context).map(Some),
    })
    .await
}

/// Waits a little, while there is nothing to do.
pub async fn sleep_briefly() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_is_left_where_it_waits() {
        let mut counted = 0;
        let count = async {
            for n in 1..=3 {
                counted = n;
                yield_now().await;
            }
            "done"
        };
        let mut asked = 0;
        let over = || {
            asked += 1;
            asked > 2
        };
        assert_eq!(block_on(until(count, over)), None);
        assert_eq!(counted, 2);
        assert_eq!(block_on(until(async { 7 }, || false)), Some(7));
    }
}
