//! The fourth card: how long and how fast, and the button that starts it.

use leptos::prelude::*;

use super::forecast::Forecast;
use super::status::outcome;
use crate::parts::card::Card;
use crate::parts::field::Fields;
use crate::state::activity::Activity;
use crate::state::{Card as Which, Run, use_run};
use crate::units::{self, plural};

/// The fourth card.
#[component]
pub fn RunCard() -> impl IntoView {
    let run = use_run();
    let action = move || {
        view! {
            <button
                type="button"
                class="main"
                id="train"
                prop:disabled=move || !run.can_train()
                aria-describedby="problem"
                on:click=move |_| run.train()
            >
                {move || match run.activity.get() {
                    Activity::Paused => "Paused",
                    Activity::Starting { .. } | Activity::Training if run.searches() => "Searching",
                    Activity::Starting { .. } | Activity::Training => "Training",
                    Activity::Idle | Activity::Done if run.searches() => "Search",
                    Activity::Idle | Activity::Done => "Train",
                }}
            </button>
        }
    };
    view! {
        <Card which=Which::Run summary=Signal::derive(move || summary(run)) action=action>
            <div class="fields"><Fields group="train." /></div>
            <details class="advanced">
                <summary>"Advanced"</summary>
                <div class="fields"><Fields group="train." advanced=true /></div>
            </details>
        </Card>
        <Forecast />
        <p class="problem" id="problem" role="status">
            {move || run.problem().map(|p| format!("{} ({}): {}", p.what, p.at, p.next))}
        </p>
    }
}

fn summary(run: Run) -> String {
    if matches!(run.activity.get(), Activity::Starting { .. } | Activity::Training) {
        return "training; it keeps running while this tab is hidden".into();
    }
    // Until its card is opened for the next run.
    if run.activity.get() == Activity::Done && run.open.get() != Some(Which::Run) {
        return outcome(Activity::Done, &run.history.read(), run.has_adapter());
    }
    let steps = run.plan.with(|plan| plan.as_ref().and_then(|plan| plan.steps)).map(|n| plural(n, "step", "steps"));
    run.config.with(|c| {
        if c.is_empty() {
            return String::new();
        }
        let epochs = c.number("train.epochs");
        let length = match (c.number("train.steps") == 0.0, steps) {
            (true, Some(steps)) => format!("{epochs} epochs, {steps}"),
            (true, None) => format!("{epochs} epochs"),
            (false, _) => plural(c.number("train.steps") as usize, "step", "steps"),
        };
        let batch = units::grouped(c.number("train.batch_size") as u64);
        format!("{length}, batch {batch}, learning rate {}", c.number("train.learning_rate"))
    })
}
