//! Talk with both models and read their answers side by side.

use leptos::prelude::*;
use stratune_protocol::{GenerateRequest, ModelVariant};
use web_sys::KeyboardEvent;

use super::label_it::LabelIt;
use crate::parts::drop_zone::DropZone;
use crate::state::{Run, use_run};

/// A conversation with both models; or a text for one that labels it.
#[component]
pub fn TryIt() -> impl IntoView {
    let run = use_run();
    let labels = Memo::new(move |_| run.says_labels());
    let is_blank = move || run.answers.with(|a| a.exchanges.is_empty());
    view! {
        <section class="panel try-it" id="try-it" aria-labelledby="title-try">
            <div class="panel-head">
                <h2 id="title-try">"Try it"</h2>
                <p class="reading" id="beside">{move || adapter(run, labels.get())}</p>
                <button
                    type="button"
                    class="quiet"
                    id="clear"
                    hidden=labels
                    prop:disabled=move || run.is_writing() || is_blank()
                    on:click=move |_| run.answers.set(Default::default())
                >
                    "clear"
                </button>
            </div>
            {move || if labels.get() { view! { <LabelIt /> }.into_any() } else { view! { <Talk /> }.into_any() }}
            <details class="advanced">
                <summary>"Advanced"</summary>
                {move || (!labels.get()).then(|| view! { <Asking /> }.into_any())}
                <DropZone
                    id="adapter-drop"
                    input_id="adapter-input"
                    folder=true
                    file=("adapter-file", "a .zip or .gguf …")
                    button="Load an adapter …"
                    hint="in PEFT's form or llama.cpp's, in the place of what was tuned"
                    on_files=move |files| run.choose_adapter(files)
                />
            </details>
        </section>
    }
}

/// The conversation, and what is said next.
#[component]
fn Talk() -> impl IntoView {
    let run = use_run();
    let prompt = RwSignal::new(String::new());
    let why_not = move || reason(run, prompt.with(|p| p.trim().is_empty()));
    let ask = move || {
        if untrack(why_not).is_none() {
            run.generate(prompt.get_untracked().trim());
            prompt.set(String::new());
        }
    };
    let key = move |event: KeyboardEvent| {
        if event.key() == "Enter" && (event.ctrl_key() || event.meta_key()) {
            event.prevent_default();
            ask();
        }
    };
    // What is over changes no more, so it is drawn once and not with every token.
    let earlier = Memo::new(move |_| run.answers.with(|a| a.earlier().to_vec()));
    let asked = move || run.answers.with(|a| a.exchanges.last().map(|e| e.prompt.clone()));
    view! {
        <div id="talk">
            {move || {
                let exchange = |e: crate::state::answers::Exchange| view! {
                    <p class="asked">{e.prompt}</p>
                    <div class="answers">
                        <div><p>{e.base}</p></div>
                        <div><p>{e.tuned}</p></div>
                    </div>
                };
                earlier.get().into_iter().map(exchange).collect_view()
            }}
        </div>
        <p class="asked">{asked}</p>
        <div class="answers">
            <Pane variant=ModelVariant::Base />
            <Pane variant=ModelVariant::Tuned />
        </div>
        <div class="ask">
            <label class="hidden-text" for="prompt">"Prompt"</label>
            <textarea
                id="prompt"
                rows="2"
                placeholder="Say something to both, as in the data"
                prop:value=move || prompt.get()
                on:input=move |event| prompt.set(event_target_value(&event))
                on:keydown=key
            ></textarea>
            <button
                type="button"
                id="generate"
                prop:disabled=move || why_not().is_some()
                title=move || why_not().unwrap_or("Ctrl + Enter")
                on:click=move |_| ask()
            >
                "Generate"
            </button>
            <button
                type="button"
                id="stop-answer"
                prop:disabled=move || !run.is_writing() || run.answers.with(|a| a.stopped)
                on:click=move |_| run.stop_answer()
            >
                "Stop"
            </button>
        </div>
    }
}

/// What is asked.
fn adapter(run: Run, labels: bool) -> String {
    let name =
        run.tuned.with(|tuned| tuned.as_ref().map(|tuned| tuned.adapter.clone())).filter(|name| !name.is_empty());
    match (name, labels) {
        (Some(name), false) => format!("the base beside {name}"),
        (None, false) => "the same conversation, before and after".into(),
        (Some(name), true) => format!("labelled by {name}"),
        (None, true) => "a text, and its labels".into(),
    }
}

/// The last answer of one model.
#[component]
fn Pane(variant: ModelVariant) -> impl IntoView {
    let run = use_run();
    let (id, title) = match variant {
        ModelVariant::Base => ("answer-base", "Base"),
        ModelVariant::Tuned => ("answer-tuned", "Tuned"),
    };
    let off = move || variant == ModelVariant::Tuned && !run.has_adapter();
    let writes = move || run.answers.with(|a| a.writing == Some(variant));
    let text = move || {
        let text = run.answers.with(|a| a.exchanges.last().map(|e| e.of(variant).to_string())).unwrap_or_default();
        if text.is_empty() && off() { "Train first, or load an adapter: there is none yet.".into() } else { text }
    };
    view! {
        <div class:off=off>
            <h3>{title}</h3>
            <p id=id class:writing=writes aria-live="polite" aria-busy=move || writes().to_string()>{text}</p>
        </div>
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

/// A number of the request. Text that is no number changes nothing: the last number stays.
fn number<T: std::str::FromStr + ToString + 'static>(
    run: Run,
    (id, label, hint): (&'static str, &'static str, &'static str),
    [min, max, step]: [&'static str; 3],
    of: fn(&mut GenerateRequest) -> &mut T,
) -> impl IntoView {
    let there = run.asking.try_update_untracked(|a| of(a).to_string()).unwrap_or_default();
    let put = move |event| {
        if let Ok(number) = event_target_value(&event).trim().parse() {
            run.asking.update(|a| *of(a) = number);
        }
    };
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <input id=id type="number" min=min max=max step=step prop:value=there on:input=put />
            <small>{hint}</small>
        </div>
    }
}

/// How both are asked.
#[component]
fn Asking() -> impl IntoView {
    let run = use_run();
    let length = ("max-tokens", "Most new tokens", "an answer may end before");
    let temperature = ("temperature", "Temperature", "0 takes the likeliest token each time");
    let top_p = ("top-p", "Top p", "draw among the likeliest that hold this much probability");
    let seed = ("answer-seed", "Seed", "the same seed draws the same answer");
    view! {
        <div class="field">
            <label for="system">"System prompt"</label>
            <textarea
                id="system"
                rows="2"
                prop:value=move || run.system_prompt()
                on:input=move |event| run.system.set(Some(event_target_value(&event)))
            ></textarea>
            <small>"what both are told first; what the data has, unless you change it"</small>
        </div>
        <div class="fields">
            {number(run, length, ["1", "4096", "1"], |a| &mut a.max_tokens)}
            {number(run, temperature, ["0", "2", "0.1"], |a| &mut a.temperature)}
            {number(run, top_p, ["0", "1", "0.05"], |a| &mut a.top_p)}
            {number(run, seed, ["0", "", "1"], |a| &mut a.seed)}
        </div>
    }
}
