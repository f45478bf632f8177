//! One of the four cards: a number, a name, a summary in one line, and what opens beneath.

use leptos::prelude::*;

use crate::state::{Card as Which, use_run};

impl Which {
    fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Data => "data",
            Self::Method => "method",
            Self::Run => "run",
        }
    }

    fn number(self) -> &'static str {
        match self {
            Self::Model => "1",
            Self::Data => "2",
            Self::Method => "3",
            Self::Run => "4",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::Data => "Data",
            Self::Method => "Method",
            Self::Run => "Run",
        }
    }
}

/// A card. While a run is under way its fields are locked: they belong to the next run.
#[component]
pub fn Card(
    which: Which,
    #[prop(into)] summary: Signal<String>,
    /// Whether the summary says that something is under way.
    #[prop(into, optional)]
    busy: Signal<bool>,
    /// What stands beside the button that opens the card.
    #[prop(into, optional)]
    action: ViewFn,
    children: Children,
) -> impl IntoView {
    let run = use_run();
    let is_open = move || run.open.get() == Some(which);
    let word = which.word();
    let toggle = move |_| run.open.update(|o| *o = if *o == Some(which) { None } else { Some(which) });
    view! {
        <section class="card" class:open=is_open id=format!("card-{word}") aria-labelledby=format!("title-{word}")>
            <div class="card-head">
                <span class="number" aria-hidden="true">{which.number()}</span>
                <h2 id=format!("title-{word}")>{which.title()}</h2>
                <p class="summary" class:busy=move || busy.get()>{move || summary.get()}</p>
                {action.run()}
                <button
                    type="button"
                    class="quiet"
                    id=format!("change-{word}")
                    aria-expanded=move || is_open().to_string()
                    aria-controls=format!("body-{word}")
                    aria-label=move || format!("{} {}", if is_open() { "Close" } else { "Change" }, word)
                    on:click=toggle
                >
                    {move || if is_open() { "close" } else { "change" }}
                </button>
            </div>
            <fieldset
                class="card-body"
                id=format!("body-{word}")
                hidden=move || !is_open()
                prop:disabled=move || run.activity.get().runs()
            >
                <legend class="hidden-text">{format!("Settings of the {word}")}</legend>
                {children()}
            </fieldset>
        </section>
    }
}
