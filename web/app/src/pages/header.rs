//! The top line: the name, the device, its memory, and the switch between light and dark.

use leptos::prelude::*;
use wasm_bindgen::prelude::*;

use crate::bridge::browser;
use crate::state::use_run;
use crate::units;

/// Where the preference is remembered.
const KEY: &str = "theme";

/// The top line.
#[component]
pub fn Header() -> impl IntoView {
    let run = use_run();
    follow_theme(run.dark);
    let device = move || match run.adapter.get() {
        None => "starting …".to_string(),
        Some(info) if info.device == "cpu" => "CPU in this tab".to_string(),
        Some(info) if info.software => format!("WebGPU · {} (software)", info.name),
        Some(info) => format!("WebGPU · {}", info.name),
    };
    let kind = move || run.adapter.with(|a| a.as_ref().map(|a| a.device.clone()).unwrap_or_default());
    let why = move || run.adapter.with(|a| a.as_ref().map(|a| a.why.clone()).unwrap_or_default());
    let memory = Memo::new(move |_| {
        run.history.with(|h| h.latest.as_ref().map(|l| l.memory_bytes).filter(|b| *b > 0).map(units::bytes))
    });
    let switch = move |_| {
        let dark = !run.dark.get_untracked();
        // A choice that is the system's own is no choice: the page follows the system again.
        let word = if dark { "dark" } else { "light" };
        browser::remember(KEY, (dark != browser::system_is_dark()).then_some(word));
        run.dark.set(dark);
    };
    view! {
        <header class="top">
            <span class="name">
                <svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">
                    <path d="M3 5h18M3 10h18M3 15h10M3 20h18" />
                    <path class="marked" d="M16 15h5" />
                </svg>
                <h1>"Stratune"</h1>
            </span>
            <span class="pill" id="device" data-device=kind title=why>{device}</span>
            <span class="memory">{move || memory.get()}</span>
            <span class="promise">"data stays in this tab"</span>
            <button
                type="button"
                class="quiet"
                id="theme"
                aria-label=move || if run.dark.get() { "Use the light page" } else { "Use the dark page" }
                on:click=switch
            >
                {move || if run.dark.get() { "light" } else { "dark" }}
            </button>
        </header>
    }
}

/// The system decides until a person does.
fn follow_theme(dark: RwSignal<bool>) {
    let settle = move || {
        dark.set(match browser::remembered(KEY).as_deref() {
            Some("dark") => true,
            Some("light") => false,
            _ => browser::system_is_dark(),
        });
    };
    settle();
    if let Ok(Some(media)) = browser::window().match_media("(prefers-color-scheme: dark)") {
        let changed = Closure::<dyn Fn()>::new(settle);
        let _ = media.add_event_listener_with_callback("change", changed.as_ref().unchecked_ref());
        // The page listens as long as it lives.
        changed.forget();
    }
    Effect::new(move |_| {
        if let Some(root) = browser::document().document_element() {
            let _ = root.set_attribute("data-theme", if dark.get() { "dark" } else { "light" });
        }
    });
}
