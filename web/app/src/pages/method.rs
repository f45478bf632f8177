//! The third card: what is trained, and which layers of it at each step.

use leptos::prelude::*;
use stratune_protocol::{IstConfig, IstMode, MethodConfig, Target};

use crate::parts::card::Card;
use crate::parts::field::{Choice, Field, name_of, put};
use crate::state::presets::Preset;
use crate::state::size::{adapter_bytes, trainable};
use crate::state::{Card as Which, Run, use_run};
use crate::units;

/// The ways to choose layers.
const MODES: [IstMode; 4] = [IstMode::Practical, IstMode::Faithful, IstMode::Random, IstMode::All];

/// One sentence about a mode.
fn explain(mode: IstMode) -> &'static str {
    match mode {
        IstMode::All => "Every layer trains at every step: ordinary LoRA, and the slowest.",
        IstMode::Random => {
            "Each step trains an even draw of the layers: fast, and the yardstick for the learned modes."
        }
        IstMode::Faithful => {
            "Layers that matter are drawn more often; scores move as in the published algorithm, measured on training rows."
        }
        IstMode::Practical => {
            "Layers that matter are drawn more often; measured on held-out rows, with bounded scores so that no layer is \
             given up."
        }
    }
}

/// The third card.
#[component]
pub fn MethodCard() -> impl IntoView {
    let run = use_run();
    let modes = MODES.map(|mode| (name_of(mode), name_of(mode))).to_vec();
    let sentence = Signal::derive(move || Some(explain(run.config.with(|c| c.ist.mode)).to_string()));
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
                <Choice
                    id="ist-mode"
                    label="Layers trained at a step"
                    options=modes
                    hint=sentence
                    read=|c| name_of(c.ist.mode)
                    write=|c, text| {
                        let mut mode = c.ist.mode;
                        let known = put(&mut mode, text);
                        c.ist = IstConfig { fraction: c.ist.fraction, ..IstConfig::preset(mode) };
                        known
                    }
                />
                <Field
                    id="ist-fraction"
                    label="Share of the layers"
                    hint=Signal::derive(move || fraction_hint(run))
                    read=|c| c.ist.fraction.to_string()
                    write=|c, text| put(&mut c.ist.fraction, text)
                />
                <Field
                    id="rank"
                    label="LoRA rank"
                    hint="larger learns more and weighs more"
                    read=|c| c.method.rank.to_string()
                    write=|c, text| put(&mut c.method.rank, text)
                />
                <Field
                    id="alpha"
                    label="LoRA alpha"
                    hint="the update is scaled by alpha / rank"
                    read=|c| c.method.alpha.to_string()
                    write=|c, text| put(&mut c.method.alpha, text)
                />
            </div>
            <fieldset class="targets">
                <legend>"Matrices that LoRA enters"</legend>
                {Target::ALL.map(|target| view! { <TargetBox target /> }).collect_view()}
            </fieldset>
            <p class="explain" id="adapter-size">{move || size_sentence(run)}</p>
            <Advanced />
        </Card>
    }
}

fn summary(run: Run) -> String {
    let (method, ist) = run.config.with(|c| (c.method.clone(), c.ist.clone()));
    let layers = run.model.with(|m| m.as_ref().map_or(0, |m| m.layers));
    let sparse = match (ist.mode, layers) {
        (IstMode::All, _) => "all layers".to_string(),
        (mode, 0) => name_of(mode).to_string(),
        (mode, n) => format!("{} of {n} layers, {}", IstConfig::blocks(ist.fraction, n), name_of(mode)),
    };
    let share = run.model.with(|m| {
        m.as_ref()
            .map(|m| format!(", {} of the parameters", units::percent(share_of(m.parameters, trainable(m, &method)))))
    });
    format!("LoRA r{} on {}, {sparse}{}", method.rank, targets(&method), share.unwrap_or_default())
}

fn share_of(all: u64, part: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

/// The targets in a few letters: `q v`, or `all matrices`.
fn targets(method: &MethodConfig) -> String {
    match method.targets.len() {
        7 => "all matrices".into(),
        0 => "nothing".into(),
        _ => method.targets.iter().map(|t| t.name().trim_end_matches("_proj")).collect::<Vec<_>>().join(" "),
    }
}

fn fraction_hint(run: Run) -> Option<String> {
    let (mode, fraction) = run.config.with(|c| (c.ist.mode, c.ist.fraction));
    let layers = run.model.with(|m| m.as_ref().map(|m| m.layers))?;
    Some(match mode {
        IstMode::All => "not used: every layer trains".into(),
        _ => format!("{} of {layers} layers at each step", IstConfig::blocks(fraction, layers)),
    })
}

fn size_sentence(run: Run) -> Option<String> {
    let method = run.config.with(|c| c.method.clone());
    run.model.with(|m| {
        let m = m.as_ref()?;
        let n = trainable(m, &method);
        Some(format!(
            "{} trainable parameters, {} of the model; the adapter is a file of {}.",
            units::grouped(n),
            units::percent(share_of(m.parameters, n)),
            units::bytes(adapter_bytes(n))
        ))
    })
}

#[component]
fn TargetBox(target: Target) -> impl IntoView {
    let run = use_run();
    let name = target.name();
    let is_on = move || run.config.with(|c| c.method.targets.contains(&target));
    let change = move |event| {
        let on = event_target_checked(&event);
        run.config.update(|c| {
            c.method.targets.retain(|t| *t != target);
            if on {
                c.method.targets.push(target);
                c.method.targets.sort();
            } else {
                c.method.overrides.remove(&target);
            }
        });
    };
    view! {
        <label class="tick">
            <input type="checkbox" id=format!("target-{name}") prop:checked=is_on on:change=change />
            <code>{name}</code>
        </label>
    }
}

#[component]
fn Advanced() -> impl IntoView {
    view! {
        <details class="advanced">
            <summary>"Advanced"</summary>
            <div class="fields">
                <Field
                    id="dropout"
                    label="LoRA dropout"
                    read=|c| c.method.dropout.to_string()
                    write=|c, text| put(&mut c.method.dropout, text)
                />
                <Field
                    id="ist-interval"
                    label="Steps between importance updates"
                    read=|c| c.ist.interval.to_string()
                    write=|c, text| put(&mut c.ist.interval, text)
                />
                <Field
                    id="ist-candidates"
                    label="Candidates at an update"
                    read=|c| c.ist.candidates.to_string()
                    write=|c, text| put(&mut c.ist.candidates, text)
                />
                <Field
                    id="ist-batch-size"
                    label="Rows in an importance batch"
                    read=|c| c.ist.batch_size.to_string()
                    write=|c, text| put(&mut c.ist.batch_size, text)
                />
                <Field
                    id="ist-damped-fraction"
                    label="Share of layers a candidate damps"
                    read=|c| c.ist.damped_fraction.to_string()
                    write=|c, text| put(&mut c.ist.damped_fraction, text)
                />
                <Field
                    id="ist-damping"
                    label="Damping, β"
                    hint="what a damped layer's update is multiplied by"
                    read=|c| c.ist.damping.to_string()
                    write=|c, text| put(&mut c.ist.damping, text)
                />
                <Field
                    id="ist-step-size"
                    label="Step size of the scores, μ"
                    read=|c| c.ist.step_size.to_string()
                    write=|c, text| put(&mut c.ist.step_size, text)
                />
                <Field
                    id="ist-redraw-every"
                    label="Steps a draw is kept"
                    hint="practical only"
                    read=|c| c.ist.redraw_every.to_string()
                    write=|c, text| put(&mut c.ist.redraw_every, text)
                />
                <Field
                    id="ist-score-limit"
                    label="Limit of the scores"
                    hint="practical only"
                    read=|c| c.ist.score_limit.to_string()
                    write=|c, text| put(&mut c.ist.score_limit, text)
                />
            </div>
        </details>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_in_short() {
        let method = |targets: &[Target]| MethodConfig { targets: targets.to_vec(), ..Default::default() };
        assert_eq!(targets(&MethodConfig::default()), "all matrices");
        assert_eq!(targets(&method(&[Target::QProj, Target::VProj])), "q v");
        assert_eq!(targets(&method(&[])), "nothing");
    }
}
