//! What a run leaves behind: the adapter, its configuration, and the command that repeats it.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use stratune_protocol::{ExportForm, command_line};

use crate::bridge::browser;
use crate::state::history::History;
use crate::state::search::is_search;
use crate::state::settings::{Settings, TunedRun};
use crate::state::structure::STRUCTURE_JSON;
use crate::state::use_run;

/// What can be taken away.
#[component]
pub fn TakeIt() -> impl IntoView {
    let run = use_run();
    let form = RwSignal::new(ExportForm::default());
    let copied = RwSignal::new(None::<bool>);
    let command = Memo::new(move |_| {
        let config = run.shown_config();
        let train = command_line(config.texts("data.files").into_iter(), "run");
        if is_search(&config) { train.replacen(" train ", " search ", 1) } else { train }
    });
    let copy = move |_| {
        spawn_local(async move {
            copied.set(Some(browser::copy(&command.get_untracked()).await));
            set_timeout(move || copied.set(None), Duration::from_secs(2));
        });
    };
    let labels = Memo::new(move |_| run.says_labels());
    // The list is another then, and begins with the first.
    Effect::new(move |_| {
        labels.with(|_| ());
        form.set(ExportForm::default());
    });
    let cannot = move || !run.has_adapter() || run.exporting.get();
    view! {
        <section class="panel take-it" aria-labelledby="title-take">
            <div class="panel-head">
                <h2 id="title-take">"Take it"</h2>
                <p class="reading">
                    {move || run.tuned.with(|tuned| run.history.with(|h| of_which_run(tuned.as_ref(), h)))}
                </p>
            </div>
            <div class="choices">
                <select
                    id="export-form"
                    aria-label="What to take away"
                    prop:disabled=cannot
                    on:change=move |event| {
                        let named = |form: &&ExportForm| format!("{form:?}") == event_target_value(&event);
                        form.set(ExportForm::ALL.iter().find(named).copied().unwrap_or_default());
                    }
                >
                    {move || {
                        let there = |form: &ExportForm| !labels.get() || has_labels(*form);
                        let option = |form: ExportForm| view! { <option value=format!("{form:?}")>{form.title()}</option> };
                        ExportForm::ALL.into_iter().filter(there).map(option).collect_view()
                    }}
                </select>
                <button
                    type="button"
                    id="download-adapter"
                    prop:disabled=cannot
                    on:click=move |_| run.export(form.get_untracked())
                >
                    {move || if run.exporting.get() { "Packing …" } else { "Download (.zip)" }}
                </button>
                <button
                    type="button"
                    id="download-config"
                    prop:disabled=move || run.config.with(Settings::is_empty)
                    on:click=move |_| run.export_config()
                >
                    "run.toml"
                </button>
                <button
                    type="button"
                    id="download-structure"
                    prop:disabled=move || run.structure.with(Option::is_none)
                    title="the structure that was found or loaded last: train --method structure.json"
                    on:click=move |_| run.download_structure()
                >
                    {STRUCTURE_JSON}
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

/// Whether what labels texts can be taken away in this form.
fn has_labels(form: ExportForm) -> bool {
    matches!(form, ExportForm::Adapter | ExportForm::Folder)
}

/// Which run the adapter comes from.
fn of_which_run(tuned: Option<&TunedRun>, history: &History) -> &'static str {
    match tuned {
        None => "after a run",
        Some(run) if !run.adapter.is_empty() => "the adapter that was loaded",
        Some(run) if history.config.as_ref().is_some_and(|begun| *begun != run.config) => {
            "from the run before this one"
        }
        Some(_) => "it is yours",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::settings::tests::settings;

    #[test]
    fn an_adapter_says_where_it_comes_from() {
        let of = |seed: u64| Box::new(settings(json!({ "train": { "seed": seed } })));
        let tuned = TunedRun { config: of(1), step: 3, adapter: String::new(), labels: false };
        let history = |config| History { config, ..History::default() };
        assert_eq!(of_which_run(None, &history(Some(of(1)))), "after a run");
        assert_eq!(of_which_run(Some(&tuned), &history(Some(of(1)))), "it is yours");
        assert_eq!(of_which_run(Some(&tuned), &history(Some(of(2)))), "from the run before this one");
        let loaded = TunedRun { adapter: "mine".into(), ..tuned };
        assert_eq!(of_which_run(Some(&loaded), &history(None)), "the adapter that was loaded");
    }
}
