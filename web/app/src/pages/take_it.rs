//! What a run leaves behind: the adapter, its configuration, and the command that repeats it.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use stratune_protocol::command_line;

use crate::bridge::browser;
use crate::state::settings::Settings;
use crate::state::use_run;

/// What can be taken away.
#[component]
pub fn TakeIt() -> impl IntoView {
    let run = use_run();
    let copied = RwSignal::new(None::<bool>);
    let command = Memo::new(move |_| command_line(run.shown_config().texts("data.files").into_iter(), "run"));
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
                <button
                    type="button"
                    id="download-config"
                    prop:disabled=move || run.config.with(Settings::is_empty)
                    on:click=move |_| run.export_config()
                >
                    "run.toml"
                </button>
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
