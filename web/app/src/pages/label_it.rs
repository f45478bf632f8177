//! A text for a model that labels texts, and what it says of it.

use leptos::prelude::*;

use crate::parts::bars::bars;
use crate::state::{Run, use_run};
use crate::units;

/// The text, a second one where the data has pairs, and the labels.
#[component]
pub fn LabelIt() -> impl IntoView {
    let run = use_run();
    let [text, text_pair] = [(); 2].map(|()| RwSignal::new(String::new()));
    let pairs = Memo::new(move |_| {
        run.data.with(|d| d.as_ref().and_then(|d| d.labelled.as_ref()).is_some_and(|of| !of.text_pair.is_empty()))
    });
    let second = move || if pairs.get() { text_pair.get() } else { String::new() };
    let why_not = move || {
        let blank = text.with(|t| t.trim().is_empty()) || pairs.get() && second().trim().is_empty();
        reason(run, blank)
    };
    let ask = move |_| {
        if untrack(why_not).is_none() {
            run.classify(text.get_untracked(), untrack(second));
        }
    };
    let written = move |id, name, text: RwSignal<String>| {
        view! {
            <label class="hidden-text" for=id>{name}</label>
            <textarea
                id=id
                rows="2"
                placeholder=name
                prop:value=move || text.get()
                on:input=move |event| text.set(event_target_value(&event))
            ></textarea>
        }
    };
    let said = move || {
        let said = run.said.get();
        match said.labels.first() {
            Some((_, number)) if said.number => view! { <p class="said">{format!("{number:.3}")}</p> }.into_any(),
            _ => {
                let of = |(name, p): (String, f32)| (name, f64::from(p), units::percent(p.into()));
                bars(said.labels.into_iter().map(of).collect()).into_any()
            }
        }
    };
    view! {
        <div class="ask">
            {written("text", "Text, as in the data", text)}
            {move || pairs.get().then(|| written("text-pair", "Second text", text_pair))}
            <button
                type="button"
                id="label-it"
                prop:disabled=move || why_not().is_some()
                title=why_not
                on:click=ask
            >
                "Label it"
            </button>
        </div>
        <div id="labels" aria-live="polite" aria-busy=move || run.said.with(|s| s.asked).to_string()>{said}</div>
    }
}

/// Why nothing can be labelled now.
fn reason(run: Run, blank: bool) -> Option<&'static str> {
    if run.activity.get().runs() {
        Some("The engine is training: stop it, or wait until it is done")
    } else if !run.has_adapter() && !run.labels_as_it_came() {
        Some("Train first, or load an adapter: the model knows no labels yet")
    } else if run.said.with(|s| s.asked) {
        Some("A text is being labelled")
    } else if blank {
        Some("Write a text first")
    } else {
        None
    }
}
