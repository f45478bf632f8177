//! The third card: what is trained.

use leptos::prelude::*;
use stratune_protocol::{Budget, BudgetUnit, Catalogue, Field, FieldKind, MethodEntry, Plan, Preset};

use super::search_card::SearchFields;
use crate::parts::card::Card;
use crate::parts::drop_zone::DropZone;
use crate::parts::field::{Fields, These};
use crate::state::search::{budget_of, written};
use crate::state::settings::Settings;
use crate::state::{Card as Which, Run, use_run};
use crate::units;

/// The third card.
#[component]
pub fn MethodCard() -> impl IntoView {
    let run = use_run();
    let preset = move |preset: Preset| {
        let (id, values, then) = (preset.name.to_lowercase(), preset.values.clone(), preset.values);
        view! {
            <button
                type="button"
                id=format!("preset-{id}")
                title=preset.hint
                aria-pressed=move || run.config.with(|c| c.is_at(&values)).to_string()
                on:click=move |_| run.config.update(|c| c.put_all(&then))
            >
                {preset.name}
            </button>
        }
    };
    let way = Memo::new(move |_| match (run.searches(), run.has_structure()) {
        (true, _) => Way::Search,
        (false, true) => Way::Structure,
        (false, false) => Way::Method,
    });
    let presets = move || run.catalogue.with(|c| c.presets.clone()).into_iter().map(preset).collect_view();
    view! {
        <Card which=Which::Method summary=Signal::derive(move || summary(run))>
            <Ways way />
            <Show when=move || way.get() == Way::Method>
                <div class="choices" role="group" aria-label="Presets">{presets}</div>
            </Show>
            <Show when=move || way.get() == Way::Search><SearchFields /></Show>
            <div class="fields">
                <Show when=move || way.get() == Way::Method><Picker /></Show>
                <Show when=move || way.get() != Way::Search><Fields group="ist." /></Show>
            </div>
            <Show when=move || way.get() == Way::Method>
                <div class="fields"><MethodFields part=Part::Plain /></div>
                <MethodFields part=Part::Targets />
            </Show>
            <p class="explain size" id="adapter-size" role="status">{move || run.plan.with(size_sentence)}</p>
            <details class="advanced">
                <summary>"Advanced"</summary>
                <Show when=move || way.get() != Way::Search>
                    <div class="fields">
                        <Show when=move || way.get() == Way::Method><MethodFields part=Part::Advanced /></Show>
                        <Fields group="ist." advanced=true />
                    </div>
                </Show>
                <DropZone
                    id="structure-drop"
                    input_id="structure-file"
                    button="Load a structure …"
                    hint="structure.json, in the place of the method"
                    on_files=move |files| run.choose_structure(files)
                />
            </details>
        </Card>
    }
}

/// What says which modules train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Method,
    Search,
    Structure,
}

/// Whether a method is chosen, or a search under a budget, or the structure that one has.
#[component]
fn Ways(way: Memo<Way>) -> impl IntoView {
    let run = use_run();
    let button = move |of: Way, id: &'static str, name: &'static str, choose: fn(Run)| {
        let press = move |_| {
            if way.get_untracked() != of {
                choose(run);
            }
        };
        view! { <button type="button" id=id aria-pressed=move || (way.get() == of).to_string() on:click=press>{name}</button> }
    };
    view! {
        <div class="choices" role="group" aria-label="What decides which modules train">
            {button(Way::Method, "by-method", "A method", Run::train_a_method)}
            {button(Way::Search, "by-search", "Search under a budget", Run::search_instead)}
            <Show when=move || run.structure.with(Option::is_some)>
                {button(Way::Structure, "by-structure", "The structure", Run::use_structure)}
            </Show>
        </div>
    }
}

/// The methods by family, and what the chosen ones do.
#[component]
fn Picker() -> impl IntoView {
    let run = use_run();
    let chosen = Memo::new(move |_| run.plan.with(|plan| plan.as_ref().map(|p| p.method.clone()).unwrap_or_default()));
    let option = move |MethodEntry { name, title, methods, .. }: MethodEntry| {
        let is_chosen = {
            let name = name.clone();
            move || chosen.with(|c| *c == name)
        };
        // A combination is made for a model.
        let cannot = move || methods.is_empty() && run.choices.with(Option::is_none);
        view! { <option value=name prop:selected=is_chosen prop:disabled=cannot>{title}</option> }
    };
    let family = move |(family, entries): (String, Vec<MethodEntry>)| {
        view! { <optgroup label=family>{entries.into_iter().map(option).collect_view()}</optgroup> }
    };
    let families = move || run.catalogue.with(|c| by_family(&c.methods)).into_iter().map(family).collect_view();
    let hint = move || {
        run.catalogue.with(|catalogue| run.config.with(|config| chosen.with(|c| sentences(catalogue, config, c))))
    };
    view! {
        <div class="field">
            <label for="method">"Method"</label>
            <select
                id="method"
                aria-describedby="method-hint"
                on:change=move |event| run.choose_method(&event_target_value(&event))
            >
                {families}
            </select>
            <small id="method-hint">{hint}</small>
        </div>
    }
}

/// Methods of one family after those of another, in the order in which they come.
fn by_family(entries: &[MethodEntry]) -> Vec<(String, Vec<MethodEntry>)> {
    let mut families: Vec<(String, Vec<MethodEntry>)> = Vec::new();
    for entry in entries {
        match families.iter_mut().find(|(family, _)| *family == entry.family) {
            Some((_, members)) => members.push(entry.clone()),
            None => families.push((entry.family.clone(), vec![entry.clone()])),
        }
    }
    families
}

/// The entries of the methods that a run has.
fn members<'a>(catalogue: &'a Catalogue, config: &'a Settings) -> impl Iterator<Item = &'a MethodEntry> {
    let kinds = config.methods().iter().filter_map(|method| method.get("kind")?.as_str());
    kinds.filter_map(|kind| catalogue.methods.iter().find(|entry| entry.name == kind))
}

/// What the chosen combination does, or each of the methods.
fn sentences(catalogue: &Catalogue, config: &Settings, chosen: &str) -> String {
    let combination = catalogue.methods.iter().find(|entry| entry.name == chosen && entry.methods.is_empty());
    match combination {
        Some(entry) => entry.sentence.clone(),
        None => members(catalogue, config).map(|entry| entry.sentence.as_str()).collect::<Vec<_>>().join(" "),
    }
}

/// Where a setting of a method is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Plain,
    Targets,
    Advanced,
}

impl Part {
    fn of(field: &Field) -> Self {
        match field.kind {
            FieldKind::Targets => Self::Targets,
            _ if field.advanced => Self::Advanced,
            FieldKind::Number(_) | FieldKind::Choice(_) | FieldKind::Tick | FieldKind::Text | FieldKind::Column => {
                Self::Plain
            }
        }
    }
}

/// The settings that one of the methods has, each once.
#[component]
fn MethodFields(part: Part) -> impl IntoView {
    let run = use_run();
    let fields = Memo::new(move |_| {
        let mut fields: Vec<Field> = Vec::new();
        run.catalogue.with(|catalogue| {
            run.config.with(|config| {
                for field in members(catalogue, config).flat_map(|entry| &entry.fields) {
                    if Part::of(field) == part && !fields.iter().any(|there| there.path == field.path) {
                        fields.push(field.clone());
                    }
                }
            });
        });
        fields
    });
    view! { <These fields /> }
}

fn summary(run: Run) -> String {
    if run.searches() {
        let budget = run.config.with(budget_of);
        return run.plan.with(|plan| plan.as_ref().map(|plan| search_of(plan, budget)).unwrap_or_default());
    }
    if run.has_structure() {
        let structure = run.structure.with(|s| s.as_ref().map(|s| (s.modules, s.parameters)));
        return run.plan.with(|plan| plan.as_ref().zip(structure).map(|(p, s)| structure_of(p, s)).unwrap_or_default());
    }
    let has_targets = run.config.with(|c| c.get("method.targets").is_some());
    run.plan.with(|plan| plan.as_ref().map(|plan| summary_of(plan, has_targets)).unwrap_or_default())
}

/// In one line, such as `LoRA r8 on q v, all layers, 0.4 % of the parameters`.
fn summary_of(plan: &Plan, has_targets: bool) -> String {
    let size = plan.size.as_ref();
    let places = size.filter(|_| has_targets).map(|size| match size.targets.len() {
        0 => " on nothing".into(),
        _ if size.all_targets => " on all matrices".into(),
        _ => {
            let short: Vec<&str> = size.targets.iter().map(|name| name.trim_end_matches("_proj")).collect();
            format!(" on {}", short.join(" "))
        }
    });
    let share = size.map(|size| format!(", {} of the parameters", units::percent(size.share)));
    format!("{}{}, {}{}", plan.title, places.unwrap_or_default(), plan.layers, share.unwrap_or_default())
}

/// A search in one line.
fn search_of(plan: &Plan, budget: Budget) -> String {
    if budget.unit == BudgetUnit::StepTime {
        return format!("{}: steps of at most {}", plan.title, written(budget));
    }
    let of = plan.search.as_ref().filter(|of| of.modules > 0).map(|of| {
        let modules = units::plural(of.modules, "module", "modules");
        format!(" of the {} in {modules}", units::grouped(of.all))
    });
    format!("{}: at most {} numbers{}", plan.title, units::grouped(budget.amount), of.unwrap_or_default())
}

/// A structure in one line: its modules and numbers.
fn structure_of(plan: &Plan, (modules, parameters): (usize, u64)) -> String {
    let (modules, numbers) = (units::plural(modules, "module", "modules"), units::grouped(parameters));
    format!("a structure of {modules}, {numbers} numbers, {}", plan.layers)
}

fn size_sentence(plan: &Option<Plan>) -> Option<String> {
    let size = plan.as_ref()?.size.as_ref()?;
    if plan.as_ref()?.search.is_some() {
        let all = units::grouped(size.trainable);
        return Some(format!(
            "While it searches, the {all} numbers of all modules train together; what it finds is smaller."
        ));
    }
    Some(format!(
        "{} trainable parameters, {} of the model; as a file about {}.",
        units::grouped(size.trainable),
        units::percent(size.share),
        units::bytes(size.adapter_bytes)
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stratune_protocol::{RunSize, SearchSize};

    use super::*;
    use crate::state::settings::tests::settings;

    fn entry(name: &str, family: &str, members: usize) -> MethodEntry {
        MethodEntry {
            name: name.into(),
            family: family.into(),
            sentence: format!("What {name} does."),
            methods: vec![json!({ "kind": name }); members],
            ..MethodEntry::default()
        }
    }

    #[test]
    fn a_plan_in_one_line() {
        let of = |targets: &[&str], all_targets, has_targets| {
            let targets = targets.iter().map(ToString::to_string).collect();
            let size = RunSize { share: 0.004, targets, all_targets, ..RunSize::default() };
            let plan = Plan { title: "LoRA r8".into(), layers: "all layers".into(), ..Plan::default() };
            summary_of(&Plan { size: Some(size), ..plan }, has_targets)
        };
        assert_eq!(of(&["q_proj", "v_proj"], false, true), "LoRA r8 on q v, all layers, 0.4 % of the parameters");
        assert_eq!(of(&["q_proj"], true, true), "LoRA r8 on all matrices, all layers, 0.4 % of the parameters");
        assert_eq!(of(&[], false, true), "LoRA r8 on nothing, all layers, 0.4 % of the parameters");
        assert_eq!(of(&[], false, false), "LoRA r8, all layers, 0.4 % of the parameters");
        let plan = Plan { title: "LoRA r8".into(), layers: "practical".into(), ..Plan::default() };
        assert_eq!(summary_of(&plan, true), "LoRA r8, practical");
    }

    #[test]
    fn searches_and_structures_in_one_line() {
        let of = SearchSize { modules: 120, all: 95_232, least: 64, number_bytes: 4 };
        let plan = Plan { title: "Search by BIPEFT".into(), search: Some(of), ..Plan::default() };
        let budget = |amount, unit| Budget { amount, unit };
        let numbers = budget(9500, BudgetUnit::Numbers);
        assert_eq!(search_of(&plan, numbers), "Search by BIPEFT: at most 9,500 numbers of the 95,232 in 120 modules");
        let time = budget(250_000, BudgetUnit::StepTime);
        assert_eq!(search_of(&plan, time), "Search by BIPEFT: steps of at most 250 ms");
        assert_eq!(search_of(&Plan { search: None, ..plan }, numbers), "Search by BIPEFT: at most 9,500 numbers");
        let plan = Plan { layers: "all layers".into(), ..Plan::default() };
        assert_eq!(structure_of(&plan, (23, 9412)), "a structure of 23 modules, 9,412 numbers, all layers");
    }

    #[test]
    fn methods_stand_under_their_families_and_say_what_they_do() {
        let catalogue = Catalogue {
            methods: vec![
                entry("lora", "a", 1),
                entry("dora", "a", 1),
                entry("full", "b", 1),
                entry("mam", "hybrid", 0),
            ],
            ..Catalogue::default()
        };
        let families = by_family(&catalogue.methods);
        let names: Vec<_> = families.iter().map(|(family, all)| (family.as_str(), all.len())).collect();
        assert_eq!(names, [("a", 2), ("b", 1), ("hybrid", 1)]);
        let both = settings(json!({ "method": [{ "kind": "dora" }, { "kind": "full" }] }));
        assert_eq!(sentences(&catalogue, &both, "dora"), "What dora does. What full does.");
        assert_eq!(sentences(&catalogue, &both, "mam"), "What mam does.");
    }
}
