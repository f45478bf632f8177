//! Asks the browser what GPU it offers.

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::browser;
use super::worker::field;
use crate::state::webgpu::{Gpu, is_software};

/// What GPU this browser offers.
pub async fn look() -> Gpu {
    match adapter().await {
        Some(adapter) => judge(&adapter),
        None => Gpu::None,
    }
}

async fn adapter() -> Option<JsValue> {
    let gpu = field(&browser::window().navigator(), "gpu");
    let request: Function = field(&gpu, "requestAdapter").dyn_into().ok()?;
    let options = Object::new();
    Reflect::set(&options, &"powerPreference".into(), &"high-performance".into()).ok()?;
    let promise: Promise = request.call1(&gpu, &options).ok()?.dyn_into().ok()?;
    let adapter = JsFuture::from(promise).await.ok()?;
    adapter.is_truthy().then_some(adapter)
}

fn judge(adapter: &JsValue) -> Gpu {
    let info = field(adapter, "info");
    let words: Vec<String> = ["vendor", "architecture", "device", "description"]
        .iter()
        .filter_map(|name| field(&info, name).as_string())
        .filter(|word| !word.is_empty())
        .collect();
    let name = words.join(" ");
    let fallback = field(&info, "isFallbackAdapter").is_truthy() || field(adapter, "isFallbackAdapter").is_truthy();
    if fallback || is_software(&name) {
        Gpu::Software(if name.is_empty() { "unnamed".into() } else { name })
    } else {
        Gpu::Hardware
    }
}
