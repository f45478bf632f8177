//! Models and rows from the Hugging Face hub: looked up, fetched, kept.

use leptos::prelude::*;
use stratune_protocol::{HubReport, KeptFiles, Verdict};

use crate::bridge::browser;
use crate::state::hub::Download;
use crate::state::{Run, use_run};
use crate::units;

/// Models to begin with: their names, their parameters, and whether their terms have to be agreed to first. Each has two bytes
/// a parameter.
const SMALL: [(&str, u64, bool); 5] = [
    ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, false),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120, false),
    ("Qwen/Qwen3-0.6B", 751_632_384, false),
    ("google/gemma-3-270m-it", 268_098_176, true),
    ("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, true),
];

/// Bytes that a model takes beside its weights, for a short row.
const BESIDE: u64 = 300 << 20;

/// A part of the card of the model, or of that of the data. What is in it has names of its own in each.
#[component]
pub fn FromHub(
    /// Whether rows are wanted, and no model.
    #[prop(optional)]
    dataset: bool,
) -> impl IntoView {
    let run = use_run();
    let name = RwSignal::new(String::new());
    let busy = move || run.hub.download.with(Option::is_some);
    let look = move |wanted: String| {
        name.set(wanted.clone());
        run.look_up(wanted, dataset);
    };
    let small = move || {
        let model = move |(id, parameters, gated): (&'static str, u64, bool)| {
            let fits = fits(run, 4 * parameters).1;
            view! {
                <li>
                    <button type="button" class="quiet" prop:disabled=busy on:click=move |_| look(id.into())>{id}</button>
                    <span class="figure">
                        {units::bytes(2 * parameters)} {if gated { ", gated, " } else { ", " }} {fits}
                    </span>
                </li>
            }
        };
        SMALL.into_iter().map(model).collect_view()
    };
    let models = (!dataset).then(|| {
        view! {
            <p class="explain">"Small models to begin with:"</p>
            <ul class="listing" id="hub-small">{small}</ul>
        }
    });
    let hint = if dataset { "owner/name, owner/name:test" } else { "owner/name, owner/name:Q8_0" };
    let field = id(dataset, "name");
    view! {
        <details class="hub" id=id(dataset, "part") on:toggle=move |_| run.list_kept()>
            <summary>"From the Hugging Face hub"</summary>
            <p class="explain">
                "Nothing is asked of the hub until a button here is pressed, and nothing of yours is sent: only the name. What is
                fetched is checked, and kept in this browser."
            </p>
            <div class="choices">
                <label for=field.clone()>"Name or address"</label>
                <input
                    type="text"
                    id=field
                    placeholder=hint
                    autocapitalize="off"
                    spellcheck="false"
                    prop:value=move || name.get()
                    on:input=move |event| name.set(event_target_value(&event))
                />
                <button
                    type="button"
                    id=id(dataset, "look")
                    prop:disabled=move || name.with(|n| n.trim().is_empty()) || busy()
                    on:click=move |_| look(name.get_untracked())
                >
                    "Look up"
                </button>
            </div>
            {move || run.hub.report.get().filter(|report| report.dataset == dataset).map(|report| view! { <Report report /> })}
            <Coming dataset />
            <Kept dataset />
            {models}
            <Token dataset />
        </details>
    }
}

/// The id of a part of this in the page.
fn id(dataset: bool, name: &str) -> String {
    format!("{}-{name}", if dataset { "rows" } else { "hub" })
}

/// What was looked up, and a button that fetches it.
#[component]
fn Report(report: HubReport) -> impl IntoView {
    let run = use_run();
    let fetched = report.missing == 0;
    let verdict = (!report.dataset).then(|| {
        let need = memory(&report);
        let words = move || {
            let (verdict, words) = fits(run, need);
            let advice = if verdict >= Verdict::Tight { "; fewer bits below make it smaller" } else { "" };
            format!("about {}, {words}{advice}", units::bytes(need + BESIDE))
        };
        view! { <div><dt>"Memory"</dt><dd id=id(false, "fits")>{words}</dd></div> }
    });
    let fact = |name: &'static str, value: String| {
        (!value.is_empty()).then(|| view! { <div><dt>{name}</dt><dd>{value}</dd></div> })
    };
    let gated = report.gated.then(|| {
        view! {
            <p class="explain" id=id(report.dataset, "gated")>
                {format!("It is gated: agree to its terms at {}/{}, and give a token of that account below.", report.host, report.repository)}
            </p>
        }
    });
    let licence = if report.licence.is_empty() { "none named".into() } else { report.licence.clone() };
    let others = report.others.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    let button = match fetched {
        true => "Use it: all of it is here".to_string(),
        false => format!("Fetch {} from {}", units::bytes(report.missing), report.host),
    };
    view! {
        <div id=id(report.dataset, "report")>
            <p><strong>{report.name.clone()}</strong></p>
            <dl class="facts">
                <div><dt>"Size"</dt><dd id=id(report.dataset, "size")>{units::bytes(report.bytes)}</dd></div>
                <div><dt>"Licence"</dt><dd id=id(report.dataset, "licence")>{licence}</dd></div>
                {fact("Family", report.family.clone())}
                {fact("Parameters", report.parameters.map(units::count).unwrap_or_default())}
                {fact("Other rows", others)}
                {verdict}
            </dl>
            {gated}
            <button
                type="button"
                id=id(report.dataset, "fetch")
                prop:disabled=move || run.hub.download.with(Option::is_some)
                on:click=move |_| run.fetch()
            >
                {button}
            </button>
        </div>
    }
}

/// How far a download is, and a button that ends it.
#[component]
fn Coming(dataset: bool) -> impl IntoView {
    let run = use_run();
    let words = move || run.hub.download.with(|download| download.as_ref().map(|d| said(d, browser::now())));
    view! {
        <Show when=move || run.hub.download.with(Option::is_some)>
            <p>
                <span id=id(dataset, "progress") role="status">{words}</span>
                " "
                <button type="button" class="quiet" id=id(dataset, "cancel") on:click=move |_| run.stop_download()>"cancel"</button>
            </p>
        </Show>
    }
}

/// What is kept of one kind, to be taken or removed.
#[component]
fn Kept(dataset: bool) -> impl IntoView {
    let run = use_run();
    let row = move |kept: KeptFiles| {
        let KeptFiles { name, bytes, there, whole, .. } = kept;
        let size = match whole {
            true => units::bytes(bytes),
            false => format!("{} of {}", units::bytes(there), units::bytes(bytes)),
        };
        let (used, removed, shown) = (name.clone(), name.clone(), short(&name));
        let take = move |_| if whole { run.open_kept(used.clone()) } else { run.look_up(used.clone(), dataset) };
        view! {
            <li>
                <span title=name>{shown}</span>
                <span class="figure">{size}</span>
                <button type="button" class="quiet" on:click=take>{if whole { "use" } else { "go on" }}</button>
                <button type="button" class="quiet" on:click=move |_| run.remove_kept(removed.clone())>"delete"</button>
            </li>
        }
    };
    let rows = move || run.hub.kept.get().into_iter().filter(|kept| kept.dataset == dataset).map(row).collect_view();
    view! { <ul class="listing" id=id(dataset, "kept")>{rows}</ul> }
}

/// The field of a token.
#[component]
fn Token(dataset: bool) -> impl IntoView {
    let hub = use_run().hub;
    let field = id(dataset, "token");
    view! {
        <div class="choices">
            <label for=field.clone()>"Token, for what is gated or private"</label>
            <input
                type="password"
                id=field
                autocomplete="off"
                prop:value=move || hub.token.get()
                on:input=move |event| {
                    hub.token.set(event_target_value(&event));
                    hub.keep_token();
                }
            />
            <label class="tick">
                <input
                    type="checkbox"
                    id=id(dataset, "remember")
                    prop:checked=move || hub.remembers.get()
                    on:change=move |event| {
                        hub.remembers.set(event_target_checked(&event));
                        hub.keep_token();
                    }
                />
                "keep it on this machine"
            </label>
        </div>
    }
}

/// Bytes of memory that the weights take: a GGUF's as they are, others as floats.
fn memory(report: &HubReport) -> u64 {
    match report.parameters {
        _ if report.gguf => report.bytes,
        Some(parameters) => 4 * parameters,
        None => 2 * report.bytes,
    }
}

/// Whether weights of so many bytes fit into what the device has told.
fn fits(run: Run, weights: u64) -> (Verdict, &'static str) {
    let memory = run.adapter.with(|adapter| adapter.as_ref().and_then(|adapter| adapter.limits.memory));
    verdict(weights.saturating_add(BESIDE), memory)
}

fn verdict(need: u64, memory: Option<u64>) -> (Verdict, &'static str) {
    match memory {
        None => (Verdict::Unknown, "if the device has as much"),
        Some(there) if need <= there / 10 * 7 => (Verdict::Fits, "fits"),
        Some(there) if need <= there => (Verdict::Tight, "is tight"),
        Some(_) => (Verdict::WontFit, "does not fit"),
    }
}

/// A download in words.
fn said(download: &Download, now: f64) -> String {
    let Download { what, done, total, .. } = download;
    let mut words = if what.is_empty() { "starting …".to_string() } else { what.clone() };
    if *total > 0 {
        words += &format!(": {} of {}", units::bytes(*done), units::bytes(*total));
    }
    if let (Some(rate), Some(left)) = (download.rate(now), download.left(now)) {
        words += &format!(", {}/s, {} left", units::bytes(rate as u64), units::about(left));
    }
    words
}

/// A name whose commit has eight digits.
fn short(name: &str) -> String {
    let Some((repository, rest)) = name.split_once('@') else { return name.into() };
    let (commit, part) =
        rest.split_once(':').map_or((rest, String::new()), |(commit, part)| (commit, format!(":{part}")));
    format!("{repository}@{}{part}", commit.get(..8).unwrap_or(commit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_fit_or_do_not() {
        let report = |bytes, parameters, gguf| HubReport { bytes, parameters, gguf, ..HubReport::default() };
        for (report, bytes) in
            [(report(200, Some(100), false), 400), (report(200, None, false), 400), (report(70, Some(100), true), 70)]
        {
            assert_eq!(memory(&report), bytes, "{report:?}");
        }
        for (need, memory, said) in [
            (7, Some(10), Verdict::Fits),
            (8, Some(10), Verdict::Tight),
            (11, Some(10), Verdict::WontFit),
            (11, None, Verdict::Unknown),
        ] {
            assert_eq!(verdict(need, memory).0, said, "{need} of {memory:?}");
        }
    }

    #[test]
    fn names_are_shortened() {
        for (name, text) in [
            ("o/n@0123456789abcdef:q/a.gguf", "o/n@01234567:q/a.gguf"),
            ("o/n@0123456789abcdef", "o/n@01234567"),
            ("o/n", "o/n"),
        ] {
            assert_eq!(short(name), text);
        }
    }
}
