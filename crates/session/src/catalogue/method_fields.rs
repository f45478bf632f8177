//! The settings of methods as a form shows them.

use serde_json::json;
use stratune_protocol::{Field, FieldKind, MethodKind, Range, Setting};

/// The settings of a method, in the order in which they are shown.
pub fn of(kind: MethodKind) -> Vec<Field> {
    Setting::ALL
        .into_iter()
        .filter(|setting| kind.settings().contains(setting))
        .filter_map(|s| field(s, kind))
        .collect()
}

/// A setting of a method; none for what belongs to files and command lines.
fn field(setting: Setting, kind: MethodKind) -> Option<Field> {
    let count = |least: f64| FieldKind::Number(Range { whole: true, least: Some(least), ..Range::default() });
    let positive = || FieldKind::Number(Range { above: Some(0.0), ..Range::default() });
    let (label, help, what) = match setting {
        Setting::Targets => ("Matrices it enters", "", FieldKind::Targets),
        Setting::Rank => ("Rank", rank(kind), count(1.0)),
        Setting::Alpha => ("Alpha", alpha(kind), positive()),
        Setting::Dropout => (
            "Dropout",
            "on the update's input while training",
            FieldKind::Number(Range { least: Some(0.0), below: Some(1.0), ..Range::default() }),
        ),
        Setting::Overrides => return None,
        Setting::Ratio => ("Ratio of the learning rates", "B's is this many times A's", positive()),
        Setting::Width if kind == MethodKind::Prefix => {
            ("Width", "of the network that makes the prefix; 0 for none", count(0.0))
        }
        Setting::Width => ("Width", "of the bottleneck", count(1.0)),
        Setting::Scale => ("Scale", "of what the method adds", positive()),
        Setting::Length => ("Length", "positions put before the text", count(1.0)),
        Setting::Share => (
            "Share of the weights",
            share(kind),
            FieldKind::Number(Range { above: Some(0.0), most: Some(1.0), ..Range::default() }),
        ),
        Setting::Dimension => ("Dimension", "numbers that steer all weights", count(1.0)),
        Setting::Projection => {
            let named = ["dense", "sparse", "fastfood"].map(|name| (json!(name), name.to_string()));
            ("Projection", "how the numbers are spread over the weights", FieldKind::Choice(named.into()))
        }
        Setting::InitialRank => ("Rank at the start", "the budget shrinks to the rank", count(1.0)),
        Setting::Penalty => {
            ("Penalty", "its weight in the loss", FieldKind::Number(Range { least: Some(0.0), ..Range::default() }))
        }
        // LT-SFT looks at all of them with 0.
        Setting::Samples => {
            let least = if kind == MethodKind::LtSft { 0.0 } else { 1.0 };
            ("Rows to choose from", "looked at before training", count(least))
        }
        Setting::Interval => ("Interval", "steps between changes of what trains", count(1.0)),
        Setting::Blocks => ("Layers at a time", "drawn anew at every interval", count(1.0)),
        Setting::Bits => {
            let named = [4, 8].map(|bits| (json!(bits), format!("{bits} bits")));
            ("Bits of the base", "fewer take less memory and are less exact", FieldKind::Choice(named.into()))
        }
        Setting::Reduction => ("Reduction", "how many times narrower than the model", count(1.0)),
        Setting::Gated => ("A gate decides for each token how much it adds", "", FieldKind::Tick),
    };
    let advanced = matches!(
        setting,
        Setting::Dropout
            | Setting::Projection
            | Setting::Penalty
            | Setting::Samples
            | Setting::Interval
            | Setting::Gated
    );
    Some(Field {
        path: format!("method.{}", setting.name()),
        label: label.into(),
        help: help.into(),
        kind: what,
        advanced,
        only: None,
    })
}

fn rank(kind: MethodKind) -> &'static str {
    match kind {
        MethodKind::Galore => "of the gradient",
        _ => "larger learns more and weighs more",
    }
}

fn alpha(kind: MethodKind) -> &'static str {
    match kind {
        MethodKind::Rslora => "the update is scaled by alpha / √rank",
        _ => "the update is scaled by alpha / rank",
    }
}

fn share(kind: MethodKind) -> &'static str {
    match kind {
        MethodKind::ChildTuning => "of the gradient that a step keeps",
        _ => "of each matrix; the others stay",
    }
}
