//! What the next run will need, before it begins: whether it fits, where the memory goes, how long it takes.

use leptos::prelude::*;
use stratune_protocol::{MemoryPlan, Pace, Verdict};

use crate::bridge::browser;
use crate::state::use_run;
use crate::units::{self, plural};

/// The forecast below the fourth card; out of sight while a run is under way.
#[component]
pub fn Forecast() -> impl IntoView {
    let run = use_run();
    let memory = Memo::new(move |_| run.plan.with(|plan| plan.as_ref().and_then(|plan| plan.memory.clone())));
    let pace = Memo::new(move |_| run.config.with(|config| run.timing.with(|timing| timing.of(config))));
    let asked = move || run.timing.with(|timing| timing.is_asked());
    let of = move |read: fn(&MemoryPlan) -> String| move || memory.with(|m| m.as_ref().map(read));
    view! {
        <div
            class="forecast"
            class:alert=move || memory.with(|m| m.as_ref().is_some_and(|m| m.verdict == Verdict::WontFit))
            id="forecast"
            hidden=move || memory.with(Option::is_none) || run.activity.get().runs()
        >
            <p role="status">
                <strong id="verdict">{of(|m| m.sentence.clone())}</strong>
                <span id="remedies">{of(remedies)}</span>
            </p>
            <p>
                <span id="pace" role="status">{move || pace.get().map(time)}</span>
                <button
                    type="button"
                    class="quiet"
                    id="estimate"
                    title="times a few steps and throws them away"
                    prop:disabled=move || asked() || !run.can_train()
                    on:click=move |_| run.estimate()
                >
                    {move || if asked() { "timing a few steps …" } else { "how long will it take?" }}
                </button>
            </p>
            <details>
                <summary>"Where the memory goes"</summary>
                <dl>{move || memory.with(|m| m.as_ref().map(parts))}</dl>
            </details>
        </div>
    }
}

/// What would help, if anything must.
fn remedies(memory: &MemoryPlan) -> String {
    let each = memory.remedies.iter().map(|r| format!("{}: {}", r.settings, units::bytes(r.bytes)));
    match (memory.verdict, memory.remedies.is_empty()) {
        (Verdict::Fits | Verdict::Unknown, _) => String::new(),
        (_, true) => "Only a smaller model would help.".into(),
        (_, false) => format!("With {}.", each.collect::<Vec<_>>().join("; with ")),
    }
}

fn time(pace: Pace) -> String {
    let seconds = pace.seconds();
    let (all, steps) = (units::about(seconds), plural(pace.steps, "step", "steps"));
    format!("Takes {all}, {steps} of {:.2} s; begun now, done at {}.", pace.step, browser::clock_in(seconds))
}

/// Each part with its size, and its share as a bar.
fn parts(memory: &MemoryPlan) -> impl IntoView + use<> {
    let all = memory.bytes.max(1) as f64;
    let part = move |(name, bytes): (String, u64)| {
        let share = format!("{:.1}%", 100.0 * bytes as f64 / all);
        view! {
            <div>
                <dt>{name}</dt>
                <dd>{units::bytes(bytes)}</dd>
                <dd><span style:width=share></span></dd>
            </div>
        }
    };
    memory.parts.clone().into_iter().map(part).collect_view()
}

#[cfg(test)]
mod tests {
    use stratune_protocol::Remedy;

    use super::*;

    #[test]
    fn what_would_help_in_words() {
        let remedy = |settings: &str, bytes| Remedy { settings: settings.into(), bytes };
        let say = |verdict, remedies: Vec<Remedy>| {
            let (parts, sentence, savings) = (Vec::new(), String::new(), Vec::new());
            super::remedies(&MemoryPlan { bytes: 0, parts, verdict, sentence, remedies, savings })
        };
        assert_eq!(say(Verdict::Fits, Vec::new()), "");
        assert_eq!(say(Verdict::WontFit, Vec::new()), "Only a smaller model would help.");
        let two = vec![remedy("graph_memory 128", 1_100_000_000), remedy("max_length 256", 900_000_000)];
        assert_eq!(say(Verdict::Tight, two), "With graph_memory 128: 1.1 GB; with max_length 256: 900 MB.");
    }
}
