//! The first card: which model is tuned.

use leptos::prelude::*;
use serde_json::Value;
use stratune_protocol::{Field, FieldKind, ModelReport, Role};

use super::hub::FromHub;
use crate::parts::card::Card;
use crate::parts::drop_zone::DropZone;
use crate::parts::field::FieldView;
use crate::state::{Card as Which, Run, use_run};
use crate::units;

/// Where it stands what is multiplied in.
const COMPUTE: &str = "compute_dtype";

/// The first card.
#[component]
pub fn ModelCard() -> impl IntoView {
    let run = use_run();
    let busy = Signal::derive(move || run.reading_model.get());
    let starter = move || run.config.with(|c| c.is_empty() || c.text("model") == "starter");
    view! {
        <Card which=Which::Model summary=Signal::derive(move || summary(run)) busy=busy>
            <p class="explain">
                "The starter is a small model that comes with the page. Any folder in Hugging Face form whose family is
                supported works as well, and so does a GGUF file, which keeps its own bits; it is read where it is, on your
                disk."
            </p>
            <div class="choices">
                <button
                    type="button"
                    id="use-starter"
                    aria-pressed=move || starter().to_string()
                    on:click=move |_| run.choose_starter()
                >
                    "Use the starter"
                </button>
            </div>
            <DropZone
                id="drop-model"
                input_id="model-files"
                folder=true
                button="Choose a model folder"
                file=("model-gguf", "Choose a GGUF file")
                hint="or drop one here: config.json, *.safetensors, tokenizer.json; or *.gguf"
                on_files=move |picked| run.choose_model(picked)
            />
            <FromHub />
            <div class="fields">
                {move || fields(run).into_iter().map(|field| view! { <FieldView field /> }).collect_view()}
            </div>
            <ul class="listing">
                {move || {
                    run.model_listing
                        .get()
                        .into_iter()
                        .map(|asset| {
                            view! {
                                <li>
                                    <span>{asset.name}</span>
                                    <span class="figure">{units::bytes(asset.bytes)}</span>
                                </li>
                            }
                        })
                        .collect_view()
                }}
            </ul>
            {move || run.model.get().map(|m| view! {
                <dl class="facts">
                    {does(&m).map(|does| view! { <div><dt>"What it does"</dt><dd>{does}</dd></div> })}
                    <div><dt>"Family"</dt><dd>{m.family}</dd></div>
                    <div><dt>"Parameters"</dt><dd>{units::count(m.parameters)}</dd></div>
                    <div><dt>"Layers"</dt><dd>{m.layers}</dd></div>
                    <div><dt>"Width"</dt><dd>{units::grouped(m.hidden_size as u64)}</dd></div>
                    <div><dt>"Vocabulary"</dt><dd>{units::grouped(m.vocabulary as u64)}</dd></div>
                    <div><dt>"Context"</dt><dd>{format!("{} tokens", units::grouped(m.context as u64))}</dd></div>
                </dl>
            })}
        </Card>
    }
}

/// The settings of the model: those of no group. Of what it could be multiplied in only what the device has, and what is
/// chosen, if that was for another device.
fn fields(run: Run) -> Vec<Field> {
    let chosen = Memo::new(move |_| run.config.with(|c| c.get(COMPUTE).cloned()));
    let has = |value: &Value| {
        run.adapter.with(|adapter| {
            let mut all = adapter.iter().flat_map(|adapter| &adapter.compute);
            chosen.with(|c| c.as_ref() == Some(value)) || all.any(|dtype| value == dtype.name())
        })
    };
    let mut fields: Vec<Field> =
        run.catalogue.with(|c| c.fields.iter().filter(|field| !field.path.contains('.')).cloned().collect());
    fields.retain_mut(|field| match &mut field.kind {
        FieldKind::Choice(options) if field.path == COMPUTE => {
            options.retain(|(value, _)| has(value));
            options.len() > 1
        }
        FieldKind::Choice(_)
        | FieldKind::Number(_)
        | FieldKind::Tick
        | FieldKind::Text
        | FieldKind::Column
        | FieldKind::Targets => true,
    });
    fields
}

fn summary(run: Run) -> String {
    if run.reading_model.get() {
        return progress(run).unwrap_or_else(|| {
            (if run.adapter.with(Option::is_none) { "starting the engine …" } else { "reading …" }).into()
        });
    }
    run.model.with(|m| match m {
        Some(m) => format!(
            "{}, {}{} parameters, {} layers, {} tokens of context",
            m.name,
            does(m).map(|does| format!("{does}, ")).unwrap_or_default(),
            units::count(m.parameters),
            m.layers,
            units::grouped(m.context as u64)
        ),
        None => "no model".into(),
    })
}

/// What a model does that writes no text.
fn does(model: &ModelReport) -> Option<&'static str> {
    let images = model.has(Role::PatchEmbedding);
    model.encoder.then_some(if images { "labels images" } else { "labels texts" })
}

/// What is under way and how far it is.
pub fn progress(run: Run) -> Option<String> {
    let p = run.progress.get()?;
    Some(match p.total {
        0 => format!("{} …", p.what),
        total => format!("{} {}", p.what, units::percent(p.done as f64 / total as f64)),
    })
}
