//! Fields of the settings, as the catalogue describes them: a box for a number, a list to choose from, a tick.

use leptos::prelude::*;
use serde_json::Value;
use stratune_protocol::{Field, FieldKind, Problem};

use super::targets::Targets;
use crate::state::labels::{COLUMNS, OBJECTIVE, is_read};
use crate::state::settings::{Settings, meant, modes_of, written};
use crate::state::use_run;

/// The field of a setting; it is there while the setting does something.
#[component]
pub fn FieldView(field: Field) -> impl IntoView {
    let run = use_run();
    let only = field.only.clone();
    let is_there = Memo::new(move |_| run.config.with(|c| c.has(&only)));
    let shown = move || {
        let field = field.clone();
        match field.kind.clone() {
            FieldKind::Number(range) => view! { <Number field zero=range.zero /> }.into_any(),
            FieldKind::Choice(options) => view! { <Choice field options /> }.into_any(),
            FieldKind::Tick => view! { <Tick field /> }.into_any(),
            FieldKind::Text => view! { <Text field /> }.into_any(),
            FieldKind::Column => view! { <Column field /> }.into_any(),
            FieldKind::Targets => view! { <Targets label=field.label /> }.into_any(),
        }
    };
    view! { <Show when=move || is_there.get()>{shown()}</Show> }
}

/// The catalogue's fields whose path begins so, in its order.
#[component]
pub fn Fields(
    /// The beginning of their paths, such as `train.`.
    group: &'static str,
    /// Whether those that most people never need.
    #[prop(optional)]
    advanced: bool,
) -> impl IntoView {
    let run = use_run();
    let labels = Memo::new(move |_| run.learns_labels());
    let encoder = Memo::new(move |_| run.is_encoder());
    let fields = Memo::new(move |_| {
        let (labels, encoder) = (labels.get(), encoder.get());
        let those = |field: &&Field| is_shown(field, group, labels) == Some(advanced);
        let mut fields: Vec<Field> = run.catalogue.with(|c| c.fields.iter().filter(those).cloned().collect());
        for field in fields.iter_mut().filter(|field| encoder && field.path == OBJECTIVE) {
            if let FieldKind::Choice(options) = &mut field.kind {
                options.retain(|(value, _)| value != "next_token");
            }
        }
        fields
    });
    view! { <These fields /> }
}

/// Fields in their order. One that stays as others come and go keeps the focus.
#[component]
pub fn These(fields: Memo<Vec<Field>>) -> impl IntoView {
    let key = |field: &Field| {
        let options = if let FieldKind::Choice(options) = &field.kind { options.len() } else { 0 };
        (field.path.clone(), field.label.clone(), field.help.clone(), options)
    };
    view! { <For each=move || fields.get() key=key let:field><FieldView field /></For> }.into_any()
}

/// Whether a field of this group is shown where labels are learned, or tokens: and if so, whether among the advanced. What
/// is learned is a matter of the data, and so are the columns of it.
fn is_shown(field: &Field, group: &str, labels: bool) -> Option<bool> {
    let is_objective = field.path == OBJECTIVE;
    let its = if is_objective { "data." } else { &field.path };
    let first = is_objective || labels && COLUMNS.contains(&field.path.as_str());
    (its.starts_with(group) && is_read(&field.path, labels)).then_some(field.advanced && !first)
}

/// The id of the field at a path: its name; with the group in front where others have such names as well.
pub fn id_of(path: &str) -> String {
    let group = ["ist", "search"].into_iter().find(|group| path.starts_with(&format!("{group}.")));
    let named = group.map(|_| path.replace('.', "-"));
    named.unwrap_or_else(|| path.rsplit('.').next().unwrap_or(path).to_string()).replace('_', "-")
}

/// What stands below a field: what the engine's plan says of it, or what it does.
fn below(path: String, help: String) -> impl Fn() -> String + Clone {
    let run = use_run();
    move || {
        let mode = || {
            let name = run.config.with(|c| c.text(&path).to_string());
            run.catalogue.with(|c| modes_of(c, &path).iter().find(|m| m.name == name).map(|mode| mode.sentence.clone()))
        };
        let note = run.plan.with(|plan| plan.as_ref().and_then(|plan| plan.notes.get(&path).cloned()));
        note.or_else(mode).unwrap_or_else(|| help.clone())
    }
}

/// A text box for a number. Its text stays as it was typed while it means the value that is set.
#[component]
fn Number(field: Field, zero: String) -> impl IntoView {
    let run = use_run();
    let Field { path, label, help, kind, .. } = field;
    let id = id_of(&path);
    let below = below(path.clone(), help);
    let read = {
        let (path, kind) = (path.clone(), kind.clone());
        move |config: &Settings| written(config.get(&path), &kind)
    };
    let text = RwSignal::new(run.config.with_untracked(&read));
    let (typo, value) = (
        {
            let path = path.clone();
            move || run.typos.with(|t| t.get(&path).map(|problem| problem.next.clone()))
        },
        {
            let path = path.clone();
            Memo::new(move |_| run.config.with(|c| c.get(&path).cloned()))
        },
    );
    Effect::new({
        let (kind, typo) = (kind.clone(), typo.clone());
        move |_| {
            let says_it = text.with_untracked(|t| meant(t, &kind).ok()) == value.get();
            if untrack(&typo).is_none() && !says_it {
                text.set(run.config.with_untracked(&read));
            }
        }
    });
    let typed = {
        let (path, label) = (path.clone(), label.clone());
        move |event| {
            let new = event_target_value(&event);
            match meant(&new, &kind) {
                Ok(value) => {
                    run.typos.update(|t| drop(t.remove(&path)));
                    if run.config.with_untracked(|c| c.get(&path) != Some(&value)) {
                        run.config.update(|c| c.put(&path, value));
                    }
                }
                Err(wanted) => {
                    let problem = Problem::input(format!("'{new}' is no value for “{label}”")).at(path.clone());
                    run.typos.update(|t| drop(t.insert(path.clone(), problem.next(format!("use {wanted}")))));
                }
            }
            text.set(new);
        }
    };
    // A field that leaves takes what is wrong in it along.
    on_cleanup(move || run.typos.update(|t| drop(t.remove(&path))));
    let hint_id = format!("{id}-hint");
    let wrong = typo.clone();
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <input
                id=id
                type="text"
                inputmode="decimal"
                autocomplete="off"
                spellcheck="false"
                placeholder=zero
                prop:value=move || text.get()
                aria-invalid=move || wrong().is_some().to_string()
                aria-describedby=hint_id.clone()
                on:input=typed
            />
            <small id=hint_id>{move || typo().unwrap_or_else(&below)}</small>
        </div>
    }
}

/// A text box. What is typed is read when the box is left.
#[component]
fn Text(field: Field) -> impl IntoView {
    let run = use_run();
    let Field { path, label, help, .. } = field;
    let (id, below) = (id_of(&path), below(path.clone(), help));
    let hint_id = format!("{id}-hint");
    let text = {
        let path = path.clone();
        move || run.config.with(|c| c.text(&path).to_string())
    };
    let typed = move |event| run.choose(&path, event_target_value(&event).into());
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <input id=id type="text" autocomplete="off" prop:value=text aria-describedby=hint_id.clone() on:change=typed />
            <small id=hint_id>{below}</small>
        </div>
    }
}

/// A list of the data's columns; it is there while the data has some.
#[component]
fn Column(field: Field) -> impl IntoView {
    let run = use_run();
    let Field { path, label, .. } = field;
    let columns = Memo::new(move |_| run.data.with(|d| d.as_ref().map(|d| d.columns.clone()).unwrap_or_default()));
    let options = Signal::derive(move || {
        let named = columns.get().into_iter().map(|c| (c.clone(), c));
        std::iter::once((String::new(), "recognise it".to_string())).chain(named).collect::<Vec<_>>()
    });
    let list = move || {
        let (of, path, label) = (path.clone(), path.clone(), label.clone());
        let chosen = Memo::new(move |_| run.config.with(|c| c.text(&of).to_string()));
        let id = id_of(&path);
        view! { <List id label options chosen choose=move |name: String| run.choose(&path, name.into()) /> }
    };
    view! { <Show when=move || columns.with(|c| !c.is_empty())>{list.clone()}</Show> }
}

/// A list to choose a value from. Choosing a mode of IST sets all that belongs to it.
#[component]
fn Choice(field: Field, options: Vec<(Value, String)>) -> impl IntoView {
    let run = use_run();
    let Field { path, label, help, .. } = field;
    let below = below(path.clone(), help);
    let values: Vec<Value> = options.iter().map(|(value, _)| value.clone()).collect();
    let named = |(value, called)| (written(Some(&value), &FieldKind::Tick), called);
    let names: Vec<(String, String)> = options.into_iter().map(named).collect();
    let chosen = {
        let path = path.clone();
        Memo::new(move |_| run.config.with(|c| written(c.get(&path), &FieldKind::Tick)))
    };
    let id = id_of(&path);
    let choose = move |name: String| {
        if let Some(value) = values.iter().find(|value| written(Some(value), &FieldKind::Tick) == name) {
            run.choose(&path, value.clone());
        }
    };
    view! { <List id label options=names hint=Signal::derive(move || Some(below())) chosen choose /> }
}

/// A list to choose from.
#[component]
pub fn List(
    id: String,
    label: String,
    /// Names and what they are called.
    #[prop(into)]
    options: Signal<Vec<(String, String)>>,
    /// One short line below.
    #[prop(into, optional)]
    hint: MaybeProp<String>,
    /// The name of what is chosen.
    chosen: Memo<String>,
    /// Does what a name stands for.
    choose: impl Fn(String) + 'static,
) -> impl IntoView {
    let option = move |(name, called): (String, String)| {
        let is_chosen = {
            let name = name.clone();
            move || chosen.with(|c| *c == name)
        };
        view! { <option value=name prop:selected=is_chosen>{called}</option> }
    };
    let hint_id = format!("{id}-hint");
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <select id=id aria-describedby=hint_id.clone() on:change=move |event| choose(event_target_value(&event))>
                {move || options.get().into_iter().map(option).collect_view()}
            </select>
            <small id=hint_id>{move || hint.get()}</small>
        </div>
    }
}

/// A box to tick.
#[component]
fn Tick(field: Field) -> impl IntoView {
    let run = use_run();
    let Field { path, label, .. } = field;
    let id = id_of(&path);
    let is_on = {
        let path = path.clone();
        move || run.config.with(|c| c.get(&path) == Some(&Value::Bool(true)))
    };
    let change = move |event| run.config.update(|c| c.put(&path, event_target_checked(&event).into()));
    view! {
        <label class="tick">
            <input type="checkbox" id=id prop:checked=is_on on:change=change />
            {label}
        </label>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_what_is_learned() {
        let shown = |path: &str, group, labels| {
            is_shown(&Field { path: path.into(), advanced: true, ..Field::default() }, group, labels)
        };
        for labels in [false, true] {
            assert_eq!((shown(OBJECTIVE, "data.", labels), shown(OBJECTIVE, "train.", labels)), (Some(false), None));
            assert_eq!(shown("data.max_length", "data.", labels), Some(true));
        }
        assert_eq!(shown("data.label_column", "data.", true), Some(false));
        assert_eq!(shown("data.label_column", "data.", false), None);
        assert_eq!(shown("data.prompt_column", "data.", true), None);
        assert_eq!(
            (shown("train.class_weights", "train.", true), shown("train.class_weights", "train.", false)),
            (Some(true), None)
        );
    }

    #[test]
    fn ids_are_names() {
        for (path, id) in [
            ("train.checkpoint_every", "checkpoint-every"),
            ("ist.interval", "ist-interval"),
            ("search.learning_rate", "search-learning-rate"),
            ("method.interval", "interval"),
            ("base_dtype", "base-dtype"),
        ] {
            assert_eq!(id_of(path), id);
        }
    }
}
