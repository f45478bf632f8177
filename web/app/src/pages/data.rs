//! The second card: the data to train on.

use leptos::prelude::*;
use stratune_protocol::{DataReport, LabelledColumns, SkippedRow};

use super::hub::FromHub;
use super::model::progress;
use super::preview::{Images, Lengths, Preview};
use crate::parts::bars::bars;
use crate::parts::card::Card;
use crate::parts::drop_zone::{ChooseFiles, DropZone};
use crate::parts::field::Fields;
use crate::state::labels::OBJECTIVE;
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
                        {move || run.reads_images().then(|| view! {
                            <ChooseFiles
                                id="image-folder"
                                button="Choose a folder of images"
                                folder=true
                                on_files=move |picked| run.choose_data(picked)
                            />
                        })}
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
                    <Other />
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

/// What could be learned instead: labels of rows that look like it, and tokens again.
#[component]
fn Other() -> impl IntoView {
    let run = use_run();
    let other = Memo::new(move |_| {
        let (labels, encoder) = (run.learns_labels(), run.is_encoder());
        if encoder { None } else { run.looks.with(|looks| other(labels, looks.as_ref())) }
    });
    let lacks = move || run.lacks_labels() && !run.reading_data.get();
    let choose = move || {
        other.get().map(|(sentence, button, objective)| {
            view! {
                <p class="explain" id="other">
                    {sentence}" "
                    <button type="button" class="quiet" on:click=move |_| run.choose(OBJECTIVE, objective.into())>
                        {button}
                    </button>
                </p>
            }
        })
    };
    view! {
        <p class="explain" hidden=move || !lacks()>
            {move || match run.reads_images() {
                true => "The model reads images: choose a folder with one of PNG or JPEG images for each class.",
                false => "Labels are to be learned, and the example has none: choose rows with a text and a label.",
            }}
        </p>
        {choose}
    }
}

/// In a sentence, on a button, and as the settings write it.
fn other(labels: bool, looks: Option<&LabelledColumns>) -> Option<(String, &'static str, &'static str)> {
    if labels {
        return Some(("The model learns a label of each row, and no text.".into(), "learn the text", "auto"));
    }
    let LabelledColumns { text, label, classes, .. } = looks?;
    let (what, objective) = match classes {
        0 => ("numbers".into(), "regression"),
        n => (format!("{} classes", units::grouped(*n as u64)), "classification"),
    };
    Some((format!("Column {label} looks like labels of {text}: {what}."), "learn the labels", objective))
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
            let count = d.train_rows + d.validation_rows;
            let rows = if is_of_images(d) { plural(count, "image", "images") } else { plural(count, "row", "rows") };
            format!("{source}, {rows}{skipped}")
        }
        None => "no data".into(),
    })
}

/// Whether its rows are images.
fn is_of_images(report: &DataReport) -> bool {
    report.format == "images"
}

/// How much there is, and what was left out.
#[component]
fn Facts(report: DataReport) -> impl IntoView {
    let images = is_of_images(&report);
    let learned = report.labelled.as_ref().filter(|_| report.preview.iter().any(|row| !row.label.is_empty()));
    let labels = match learned {
        None => units::percent(report.label_tokens as f64 / report.tokens.max(1) as f64),
        Some(of) if of.classes == 0 => "numbers".into(),
        Some(of) => plural(of.classes, "class", "classes"),
    };
    let most = report.classes.iter().map(|class| class.1).max().unwrap_or(1) as f64;
    let class = |(name, rows): (String, usize)| (name, rows as f64 / most, units::grouped(rows as u64));
    let classes: Vec<_> = report.classes.into_iter().map(class).collect();
    let more = report.skipped_rows.saturating_sub(report.skipped.len());
    let skipped = (report.skipped_rows > 0).then(|| {
        let row = |s: SkippedRow| view! { <li title=s.raw><span>{s.why}</span><span class="figure">{s.at}</span></li> };
        view! {
            <details id="skipped">
                <summary>
                    {format!("{} skipped: see why", match images {
                        true => plural(report.skipped_rows, "file", "files"),
                        false => plural(report.skipped_rows, "row", "rows"),
                    })}
                </summary>
                <ul class="listing">
                    {report.skipped.into_iter().map(row).collect_view()}
                    {(more > 0).then(|| view! { <li>{format!("and {} more", units::grouped(more as u64))}</li> })}
                </ul>
            </details>
        }
    });
    view! {
        <dl class="facts">
            <div>
                <dt>{if images { "Training images" } else { "Training rows" }}</dt>
                <dd>{units::grouped(report.train_rows as u64)}</dd>
            </div>
            <div><dt>"Held out"</dt><dd>{units::grouped(report.validation_rows as u64)}</dd></div>
            {(!images).then(|| view! { <div><dt>"Tokens"</dt><dd>{units::count(report.tokens)}</dd></div> })}
            <div><dt>"Labels"</dt><dd>{labels}</dd></div>
            {(!images).then(|| view! {
                <div><dt>"Cut"</dt><dd>{plural(report.truncated, "row", "rows")}</dd></div>
            })}
        </dl>
        {(!classes.is_empty()).then(|| bars(classes))}
        {skipped}
    }
}

/// What the rows look like and how long they are.
#[component]
fn Rows(report: DataReport) -> impl IntoView {
    let limit = use_run().config.with_untracked(|c| c.number("data.max_length")) as usize;
    if is_of_images(&report) {
        return view! { <div><Images rows=report.preview /></div> }.into_any();
    }
    view! {
        <div>
            <Preview rows=report.preview />
            <Lengths lengths=report.lengths limit=limit truncated=report.truncated />
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_look_like_labels_are_offered_as_such() {
        let of = |classes| LabelledColumns { text: "text".into(), label: "mood".into(), classes, ..Default::default() };
        assert_eq!(other(false, None), None);
        let (sentence, _, objective) = other(false, Some(&of(2))).unwrap_or_default();
        assert_eq!(
            (sentence.as_str(), objective),
            ("Column mood looks like labels of text: 2 classes.", "classification")
        );
        assert_eq!(other(false, Some(&of(0))).map(|other| other.2), Some("regression"));
        assert_eq!(other(true, None).map(|other| other.2), Some("auto"));
    }
}
