//! Fields of the settings: a text box for a value, a list to choose from.

use std::str::FromStr;

use leptos::prelude::*;
use stratune_protocol::{Problem, RunConfig};

use crate::state::use_run;

/// Reads `text` into `slot`; false if it is no such value.
pub fn put<T: FromStr>(slot: &mut T, text: &str) -> bool {
    match text.trim().parse() {
        Ok(value) => {
            *slot = value;
            true
        }
        Err(_) => false,
    }
}

/// A text box for one value of the settings. Its text stays as it was typed while it means the value that is set.
#[component]
pub fn Field(
    id: &'static str,
    label: &'static str,
    /// One short line below.
    #[prop(into, optional)]
    hint: MaybeProp<String>,
    /// Grey text of an empty box.
    #[prop(optional)]
    placeholder: &'static str,
    read: fn(&RunConfig) -> String,
    write: fn(&mut RunConfig, &str) -> bool,
) -> impl IntoView {
    let run = use_run();
    let text = RwSignal::new(run.config.with_untracked(read));
    Effect::new(move |_| {
        let config = run.config.get();
        let mut meant = config.clone();
        let typo = run.typos.with_untracked(|t| t.contains_key(id));
        let says_it = text.with_untracked(|t| write(&mut meant, t)) && meant == config;
        if !typo && !says_it {
            text.set(read(&config));
        }
    });
    let typed = move |event| {
        let new = event_target_value(&event);
        let mut config = run.config.get_untracked();
        if write(&mut config, &new) {
            run.typos.update(|t| drop(t.remove(id)));
            text.set(new);
            if config != run.config.get_untracked() {
                run.config.set(config);
            }
        } else {
            let problem = Problem::input(format!("'{new}' is no value for “{label}”")).at(id).next("type a number");
            run.typos.update(|t| drop(t.insert(id, problem)));
            text.set(new);
        }
    };
    let wrong = move || run.typos.with(|t| t.contains_key(id));
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <input
                id=id
                type="text"
                inputmode="decimal"
                autocomplete="off"
                spellcheck="false"
                placeholder=placeholder
                prop:value=move || text.get()
                aria-invalid=move || wrong().to_string()
                aria-describedby=format!("{id}-hint")
                on:input=typed
            />
            <small id=format!("{id}-hint")>
                {move || if wrong() { Some("not a number".to_string()) } else { hint.get() }}
            </small>
        </div>
    }
}

/// A list to choose one value of the settings from.
#[component]
pub fn Choice(
    id: &'static str,
    label: &'static str,
    /// Values and what they are called.
    #[prop(into)]
    options: Signal<Vec<(String, String)>>,
    /// One short line below.
    #[prop(into, optional)]
    hint: MaybeProp<String>,
    read: fn(&RunConfig) -> String,
    write: fn(&mut RunConfig, &str) -> bool,
) -> impl IntoView {
    let run = use_run();
    let chosen = Memo::new(move |_| run.config.with(read));
    let choose = move |event| {
        let value = event_target_value(&event);
        run.config.update(|c| {
            write(c, &value);
        });
    };
    let option = move |(value, name): (String, String)| {
        let is_chosen = {
            let value = value.clone();
            move || chosen.with(|c| *c == value)
        };
        view! { <option value=value prop:selected=is_chosen>{name}</option> }
    };
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <select id=id aria-describedby=format!("{id}-hint") on:change=choose>
                {move || options.get().into_iter().map(option).collect_view()}
            </select>
            <small id=format!("{id}-hint")>{move || hint.get()}</small>
        </div>
    }
}

/// A serde name, such as `practical`, of a plain choice.
pub fn name_of<T: std::fmt::Debug>(value: T) -> String {
    let mut name = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use stratune_protocol::{DataFormat, IstMode};

    use super::*;

    #[test]
    fn numbers_are_read_or_left() {
        let mut n = 3_usize;
        assert!(put(&mut n, " 12 ") && n == 12);
        assert!(!put(&mut n, "-1") && !put(&mut n, "") && !put(&mut n, "1e") && n == 12);
        let mut x = 0.0_f64;
        assert!(!put(&mut x, "1,000"));
        assert!(put(&mut x, "1e-3") && x == 1e-3);
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for format in [DataFormat::Auto, DataFormat::PromptCompletion, DataFormat::Tsv] {
            assert_eq!(name_of(format).parse(), Ok(format));
        }
        assert_eq!(name_of(IstMode::Practical), "practical");
    }
}
