//! What there is to choose from for a search under a budget.

use serde_json::{Value, json};
use stratune_peft::{MethodNames, Methods};
use stratune_protocol::{Field, FieldKind, Mode, ModelReport, Preset, Range, SearchBy, SearchChoices, SearchConfig};

use super::list;
use crate::link::tree;
use crate::search::search_size;

/// Those that a page can begin: the scores that `ist` wants are in the folder of another run.
const SEARCHERS: [SearchBy; 9] = [
    SearchBy::Bipeft,
    SearchBy::S3delta,
    SearchBy::Evolution,
    SearchBy::Autopeft,
    SearchBy::Magnitude,
    SearchBy::GradientNorm,
    SearchBy::S4,
    SearchBy::Uniform,
    SearchBy::Random,
];

/// What may be searched among: a name, what it is for, and the methods.
const SPACES: [(&str, &str, &str); 3] = [
    ("LoRA, biases, norms", "updates of matrices, biases, and the norms of a block", "lora,bitfit,layer_norm"),
    ("LoRA", "updates of matrices alone: what is found is an adapter that PEFT and llama.cpp read", "lora"),
    ("LoRA, bottlenecks", "updates of matrices, and a small network behind each block", "lora,pfeiffer"),
];

/// The sizes that a module may have, with what they are called.
const SIZES: [(&[usize], &str); 4] = [
    (&[1, 4, 8], "1, 4 or 8"),
    (&[1, 2, 4, 8, 16], "1, 2, 4, 8 or 16"),
    (&[1], "1: only whether it is there"),
    (&[8], "8: only whether it is there"),
];

/// All of it.
pub(super) fn all() -> SearchChoices {
    SearchChoices {
        begin: tree(&SearchConfig::default()),
        searchers: SEARCHERS.into_iter().map(searcher).collect(),
        spaces: SPACES.into_iter().map(space).collect(),
    }
}

/// Numbers of all modules of each space on a model.
pub(super) fn counts(model: &ModelReport) -> Vec<u64> {
    let of = |(_, _, names): (&str, &str, &str)| {
        let config = crate::as_search(stratune_train::RunConfig {
            method: methods(names),
            search: Some(SearchConfig::default()),
            ..Default::default()
        });
        search_size(&config, model).0.all
    };
    SPACES.into_iter().map(of).collect()
}

/// The methods of a space. An update is added as it is, as the papers have it.
fn methods(names: &str) -> Methods {
    let names: Result<MethodNames, _> = names.parse();
    let mut methods = names.map(|names| names.methods(&ModelReport::default())).unwrap_or_default();
    methods.iter_mut().for_each(|m| m.alpha = m.alpha.and(m.rank).map(|rank| rank as f32));
    let largest = SearchConfig::default().largest();
    let sized = methods.iter_mut().filter(|m| m.size().is_some());
    sized.for_each(|method| *method = method.resized(largest));
    methods
}

fn space((name, hint, names): (&str, &str, &str)) -> Preset {
    let values = [("method".to_string(), Value::from(list(&methods(names))))];
    Preset { name: name.into(), hint: hint.into(), values: values.into() }
}

fn searcher(by: SearchBy) -> Mode {
    let mut values = stratune_protocol::Values::new();
    if let Value::Object(settings) = tree(&SearchConfig::preset(by)) {
        // How much, and of what sizes, stays what a person has chosen.
        let settings = settings.into_iter().filter(|(name, _)| !["budget", "unit", "sizes"].contains(&name.as_str()));
        values.extend(settings.map(|(name, value)| (format!("search.{name}"), value)));
    }
    Mode { name: by.name().into(), sentence: by.sentence().into(), values }
}

/// The settings of a search as a form shows them.
pub(super) fn fields() -> Vec<Field> {
    let named = SEARCHERS.map(|by| (json!(by.name()), by.title().to_string()));
    let sizes = SIZES.map(|(sizes, called)| (json!(sizes), called.to_string()));
    let field = |name: &str, label: &str, help: &str, kind, by: &[&str]| Field {
        path: format!("search.{name}"),
        label: label.into(),
        help: help.into(),
        kind,
        advanced: !matches!(name, "budget" | "by" | "sizes"),
        only: (!by.is_empty()).then(|| ("search.by".into(), by.iter().map(ToString::to_string).collect())),
    };
    let whole = |least| FieldKind::Number(Range { whole: true, least: Some(least), ..Range::default() });
    let share = |range| FieldKind::Number(range);
    vec![
        field("by", "Who searches", "", FieldKind::Choice(named.into()), &[]),
        field(
            "budget",
            "Budget",
            "numbers that train, such as 20000, bytes, such as 80KB, or the time of a step, such as 250ms",
            whole(1.0),
            &[],
        ),
        field("sizes", "Rank or width of a module", "", FieldKind::Choice(sizes.into()), &[]),
        field(
            "share",
            "Rows set apart for the architecture",
            "a share of those that train",
            share(Range { above: Some(0.0), below: Some(1.0), ..Range::default() }),
            &[],
        ),
        field(
            "steps",
            "Steps of the search",
            "0: as many as the run",
            FieldKind::Number(Range { whole: true, least: Some(0.0), ..Range::default() }),
            &[],
        ),
        field(
            "learning_rate",
            "Learning rate of the architecture",
            "",
            share(Range { above: Some(0.0), ..Range::default() }),
            &["bipeft", "s3delta"],
        ),
        field("prunings", "Prunings until the budget", "", whole(1.0), &["bipeft"]),
        field(
            "begin",
            "Share of the steps before the first pruning",
            "",
            share(Range { least: Some(0.0), below: Some(1.0), ..Range::default() }),
            &["bipeft"],
        ),
        field("population", "Structures in a generation", "", whole(4.0), &["evolution"]),
        field("generations", "Generations", "", whole(1.0), &["evolution"]),
        field("evaluation_steps", "Steps that each structure trains", "", whole(1.0), &["autopeft"]),
    ]
}
