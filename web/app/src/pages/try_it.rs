//! Ask both models the same and read their answers side by side.

use leptos::prelude::*;
use stratune_protocol::ModelVariant;
use web_sys::KeyboardEvent;

use crate::state::{Run, use_run};

/// The two panes.
#[component]
pub fn TryIt() -> impl IntoView {
    let run = use_run();
    let prompt = RwSignal::new(String::new());
    let can_ask = move || reason(run, prompt.with(|p| p.trim().is_empty())).is_none();
    let ask = move || {
        if can_ask() {
            run.generate(prompt.get_untracked().trim());
        }
    };
    let key = move |event: KeyboardEvent| {
        if event.key() == "Enter" && (event.ctrl_key() || event.meta_key()) {
            event.prevent_default();
            ask();
        }
    };
    let writes = move |variant| run.answers.with(|a| a.writing == Some(variant));
    let tuned = move || {
        let answer = run.answers.with(|a| a.tuned.clone());
        if answer.is_empty() && !run.has_adapter() { "Train first: there is no adapter yet.".into() } else { answer }
    };
    view! {
        <section class="panel try-it" aria-labelledby="title-try">
            <div class="panel-head">
                <h2 id="title-try">"Try it"</h2>
                <p class="reading">"the same prompt, before and after"</p>
            </div>
            <div class="ask">
                <label class="hidden-text" for="prompt">"Prompt"</label>
                <textarea
                    id="prompt"
                    rows="2"
                    placeholder="An instruction, as in the data"
                    prop:value=move || prompt.get()
                    on:input=move |event| prompt.set(event_target_value(&event))
                    on:keydown=key
                ></textarea>
                <button
                    type="button"
                    id="generate"
                    prop:disabled=move || !can_ask()
                    title=move || reason(run, prompt.with(|p| p.trim().is_empty())).unwrap_or("Ctrl + Enter")
                    on:click=move |_| ask()
                >
                    "Generate"
                </button>
            </div>
            <div class="answers">
                <div>
                    <h3>"Base"</h3>
                    <p
                        id="answer-base"
                        class:writing=move || writes(ModelVariant::Base)
                        aria-live="polite"
                        aria-busy=move || writes(ModelVariant::Base).to_string()
                    >
                        {move || run.answers.with(|a| a.base.clone())}
                    </p>
                </div>
                <div class:off=move || !run.has_adapter()>
                    <h3>"Tuned"</h3>
                    <p
                        id="answer-tuned"
                        class:writing=move || writes(ModelVariant::Tuned)
                        aria-live="polite"
                        aria-busy=move || writes(ModelVariant::Tuned).to_string()
                    >{tuned}</p>
                </div>
            </div>
            <Advanced />
        </section>
    }
}

/// Why nothing can be asked now.
fn reason(run: Run, blank: bool) -> Option<&'static str> {
    if run.activity.get().runs() {
        Some("The engine is training: stop it, or wait until it is done")
    } else if !run.is_loaded() {
        Some("The model is not loaded yet")
    } else if run.is_writing() {
        Some("An answer is being written")
    } else if blank {
        Some("Write a prompt first")
    } else {
        None
    }
}

#[component]
fn Advanced() -> impl IntoView {
    let run = use_run();
    // Text that is no number changes nothing: the last number stays.
    let max_tokens = move |event| {
        if let Ok(number) = event_target_value(&event).trim().parse() {
            run.asking.update(|a| a.max_tokens = number);
        }
    };
    let temperature = move |event| {
        if let Ok(number) = event_target_value(&event).trim().parse() {
            run.asking.update(|a| a.temperature = number);
        }
    };
    view! {
        <details class="advanced">
            <summary>"Advanced"</summary>
            <div class="fields">
                <div class="field">
                    <label for="max-tokens">"Most new tokens"</label>
                    <input
                        id="max-tokens"
                        type="number"
                        min="1"
                        max="4096"
                        step="1"
                        prop:value=run.asking.with_untracked(|a| a.max_tokens.to_string())
                        on:input=max_tokens
                    />
                    <small>"an answer may end before"</small>
                </div>
                <div class="field">
                    <label for="temperature">"Temperature"</label>
                    <input
                        id="temperature"
                        type="number"
                        min="0"
                        max="2"
                        step="0.1"
                        prop:value=run.asking.with_untracked(|a| a.temperature.to_string())
                        on:input=temperature
                    />
                    <small>"0 takes the likeliest token each time"</small>
                </div>
            </div>
        </details>
    }
}
