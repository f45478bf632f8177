//! The settings of a run, besides those of its methods, as a form shows them.

use serde_json::json;
use stratune_protocol::{Field, FieldKind, Range};

use super::{MODES, name_of};

/// Settings of `data`, `ist` and `train` that have no field: files are dropped, and the rest belongs to files and command
/// lines.
#[cfg(test)]
pub const WITHOUT: [&str; 9] = [
    "data.task",
    "data.files",
    "data.label_names",
    "data.validation_files",
    "ist.floor",
    "train.packing",
    "train.keep_graphs",
    "train.log_every",
    "train.sample_prompts",
];

/// All of them, in the order in which they are shown.
pub fn all() -> Vec<Field> {
    let mut fields = vec![
        plain(
            "base_dtype",
            "Weights kept as",
            "fewer bits: larger models fit, and the base is less exact",
            choice(&[
                ("file", "as the file has them"),
                ("f32", "32-bit floats"),
                ("f16", "16-bit floats"),
                ("int8", "8 bits"),
                ("int4", "4 bits"),
            ]),
        ),
        plain(
            "compute_dtype",
            "Products in",
            "half precision may be faster, and is less exact",
            choice(&[("f32", "32-bit floats"), ("f16", "16-bit floats"), ("bf16", "bfloat16")]),
        ),
    ];
    fields.extend(of_data());
    fields.extend(of_ist());
    fields.extend(of_train());
    fields.extend(super::search_choices::fields());
    fields
}

fn of_data() -> Vec<Field> {
    vec![
        plain(
            "data.format",
            "Format",
            "",
            choice(&[
                ("auto", "recognise it"),
                ("alpaca", "Alpaca: instruction, input, output"),
                ("prompt_completion", "prompt and completion"),
                ("messages", "chat: messages with role and content"),
                ("csv", "table, comma-separated"),
                ("tsv", "table, tab-separated"),
                ("parquet", "table, Parquet"),
                ("text", "plain text"),
            ]),
        ),
        plain("data.prompt_column", "Prompt column", "", FieldKind::Column),
        plain("data.completion_column", "Completion column", "", FieldKind::Column),
        advanced("data.system_column", "System column", "", FieldKind::Column),
        advanced("data.messages_column", "Column of conversations", "", FieldKind::Column),
        advanced("data.text_column", "Text column", "of what is classified, or of plain text", FieldKind::Column),
        advanced("data.text_pair_column", "Column of second texts", "where pairs are classified", FieldKind::Column),
        advanced("data.label_column", "Label column", "classes or numbers", FieldKind::Column),
        advanced(
            "data.prompt_template",
            "Prompt from columns",
            "instead of a prompt column, such as: Summarise: {document}",
            FieldKind::Text,
        ),
        advanced(
            "data.system_prompt",
            "System prompt",
            "of every conversation that has none of its own",
            FieldKind::Text,
        ),
        advanced(
            "data.labels",
            "Learned",
            "",
            choice(&[
                ("assistant", "all that the assistant says"),
                ("last", "the last that the assistant says"),
                ("all", "prompts too"),
            ]),
        ),
        advanced("data.max_length", "Longest row, tokens", "longer rows are cut and counted", count(8.0)),
        advanced(
            "data.validation_split",
            "Held-out share",
            "rows never trained on, to measure with",
            number(Range { least: Some(0.0), below: Some(0.9), ..Range::default() }),
        ),
    ]
}

fn of_ist() -> Vec<Field> {
    let named: Vec<_> = MODES.map(|mode| (json!(name_of(mode)), name_of(mode))).into();
    let share = || number(Range { above: Some(0.0), most: Some(1.0), ..Range::default() });
    let positive = || number(Range { above: Some(0.0), ..Range::default() });
    vec![
        plain("ist.mode", "Layers trained at a step", "", FieldKind::Choice(named)),
        under(
            &["practical", "cost_aware", "faithful", "random"],
            plain("ist.fraction", "Share of the layers", "", share()),
        ),
        learned(advanced("ist.interval", "Steps between importance updates", "", count(1.0))),
        learned(advanced("ist.candidates", "Candidates at an update", "", count(2.0))),
        learned(advanced("ist.batch_size", "Rows in an importance batch", "", count(1.0))),
        learned(advanced(
            "ist.damped_fraction",
            "Share of layers a candidate damps",
            "",
            number(Range { above: Some(0.0), below: Some(1.0), ..Range::default() }),
        )),
        learned(advanced(
            "ist.damping",
            "Damping, β",
            "what a damped layer's update is multiplied by",
            number(Range { least: Some(0.0), most: Some(1.0), ..Range::default() }),
        )),
        learned(advanced(
            "ist.step_size",
            "Step size of the scores, μ",
            "",
            number(Range { least: Some(0.0), ..Range::default() }),
        )),
        under(&["practical"], advanced("ist.redraw_every", "Steps a draw is kept", "", count(1.0))),
        under(
            &["scored", "practical", "cost_aware"],
            advanced("ist.score_limit", "Limit of the scores", "no layer is given up for good", positive()),
        ),
        under(
            &["practical", "cost_aware"],
            advanced(
                "ist.importance_rows",
                "Rows set apart",
                "of those that train, for importance batches",
                count(1.0),
            ),
        ),
        under(
            &["random", "practical", "cost_aware"],
            advanced(
                "ist.rate_limit",
                "Limit of the rate",
                "a layer that is drawn seldom takes larger steps, at most so many times",
                FieldKind::Number(Range { least: Some(1.0), ..Range::default() }),
            ),
        ),
        under(
            &["cost_aware"],
            advanced(
                "ist.depth",
                "Budget of the backward pass",
                "share of the whole that a step costs on average",
                share(),
            ),
        ),
    ]
}

fn of_train() -> Vec<Field> {
    let positive = || number(Range { above: Some(0.0), ..Range::default() });
    let not_negative = || number(Range { least: Some(0.0), ..Range::default() });
    let steps = Range { whole: true, least: Some(0.0), zero: "by epochs".into(), ..Range::default() };
    vec![
        advanced(
            "train.objective",
            "Objective",
            "",
            choice(&[
                ("auto", "as model and data say"),
                ("next_token", "the next token"),
                ("classification", "the class of a row"),
                ("regression", "the number of a row"),
            ]),
        ),
        Field {
            only: Some(("train.objective".into(), vec!["auto".into(), "classification".into()])),
            ..advanced(
                "train.class_weights",
                "Class weights",
                "of classification",
                choice(&[("none", "each row counts the same"), ("balanced", "each class counts the same")]),
            )
        },
        plain("train.steps", "Steps", "empty: as many as the epochs need", number(steps)),
        plain("train.epochs", "Epochs", "passes over the training rows", positive()),
        plain("train.learning_rate", "Learning rate", "at its peak, such as 0.001", positive()),
        plain("train.batch_size", "Batch size", "rows at once: more is steadier and takes memory", count(1.0)),
        advanced("train.seed", "Seed", "the same seed repeats the run", count(0.0)),
        advanced("train.eval_every", "Steps between validations", "0: only at the end", count(0.0)),
        advanced(
            "train.checkpoint_every",
            "Steps between checkpoints",
            "a reload loses no more than these; 0: only at the end",
            count(0.0),
        ),
        advanced(
            "train.graph_memory",
            "Memory for graphs, MiB",
            "blocks that fit run without gradient checkpointing: faster, the same result",
            count(0.0),
        ),
        advanced("train.accumulation", "Gradient accumulation", "batches to a step", count(1.0)),
        advanced(
            "train.schedule",
            "Learning rate schedule",
            "",
            choice(&[
                ("cosine", "half a cosine to zero"),
                ("linear", "a straight line to zero"),
                ("constant", "constant"),
            ]),
        ),
        advanced(
            "train.optimiser",
            "Optimiser",
            "",
            choice(&[("adamw", "AdamW"), ("mezo", "MeZO: no backward pass, little memory, many steps")]),
        ),
        Field {
            only: Some(("train.optimiser".into(), vec!["mezo".into()])),
            ..advanced(
                "train.perturbation",
                "Perturbation",
                "ε: how far either side of the parameters the loss is taken",
                positive(),
            )
        },
        advanced("train.warmup_steps", "Warm-up steps", "", count(0.0)),
        advanced("train.clip_norm", "Gradient clipping, norm", "0: not clipped", not_negative()),
        advanced("train.weight_decay", "Weight decay", "", not_negative()),
        advanced(
            "train.evaluation_share",
            "Share for evaluation",
            "of the time, for validations and samples; 1: as long as they take",
            number(Range { above: Some(0.0), most: Some(1.0), ..Range::default() }),
        ),
        advanced("train.patience", "Patience", "stop after so many validations without progress; 0: never", count(0.0)),
    ]
}

fn plain(path: &str, label: &str, help: &str, kind: FieldKind) -> Field {
    Field { path: path.into(), label: label.into(), help: help.into(), kind, advanced: false, only: None }
}

fn advanced(path: &str, label: &str, help: &str, kind: FieldKind) -> Field {
    Field { advanced: true, ..plain(path, label, help, kind) }
}

/// Of these modes alone.
fn under(modes: &[&str], field: Field) -> Field {
    Field { only: Some(("ist.mode".into(), modes.iter().map(ToString::to_string).collect())), ..field }
}

/// Of the modes that learn scores.
fn learned(field: Field) -> Field {
    under(&["scored", "practical", "cost_aware", "faithful"], field)
}

fn number(range: Range) -> FieldKind {
    FieldKind::Number(range)
}

fn count(least: f64) -> FieldKind {
    number(Range { whole: true, least: Some(least), ..Range::default() })
}

fn choice(options: &[(&str, &str)]) -> FieldKind {
    FieldKind::Choice(options.iter().map(|(value, called)| (json!(value), called.to_string())).collect())
}
