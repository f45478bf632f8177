//! What a run leaves behind: the adapter, its configuration, and the command that repeats it.

use std::time::Duration;

use js_sys::Uint8Array;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge::browser;
use crate::state::{Run, use_run};

/// What can be taken away.
#[component]
pub fn TakeIt() -> impl IntoView {
    let run = use_run();
    let copied = RwSignal::new(None::<bool>);
    let command = Memo::new(move |_| run.shown_config().to_command("run"));
    let copy = move |_| {
        spawn_local(async move {
            copied.set(Some(browser::copy(&command.get_untracked()).await));
            set_timeout(move || copied.set(None), Duration::from_secs(2));
        });
    };
    let cannot = move || !run.has_adapter() || run.exporting.get();
    view! {
        <section class="panel take-it" aria-labelledby="title-take">
            <div class="panel-head">
                <h2 id="title-take">"Take it"</h2>
                <p class="reading">
                    {move || if run.has_adapter() { "it is yours" } else { "after a run" }}
                </p>
            </div>
            <div class="choices">
                <button
                    type="button"
                    id="download-adapter"
                    prop:disabled=cannot
                    on:click=move |_| run.export_adapter()
                >
                    {move || if run.exporting.get() { "Packing …" } else { "Adapter for PEFT (.zip)" }}
                </button>
                <button type="button" id="download-config" on:click=move |_| download_config(run)>"run.toml"</button>
            </div>
            <p class="caption">"With run.toml, the same run from a command line:"</p>
            <div class="command">
                <code id="command">{command}</code>
                <button type="button" class="quiet" id="copy-command" on:click=copy>
                    {move || match copied.get() {
                        None => "copy",
                        Some(true) => "copied",
                        Some(false) => "refused",
                    }}
                </button>
            </div>
        </section>
    }
}

/// The configuration is the page's own as much as the engine's, so it is there at any time.
fn download_config(run: Run) {
    let saved = run.shown_config().to_toml().map(|text| {
        browser::download("run.toml", "application/toml", &Uint8Array::from(text.as_bytes()));
    });
    if let Err(problem) = saved {
        run.alert(problem, None);
    }
}
