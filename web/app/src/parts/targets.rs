//! Which linear layers the methods enter: a box for each that the loaded model has.

use leptos::prelude::*;
use serde_json::Value;

use crate::state::settings::Settings;
use crate::state::{Run, use_run};

/// The boxes; none before there is a model.
#[component]
pub fn Targets(label: String) -> impl IntoView {
    let run = use_run();
    let names = Memo::new(move |_| run.choices.with(|c| c.as_ref().map(|c| c.targets.clone()).unwrap_or_default()));
    view! {
        <fieldset class="targets" hidden=move || names.with(Vec::is_empty)>
            <legend>{label}</legend>
            {move || names.get().into_iter().map(|name| view! { <TargetBox name /> }).collect_view()}
        </fieldset>
    }
}

#[component]
fn TargetBox(name: String) -> impl IntoView {
    let run = use_run();
    let is_on = {
        let name = name.clone();
        move || entered(run).contains(&name)
    };
    let id = format!("target-{name}");
    let change = {
        let name = name.clone();
        move |event| {
            let on = event_target_checked(&event);
            let all = run.choices.with_untracked(|c| c.as_ref().map(|c| c.targets.clone()).unwrap_or_default());
            let mut then = untrack(|| entered(run));
            then.retain(|entered| *entered != name);
            if on {
                then.push(name.clone());
            }
            then.sort_by_key(|entered| all.iter().position(|known| known == entered));
            run.config.update(|c| enter(c, &then, &name));
        }
    };
    view! {
        <label class="tick">
            <input type="checkbox" id=id prop:checked=is_on on:change=change />
            <code>{name}</code>
        </label>
    }
}

/// The layers that are entered now: those that the settings name, or what the engine says that their words come to.
fn entered(run: Run) -> Vec<String> {
    let known = run.choices.with(|c| c.as_ref().map(|c| c.targets.clone()).unwrap_or_default());
    run.config.with(|c| named(c, &known)).unwrap_or_else(|| {
        let size = run.plan.with(|plan| plan.as_ref().and_then(|plan| plan.size.clone()));
        size.map(|size| size.targets).unwrap_or_default()
    })
}

/// The layers that the settings name one by one; none if they use other words, such as a role or an expression.
fn named(config: &Settings, known: &[String]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for targets in config.methods().iter().filter_map(|method| method.get("targets")) {
        for word in targets.as_array()? {
            let word = known.iter().find(|name| word.as_str() == Some(name.as_str()))?;
            if !all.contains(word) {
                all.push(word.clone());
            }
        }
    }
    Some(all)
}

/// Has all methods with targets enter these. Ranks and scales of their own go with a layer that is left.
fn enter(config: &mut Settings, targets: &[String], changed: &str) {
    let left = !targets.iter().any(|target| target == changed);
    for method in config.methods_mut() {
        let Some(slot) = method.get_mut("targets") else { continue };
        *slot = targets.iter().map(|target| Value::from(target.as_str())).collect();
        if let Some(overrides) = method.get_mut("overrides").and_then(Value::as_object_mut) {
            overrides.retain(|path, _| !(left && path.ends_with(changed)));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::settings::tests::settings;

    fn known() -> Vec<String> {
        ["q_proj", "v_proj", "up_proj"].map(String::from).into()
    }

    #[test]
    fn names_are_told_from_other_words() {
        let of = |targets: Value| named(&settings(json!({ "method": [{ "targets": targets }] })), &known());
        assert_eq!(of(json!(["v_proj", "q_proj"])).unwrap(), ["v_proj", "q_proj"]);
        assert_eq!(of(json!([])).unwrap(), Vec::<String>::new());
        for other in [json!(["attention"]), json!("all-linear"), json!(".*q_proj")] {
            assert_eq!(of(other), None);
        }
        let two = json!({ "method": [{ "targets": ["q_proj"] }, { "kind": "prefix" }, { "targets": ["q_proj", "up_proj"] }] });
        assert_eq!(named(&settings(two), &known()).unwrap(), ["q_proj", "up_proj"]);
    }

    #[test]
    fn a_layer_that_is_left_takes_its_rank_along() {
        let mut config = settings(json!({ "method": [
            { "targets": "all-linear", "overrides": { "layers.0.self_attn.q_proj": { "rank": 2 }, "up_proj": { "rank": 4 } } },
            { "kind": "prefix" },
        ] }));
        enter(&mut config, &["v_proj".into(), "up_proj".into()], "q_proj");
        let want = json!([{ "targets": ["v_proj", "up_proj"], "overrides": { "up_proj": { "rank": 4 } } }, { "kind": "prefix" }]);
        assert_eq!(config, settings(json!({ "method": want })));
    }
}
