//! The numbers that methods have: a field for each, there while a chosen method has it.

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

/// A field for a number that some methods have; it is there while one of the chosen ones does.
pub fn number(setting: Setting) -> impl IntoView {
    let run = use_run();
    let field = move || match setting {
        Setting::Rank => view! {
            <Field
                id="rank"
                label="Rank"
                hint="larger learns more and weighs more"
                read=|c| shown(&c.method, |m| m.rank)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.rank)
            />
        }
        .into_any(),
        Setting::Alpha => view! {
            <Field
                id="alpha"
                label="Alpha"
                hint="the update is scaled by alpha / rank"
                read=|c| shown(&c.method, |m| m.alpha)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.alpha)
            />
        }
        .into_any(),
        Setting::Dropout => view! {
            <Field
                id="dropout"
                label="Dropout"
                hint="on the update's input while training"
                read=|c| shown(&c.method, |m| m.dropout)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.dropout)
            />
        }
        .into_any(),
        Setting::Ratio => view! {
            <Field
                id="ratio"
                label="Ratio of the learning rates"
                hint="B's is this many times A's"
                read=|c| shown(&c.method, |m| m.ratio)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.ratio)
            />
        }
        .into_any(),
        Setting::Width => view! {
            <Field
                id="width"
                label="Width"
                hint="of the bottleneck; prefix: of the network that makes it, 0 for none"
                read=|c| shown(&c.method, |m| m.width)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.width)
            />
        }
        .into_any(),
        Setting::Scale => view! {
            <Field
                id="scale"
                label="Scale"
                hint="of the adapter's output"
                read=|c| shown(&c.method, |m| m.scale)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.scale)
            />
        }
        .into_any(),
        Setting::Length => view! {
            <Field
                id="length"
                label="Length"
                hint="positions put before the text"
                read=|c| shown(&c.method, |m| m.length)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.length)
            />
        }
        .into_any(),
        Setting::Share => view! {
            <Field
                id="share"
                label="Share of the weights"
                hint="of each matrix; the smallest train"
                read=|c| shown(&c.method, |m| m.share)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.share)
            />
        }
        .into_any(),
        Setting::Dimension => view! {
            <Field
                id="dimension"
                label="Dimension"
                hint="numbers that steer all weights"
                read=|c| shown(&c.method, |m| m.dimension)
                write=|c, text| put_all(&mut c.method, text, |m| &mut m.dimension)
            />
        }
        .into_any(),
        // Not numbers: the targets have boxes, the rest belongs to files and the command line.
        Setting::Targets | Setting::Overrides | Setting::Projection => ().into_any(),
    };
    view! { <Show when=move || has(run, setting)>{field()}</Show> }
}
