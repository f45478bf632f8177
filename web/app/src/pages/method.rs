//! The third card: what is trained.

use leptos::prelude::*;
use stratune_protocol::{
    Family, IstMode, MethodConfig, MethodKind, MethodNames, MethodPreset, Methods, ModelReport, Setting, Targets,
};

use super::layers::{self, LayerDetails, LayerFields};
use super::method_numbers::{has, number};
use crate::parts::card::Card;
use crate::state::presets::Preset;
use crate::state::{Card as Which, Run, use_run};
use crate::units;

/// Settings that are always in sight.
const PLAIN: [Setting; 12] = [
    Setting::Rank,
    Setting::InitialRank,
    Setting::Alpha,
    Setting::Ratio,
    Setting::Width,
    Setting::Scale,
    Setting::Length,
    Setting::Share,
    Setting::Dimension,
    Setting::Bits,
    Setting::Blocks,
    Setting::Reduction,
];

/// Settings behind the fold.
const ADVANCED: [Setting; 5] =
    [Setting::Dropout, Setting::Penalty, Setting::Samples, Setting::Interval, Setting::Gated];

/// The third card.
#[component]
pub fn MethodCard() -> impl IntoView {
    let run = use_run();
    let preset = move |preset: Preset| {
        view! {
            <button
                type="button"
                id=format!("preset-{}", preset.name().to_lowercase())
                title=preset.hint()
                aria-pressed=move || run.config.with(|c| preset.is(c)).to_string()
                on:click=move |_| run.config.update(|c| preset.put(c))
            >
                {preset.name()}
            </button>
        }
    };
    view! {
        <Card which=Which::Method summary=Signal::derive(move || summary(run))>
            <div class="choices" role="group" aria-label="Presets">{Preset::ALL.map(preset).collect_view()}</div>
            <div class="fields">
                <Picker />
                <LayerFields />
            </div>
            <div class="fields">{PLAIN.map(number).collect_view()}</div>
            <Show when=move || has(run, Setting::Targets)>
                <fieldset class="targets">
                    <legend>"Matrices it enters"</legend>
                    {move || names(run).into_iter().map(|name| view! { <TargetBox name /> }).collect_view()}
                </fieldset>
            </Show>
            <p class="explain" id="adapter-size">{move || size_sentence(run)}</p>
            <details class="advanced">
                <summary>"Advanced"</summary>
                <div class="fields">
                    {ADVANCED.map(number).collect_view()}
                    <LayerDetails />
                </div>
            </details>
        </Card>
    }
}

/// The methods by family, and one sentence about the one that is chosen.
#[component]
fn Picker() -> impl IntoView {
    let run = use_run();
    let chosen = Memo::new(move |_| run.config.with(|c| name(&c.method, &model_of(run))));
    let choose = move |event| {
        if let Ok(names) = event_target_value(&event).parse::<MethodNames>() {
            let methods = names.methods(&model_of(run));
            run.config.update(|c| {
                // What a method cannot do under the mode at hand is not offered: the mode gives way.
                if methods.iter().any(|m| !m.kind.per_layer()) {
                    c.ist.mode = IstMode::All;
                } else if c.ist.mode.learns() && methods.iter().any(|m| m.kind.in_place()) {
                    c.ist.mode = IstMode::Random;
                }
                c.method = methods;
            });
        }
    };
    let option = move |value: &'static str, title: &'static str| {
        view! { <option value=value prop:selected=move || chosen.with(|c| c == value)>{title}</option> }
    };
    let family = move |family: Family| {
        let kinds = MethodKind::ALL.into_iter().filter(move |kind| kind.family() == family);
        view! {
            <optgroup label=family.name()>{kinds.map(|kind| option(kind.name(), kind.title())).collect_view()}</optgroup>
        }
    };
    view! {
        <div class="field">
            <label for="method">"Method"</label>
            <select id="method" aria-describedby="method-hint" on:change=choose>
                {Family::ALL.map(family).collect_view()}
                <optgroup label="hybrid">
                    {MethodPreset::ALL.map(|preset| option(preset.name(), preset.title())).collect_view()}
                </optgroup>
            </select>
            <small id="method-hint">{move || run.config.with(|c| sentence(&c.method, &model_of(run)))}</small>
        </div>
    }
}

/// The model at hand, or an empty one.
fn model_of(run: Run) -> ModelReport {
    run.model.get().unwrap_or_default()
}

/// The combination that a list of methods is, whatever its numbers.
fn preset(methods: &Methods, model: &ModelReport) -> Option<MethodPreset> {
    let marks = |m: &MethodConfig| (m.kind, m.layers.clone(), m.gated);
    MethodPreset::ALL.into_iter().find(|preset| {
        let theirs = preset.methods(model);
        // One method alone is the combination only if it has what sets the combination apart.
        let alone = theirs.len() == 1;
        theirs.iter().map(marks).eq(methods.iter().map(marks)) && (!alone || theirs[0].share == methods[0].share)
    })
}

/// What a list of methods is called: a combination's name, or the first method's.
fn name(methods: &Methods, model: &ModelReport) -> String {
    match (preset(methods, model), methods.first()) {
        (Some(preset), _) => preset.name().into(),
        (None, Some(method)) => method.kind.name().into(),
        (None, None) => String::new(),
    }
}

fn sentence(methods: &Methods, model: &ModelReport) -> String {
    match preset(methods, model) {
        Some(preset) => preset.sentence().into(),
        None => methods.iter().map(|m| m.kind.sentence()).collect::<Vec<_>>().join(" "),
    }
}

fn summary(run: Run) -> String {
    let methods = run.config.with(|c| c.method.clone());
    let share = run.model.with(|m| {
        m.as_ref()
            .map(|m| format!(", {} of the parameters", units::percent(share_of(m.parameters, methods.trainable(m)))))
    });
    let places = targets(&methods).map(|t| format!(" on {t}")).unwrap_or_default();
    format!("{}{places}, {}{}", methods.title(), layers::summary(run), share.unwrap_or_default())
}

fn share_of(all: u64, part: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

/// The first method's targets in a few letters: `q v`, or `all matrices`.
fn targets(methods: &Methods) -> Option<String> {
    let targets = methods.iter().find_map(|m| m.targets.as_ref())?;
    Some(match targets {
        Targets::AllLinear => "all matrices".into(),
        Targets::Listed(words) if words.is_empty() => "nothing".into(),
        Targets::Listed(words) => words.iter().map(|t| t.trim_end_matches("_proj")).collect::<Vec<_>>().join(" "),
        Targets::Pattern(pattern) => pattern.clone(),
    })
}

fn size_sentence(run: Run) -> Option<String> {
    let methods = run.config.with(|c| c.method.clone());
    run.model.with(|m| {
        let m = m.as_ref()?;
        let n = methods.trainable(m);
        Some(format!(
            "{} trainable parameters, {} of the model; as a file about {}.",
            units::grouped(n),
            units::percent(share_of(m.parameters, n)),
            units::bytes(n.saturating_mul(4))
        ))
    })
}

/// The names of the model's linear layers.
fn names(run: Run) -> Vec<String> {
    model_of(run).linear_names().into_iter().map(str::to_string).collect()
}

/// The names that a method's targets are.
fn entered(method: &MethodConfig, model: &ModelReport) -> Vec<String> {
    let sites = method.sites(model);
    model.linear_names().into_iter().filter(|n| sites.iter().any(|s| s.name() == *n)).map(str::to_string).collect()
}

#[component]
fn TargetBox(name: String) -> impl IntoView {
    let run = use_run();
    let id = format!("target-{name}");
    let label = name.clone();
    let is_on = {
        let name = name.clone();
        move || {
            let model = model_of(run);
            run.config.with(|c| c.method.iter().any(|m| entered(m, &model).contains(&name)))
        }
    };
    let change = move |event| {
        let (on, model) = (event_target_checked(&event), model_of(run));
        run.config.update(|c| {
            for method in c.method.iter_mut().filter(|m| m.targets.is_some()) {
                let before = entered(method, &model);
                let wanted = |n: &&str| if **n == *name { on } else { before.iter().any(|b| b == *n) };
                let words: Vec<&str> = model.linear_names().into_iter().filter(wanted).collect();
                let all = words.len() == model.linear_names().len();
                method.targets = Some(if all { Targets::AllLinear } else { Targets::listed(&words) });
                if !on {
                    method.overrides.retain(|path, _| !path.ends_with(&name));
                }
            }
        });
    };
    view! {
        <label class="tick">
            <input type="checkbox" id=id prop:checked=is_on on:change=change />
            <code>{label}</code>
        </label>
    }
}

#[cfg(test)]
mod tests {
    use stratune_protocol::MethodConfig;

    use super::*;

    #[test]
    fn targets_in_short() {
        let of = |targets: &[&str]| -> Methods {
            MethodConfig { targets: Some(Targets::listed(targets)), ..Default::default() }.into()
        };
        assert_eq!(targets(&Methods::default()).as_deref(), Some("all matrices"));
        assert_eq!(targets(&of(&["q_proj", "v_proj"])).as_deref(), Some("q v"));
        assert_eq!(targets(&of(&[])).as_deref(), Some("nothing"));
        assert_eq!(targets(&MethodKind::Prompt.into()), None);
    }

    #[test]
    fn combinations_are_known_by_their_name() {
        let model =
            ModelReport { layers: 12, hidden_size: 64, key_value_size: 32, query_size: 64, ..Default::default() };
        for preset in MethodPreset::ALL {
            assert_eq!(name(&preset.methods(&model), &model), preset.name());
            assert_eq!(sentence(&preset.methods(&model), &model), preset.sentence());
        }
        for kind in MethodKind::ALL {
            assert_eq!(name(&kind.into(), &model), kind.name());
        }
    }
}
