//! The second card: what is learned from.

use leptos::prelude::*;
use stratune_protocol::{DataReport, RunConfig, SkippedRow};

use super::model::progress;
use super::preview::{Lengths, Preview};
use crate::parts::card::Card;
use crate::parts::drop_zone::DropZone;
use crate::parts::field::{Choice, Field, name_of, put};
use crate::state::{Card as Which, Run, use_run};
use crate::units::{self, plural};

/// Formats by their names in the configuration, and what they are.
const FORMATS: [(&str, &str); 7] = [
    ("auto", "recognise it"),
    ("alpaca", "Alpaca: instruction, input, output"),
    ("prompt_completion", "prompt and completion"),
    ("messages", "chat: messages with role and content"),
    ("csv", "table, comma-separated"),
    ("tsv", "table, tab-separated"),
    ("text", "plain text"),
];

/// The second card.
#[component]
pub fn DataCard() -> impl IntoView {
    let run = use_run();
    let busy = Signal::derive(move || run.reading_data.get());
    let formats = FORMATS.map(|(value, name)| (value.to_string(), name.to_string())).to_vec();
    let recognised = Signal::derive(move || run.data.with(|d| d.as_ref().map(|d| format!("read as: {}", d.format))));
    view! {
        <Card which=Which::Data summary=Signal::derive(move || summary(run)) busy=busy>
            <div class="halves">
                <div>
                    <DropZone
                        id="drop"
                        input_id="data-file"
                        button="Choose files"
                        hint="or drop them here: JSONL, JSON, CSV, TSV or plain text"
                        on_files=move |picked| run.choose_data(picked)
                    />
                    <div class="choices">
                        <button
                            type="button"
                            id="use-example"
                            aria-pressed=move || run.config.with(|c| c.data.files.is_empty()).to_string()
                            on:click=move |_| run.choose_data(Vec::new())
                        >
                            "Use the example"
                        </button>
                    </div>
                    <div class="fields">
                        <Choice
                            id="format"
                            label="Format"
                            options=formats
                            hint=recognised
                            read=|c| name_of(c.data.format)
                            write=|c, text| put(&mut c.data.format, text)
                        />
                        {move || has_columns(run).then(|| view! { <Columns /> })}
                    </div>
                    {move || run.data.get().map(|report| view! { <Facts report /> })}
                </div>
                {move || run.data.get().map(|report| view! { <Rows report /> })}
            </div>
            <details class="advanced">
                <summary>"Advanced"</summary>
                <div class="fields">
                    <Field
                        id="max-length"
                        label="Longest row, tokens"
                        hint="longer rows are cut and counted"
                        read=|c| c.data.max_length.to_string()
                        write=|c, text| put(&mut c.data.max_length, text)
                    />
                    <Field
                        id="validation-split"
                        label="Held-out share"
                        hint="rows never trained on, to measure with"
                        read=|c| c.data.validation_split.to_string()
                        write=|c, text| put(&mut c.data.validation_split, text)
                    />
                </div>
            </details>
        </Card>
    }
}

fn has_columns(run: Run) -> bool {
    run.data.with(|d| d.as_ref().is_some_and(|d| !d.columns.is_empty()))
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
            let source =
                if run.config.with(|c| c.data.files.is_empty()) { "the example".into() } else { d.files.join(", ") };
            let skipped = match d.skipped_rows {
                0 => String::new(),
                n => format!(", {} skipped", units::grouped(n as u64)),
            };
            format!("{source}, {}{skipped}", plural(d.train_rows + d.validation_rows, "row", "rows"))
        }
        None => "no data".into(),
    })
}

/// Which columns of a table are the prompt and what is learned.
#[component]
fn Columns() -> impl IntoView {
    let run = use_run();
    let options = Signal::derive(move || {
        let columns = run.data.with(|d| d.as_ref().map(|d| d.columns.clone()).unwrap_or_default());
        let named = columns.into_iter().map(|c| (c.clone(), c));
        std::iter::once((String::new(), "recognise it".to_string())).chain(named).collect::<Vec<_>>()
    });
    fn prompt(c: &mut RunConfig, text: &str) -> bool {
        c.data.prompt_column = text.into();
        true
    }
    fn completion(c: &mut RunConfig, text: &str) -> bool {
        c.data.completion_column = text.into();
        true
    }
    view! {
        <Choice id="prompt-column" label="Prompt column" options=options read=|c| c.data.prompt_column.clone() write=prompt />
        <Choice
            id="completion-column"
            label="Learned column"
            options=options
            read=|c| c.data.completion_column.clone()
            write=completion
        />
    }
}

/// How much there is, and what was left out.
#[component]
fn Facts(report: DataReport) -> impl IntoView {
    let learned = report.learned_tokens as f64 / report.tokens.max(1) as f64;
    let more = report.skipped_rows.saturating_sub(report.skipped.len());
    let skipped = (report.skipped_rows > 0).then(|| {
        let row = |s: SkippedRow| view! { <li><span>{s.why}</span><span class="figure">{s.at}</span></li> };
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
            <div><dt>"Learned"</dt><dd>{units::percent(learned)}</dd></div>
            <div><dt>"Cut"</dt><dd>{plural(report.truncated, "row", "rows")}</dd></div>
        </dl>
        {skipped}
    }
}

/// What the rows look like and how long they are.
#[component]
fn Rows(report: DataReport) -> impl IntoView {
    let limit = use_run().config.with_untracked(|c| c.data.max_length);
    view! {
        <div>
            <Preview rows=report.preview />
            <Lengths lengths=report.lengths limit=limit truncated=report.truncated />
        </div>
    }
}
