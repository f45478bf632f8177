//! The second card: the data to train on.

use leptos::prelude::*;
use stratune_protocol::{DataReport, SkippedRow};

use super::hub::FromHub;
use super::model::progress;
use super::preview::{Lengths, Preview};
use crate::parts::card::Card;
use crate::parts::drop_zone::DropZone;
use crate::parts::field::Fields;
use crate::state::settings::Settings;
use crate::state::{Card as Which, Run, use_run};
use crate::units::{self, plural};

/// The second card.
#[component]
pub fn DataCard() -> impl IntoView {
    let run = use_run();
    let busy = Signal::derive(move || run.reading_data.get());
    view! {
        <Card which=Which::Data summary=Signal::derive(move || summary(run)) busy=busy>
            <div class="halves">
                <div>
                    <DropZone
                        id="drop"
                        input_id="data-file"
                        button="Choose files"
                        hint="or drop them here: JSONL, JSON, CSV, TSV, Parquet or plain text, also as .gz or .zst"
                        on_files=move |picked| run.choose_data(picked)
                    />
                    <div class="choices">
                        <button
                            type="button"
                            id="use-example"
                            aria-pressed=move || run.config.with(is_example).to_string()
                            on:click=move |_| run.choose_data(Vec::new())
                        >
                            "Use the example"
                        </button>
                    </div>
                    <FromHub dataset=true />
                    <div class="fields of-data">
                        <Fields group="data." />
                    </div>
                    {move || run.data.get().map(|report| view! { <Facts report /> })}
                </div>
                {move || run.data.get().map(|report| view! { <Rows report /> })}
            </div>
            <details class="advanced">
                <summary>"Advanced"</summary>
                <div class="fields">
                    <Fields group="data." advanced=true />
                </div>
            </details>
        </Card>
    }
}

fn is_example(config: &Settings) -> bool {
    config.texts("data.files").is_empty()
}

fn summary(run: Run) -> String {
    if run.reading_data.get() {
        return match run.reading_model.get() {
            true => "waiting for the model …".into(),
            false => progress(run).unwrap_or_else(|| "reading …".into()),
        };
    }
    run.data.with(|d| match d {
        Some(d) => {
            let source = if run.config.with(is_example) { "the example".into() } else { d.files.join(", ") };
            let skipped = match d.skipped_rows {
                0 => String::new(),
                n => format!(", {} skipped", units::grouped(n as u64)),
            };
            format!("{source}, {}{skipped}", plural(d.train_rows + d.validation_rows, "row", "rows"))
        }
        None => "no data".into(),
    })
}

/// How much there is, and what was left out.
#[component]
fn Facts(report: DataReport) -> impl IntoView {
    let labelled = report.label_tokens as f64 / report.tokens.max(1) as f64;
    let more = report.skipped_rows.saturating_sub(report.skipped.len());
    let skipped = (report.skipped_rows > 0).then(|| {
        let row = |s: SkippedRow| view! { <li title=s.raw><span>{s.why}</span><span class="figure">{s.at}</span></li> };
        view! {
            <details id="skipped">
                <summary>{format!("{} skipped: see why", plural(report.skipped_rows, "row", "rows"))}</summary>
                <ul class="listing">
                    {report.skipped.into_iter().map(row).collect_view()}
                    {(more > 0).then(|| view! { <li>{format!("and {} more", units::grouped(more as u64))}</li> })}
                </ul>
            </details>
        }
    });
    view! {
        <dl class="facts">
            <div><dt>"Training rows"</dt><dd>{units::grouped(report.train_rows as u64)}</dd></div>
            <div><dt>"Held out"</dt><dd>{units::grouped(report.validation_rows as u64)}</dd></div>
            <div><dt>"Tokens"</dt><dd>{units::count(report.tokens)}</dd></div>
            <div><dt>"Labels"</dt><dd>{units::percent(labelled)}</dd></div>
            <div><dt>"Cut"</dt><dd>{plural(report.truncated, "row", "rows")}</dd></div>
        </dl>
        {skipped}
    }
}

/// What the rows look like and how long they are.
#[component]
fn Rows(report: DataReport) -> impl IntoView {
    let limit = use_run().config.with_untracked(|c| c.number("data.max_length")) as usize;
    view! {
        <div>
            <Preview rows=report.preview />
            <Lengths lengths=report.lengths limit=limit truncated=report.truncated />
        </div>
    }
}
