//! One tab at a time may use the browser's storage: they would delete each other's run.

use js_sys::{Function, Object, Promise, Reflect};
use stratune_runtime::sleep_briefly;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// The lock's name, the same in all tabs.
const NAME: &str = "stratune-storage";

/// How often it is asked for: a page that was just reloaded still holds its lock for a moment.
const TRIES: usize = 20;

/// Takes the storage for as long as this worker lives. False if another tab has it.
pub async fn take() -> bool {
    for _ in 0..TRIES {
        if asked().await {
            return true;
        }
        sleep_briefly().await;
    }
    false
}

/// Asks once. A browser without locks lets everybody have it, as it did before.
async fn asked() -> bool {
    let granted = Promise::new(&mut |resolve, _| {
        let told = resolve.clone();
        // The lock is held until the promise that this returns is settled, which is never.
        let hold = Closure::once_into_js(move |lock: JsValue| -> JsValue {
            let held = lock.is_object();
            let _ = told.call1(&JsValue::NULL, &held.into());
            if held { Promise::new(&mut |_, _| {}).into() } else { JsValue::UNDEFINED }
        });
        if request(&hold).is_none() {
            let _ = resolve.call1(&JsValue::NULL, &true.into());
        }
    });
    // The promise is only ever resolved.
    JsFuture::from(granted).await.is_ok_and(|held| held.is_truthy())
}

/// Requests the lock if it is free; `hold` is called with it, or with null. None where there are no locks.
fn request(hold: &JsValue) -> Option<()> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).ok()?;
    let locks = Reflect::get(&navigator, &"locks".into()).ok().filter(JsValue::is_object)?;
    let request: Function = Reflect::get(&locks, &"request".into()).ok()?.dyn_into().ok()?;
    let options = Object::new();
    Reflect::set(&options, &"ifAvailable".into(), &true.into()).ok()?;
    request.call3(&locks, &NAME.into(), &options, hold).ok().map(drop)
}
