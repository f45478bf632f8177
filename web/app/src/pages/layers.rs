//! Which layers train at each step: the settings of IST.

use leptos::prelude::*;
use stratune_protocol::{IstConfig, IstMode};

use crate::parts::field::{Choice, Field, name_of, put};
use crate::state::{Run, use_run};

/// The ways to choose layers.
const MODES: [IstMode; 5] = [IstMode::Practical, IstMode::CostAware, IstMode::Faithful, IstMode::Random, IstMode::All];

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
        IstMode::CostAware => {
            "As practical, and the backward pass stays within a budget on average: the fastest of the learned modes."
        }
        IstMode::Practical => {
            "Layers that matter are drawn more often; measured on held-out rows, with bounded scores so that no layer is \
             given up."
        }
    }
}

/// How the layers of a step are chosen, and how many.
#[component]
pub fn LayerFields() -> impl IntoView {
    let run = use_run();
    let modes = MODES.map(|mode| (name_of(mode), name_of(mode))).to_vec();
    let sentence = Signal::derive(move || Some(explain(run.config.with(|c| c.ist.mode)).to_string()));
    view! {
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
    }
}

/// The rest of IST's settings.
#[component]
pub fn LayerDetails() -> impl IntoView {
    view! {
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
            hint="practical and cost_aware"
            read=|c| c.ist.score_limit.to_string()
            write=|c, text| put(&mut c.ist.score_limit, text)
        />
        <Field
            id="ist-depth"
            label="Budget of the backward pass"
            hint="cost_aware only: share of the whole that a step costs on average"
            read=|c| c.ist.depth.to_string()
            write=|c, text| put(&mut c.ist.depth, text)
        />
    }
}

fn fraction_hint(run: Run) -> Option<String> {
    let (mode, fraction) = run.config.with(|c| (c.ist.mode, c.ist.fraction));
    let layers = run.model.with(|m| m.as_ref().map(|m| m.layers))?;
    Some(match mode {
        IstMode::All => "not used: every layer trains".into(),
        IstMode::CostAware => {
            format!("at most {} of {layers} layers at each step", IstConfig::blocks(fraction, layers))
        }
        _ => format!("{} of {layers} layers at each step", IstConfig::blocks(fraction, layers)),
    })
}

/// In a few words, such as `2 of 8 layers, practical`.
pub fn summary(run: Run) -> String {
    let ist = run.config.with(|c| c.ist.clone());
    let layers = run.model.with(|m| m.as_ref().map_or(0, |m| m.layers));
    match (ist.mode, layers) {
        (IstMode::All, _) => "all layers".to_string(),
        (mode, 0) => name_of(mode),
        (mode, n) => format!("{} of {n} layers, {}", IstConfig::blocks(ist.fraction, n), name_of(mode)),
    }
}
