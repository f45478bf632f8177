//! The settings that methods have, besides their targets: a field for each, there while a chosen method has it.

use leptos::prelude::*;
use stratune_protocol::{MethodConfig, Methods, Setting};

use crate::parts::field::{Field, put};
use crate::state::{Run, use_run};

/// Whether one of the methods has the setting.
pub fn has(run: Run, setting: Setting) -> bool {
    run.config.with(|c| c.method.iter().any(|m| m.kind.settings().contains(&setting)))
}

/// The first value that a method has for a setting, as text.
fn shown<T: ToString>(methods: &Methods, of: impl Fn(&MethodConfig) -> Option<T>) -> String {
    methods.iter().find_map(of).map_or_else(String::new, |value| value.to_string())
}

/// Reads a value for every method that has the setting.
fn put_all<T: std::str::FromStr + Clone + Default>(
    methods: &mut Methods,
    text: &str,
    of: impl Fn(&mut MethodConfig) -> &mut Option<T>,
) -> bool {
    let mut value = T::default();
    put(&mut value, text) && methods.set(Some(value), of)
}

/// A field for a number of the methods; its id is the setting's name.
macro_rules! number {
    ($slot:ident, $label:literal, $hint:literal) => {
        view! {
            <Field
                id=stringify!($slot)
                label=$label
                hint=$hint
                read=|c| shown(&c.method, |m| m.$slot)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.$slot)
            />
        }
        .into_any()
    };
}

/// A field for a setting that some methods have; it is there while one of the chosen ones does.
pub fn number(setting: Setting) -> impl IntoView {
    let run = use_run();
    let field = move || match setting {
        Setting::Rank => number!(rank, "Rank", "larger learns more and weighs more"),
        Setting::Alpha => number!(alpha, "Alpha", "the update is scaled by alpha / rank"),
        Setting::Dropout => number!(dropout, "Dropout", "on the update's input while training"),
        Setting::Ratio => number!(ratio, "Ratio of the learning rates", "B's is this many times A's"),
        Setting::Width => {
            number!(width, "Width", "of the bottleneck; prefix: of the network that makes it, 0 for none")
        }
        Setting::Scale => number!(scale, "Scale", "of what the method adds"),
        Setting::Length => number!(length, "Length", "positions put before the text"),
        Setting::Share => number!(share, "Share of the weights", "of each matrix; the others stay"),
        Setting::Dimension => number!(dimension, "Dimension", "numbers that steer all weights"),
        Setting::InitialRank => number!(initial_rank, "Rank at the start", "the budget shrinks to the rank"),
        Setting::Penalty => number!(penalty, "Penalty", "its weight in the loss"),
        Setting::Samples => number!(samples, "Rows to choose from", "looked at before training"),
        Setting::Interval => number!(interval, "Interval", "steps between changes of what trains"),
        Setting::Blocks => number!(blocks, "Layers at a time", "drawn anew at every interval"),
        Setting::Bits => number!(bits, "Bits of the base", "4 or 8"),
        Setting::Reduction => number!(reduction, "Reduction", "how many times narrower than the model"),
        Setting::Gated => view! { <GateBox /> }.into_any(),
        // The targets have boxes, the rest belongs to files and the command line.
        Setting::Targets | Setting::Overrides | Setting::Projection => ().into_any(),
    };
    view! { <Show when=move || has(run, setting)>{field()}</Show> }
}

#[component]
fn GateBox() -> impl IntoView {
    let run = use_run();
    let is_on = move || run.config.with(|c| c.method.iter().any(|m| m.gated == Some(true)));
    let change = move |event| {
        let on = event_target_checked(&event);
        run.config.update(|c| {
            c.method.set(Some(on), |m| &mut m.gated);
        });
    };
    view! {
        <label class="tick">
            <input type="checkbox" id="gated" prop:checked=is_on on:change=change />
            "A gate decides for each token how much it adds"
        </label>
    }
}
