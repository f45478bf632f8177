//! The first card: which model is tuned.

use leptos::prelude::*;
use stratune_protocol::{BaseDtype, ComputeDtype};

use crate::parts::card::Card;
use crate::parts::drop_zone::DropZone;
use crate::parts::field::{Choice, put};
use crate::state::{Card as Which, Run, use_run};
use crate::units;

/// The first card.
#[component]
pub fn ModelCard() -> impl IntoView {
    let run = use_run();
    let busy = Signal::derive(move || run.reading_model.get());
    let starter = move || run.config.with(|c| c.model == "starter");
    view! {
        <Card which=Which::Model summary=Signal::derive(move || summary(run)) busy=busy>
            <p class="explain">
                "The starter is a small model that comes with the page. Any folder in Hugging Face form whose family is
                supported works as well; it is read where it is, on your disk."
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
                hint="or drop one here: config.json, *.safetensors, tokenizer.json"
                on_files=move |picked| run.choose_model(picked)
            />
            <div class="fields">
                <Choice
                    id="base-dtype"
                    label="Weights kept as"
                    options=Signal::derive(options)
                    hint="fewer bits: larger models fit, and the base is less exact"
                    read=|c| c.base_dtype.name().into()
                    write=|c, text| put(&mut c.base_dtype, text)
                />
                <Show when=move || { computes(run).len() > 1 }>
                    <Choice
                        id="compute-dtype"
                        label="Products in"
                        options=Signal::derive(move || {
                            computes(run).into_iter().map(|dtype| (dtype.name().into(), named(dtype).into())).collect()
                        })
                        hint="halves may be faster, and are less exact"
                        read=|c| c.compute_dtype.name().into()
                        write=|c, text| put(&mut c.compute_dtype, text)
                    />
                </Show>
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

fn options() -> Vec<(String, String)> {
    let called = |dtype: BaseDtype| match dtype {
        BaseDtype::F32 => "32-bit floats",
        BaseDtype::F16 => "16-bit floats",
        BaseDtype::Int8 => "8 bits",
        BaseDtype::Int4 => "4 bits",
    };
    BaseDtype::ALL.map(|dtype| (dtype.name().to_string(), called(dtype).to_string())).into()
}

/// What the device multiplies in, and what is chosen, if that was for another device.
fn computes(run: Run) -> Vec<ComputeDtype> {
    let chosen = run.config.with(|c| c.compute_dtype);
    run.adapter.with(|adapter| {
        let has = |dtype: &ComputeDtype| adapter.as_ref().is_some_and(|adapter| adapter.compute.contains(dtype));
        ComputeDtype::ALL.into_iter().filter(|dtype| *dtype == chosen || has(dtype)).collect()
    })
}

fn named(dtype: ComputeDtype) -> &'static str {
    match dtype {
        ComputeDtype::F32 => "32-bit floats",
        ComputeDtype::F16 => "16-bit floats",
        ComputeDtype::Bf16 => "bfloat16",
    }
}

fn summary(run: Run) -> String {
    if run.reading_model.get() {
        return progress(run).unwrap_or_else(|| {
            (if run.adapter.with(Option::is_none) { "starting the engine …" } else { "reading …" }).into()
        });
    }
    run.model.with(|m| match m {
        Some(m) => format!(
            "{}, {} parameters, {} layers, {} tokens of context",
            m.name,
            units::count(m.parameters),
            m.layers,
            units::grouped(m.context as u64)
        ),
        None => "no model".into(),
    })
}

/// What is under way and how far it is.
pub fn progress(run: Run) -> Option<String> {
    let p = run.progress.get()?;
    Some(match p.total {
        0 => format!("{} …", p.what),
        total => format!("{} {}", p.what, units::percent(p.done as f64 / total as f64)),
    })
}
