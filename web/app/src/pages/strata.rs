//! Strata: which layers are worth training, as the run finds out.

use leptos::html;
use leptos::prelude::*;
use stratune_protocol::IstMode;
use web_sys::{KeyboardEvent, MouseEvent};

use super::strata_picture;
use crate::parts::axis;
use crate::parts::canvas::Canvas;
use crate::parts::ramp;
use crate::state::strata::{Strata, mode_of};
use crate::state::use_run;
use crate::units;

/// The panel: names of the layers, the picture, their numbers now.
#[component]
pub fn StrataPanel() -> impl IntoView {
    let run = use_run();
    let chosen = RwSignal::new(None::<usize>);
    let layers = Memo::new(move |_| run.history.with(|h| h.strata.layers));
    // The mode of the run that is drawn; before there is one, that of the next.
    let mode = Memo::new(move |_| match run.history.with(|h| h.strata.layers) {
        0 => run.config.with(mode_of),
        _ => run.history.with(|h| h.strata.mode),
    });
    let frame = NodeRef::<html::Div>::new();
    let pick = move |event: MouseEvent| {
        if let Some(frame) = frame.get_untracked() {
            let rect = frame.get_bounding_client_rect();
            let share = (f64::from(event.client_y()) - rect.top()) / rect.height().max(1.0);
            let n = layers.get_untracked();
            let from_top = ((share * n as f64) as usize).min(n.saturating_sub(1));
            chosen.set((n > 0).then(|| n - 1 - from_top));
        }
    };
    let rows = move || format!("repeat({}, 1fr)", layers.get().max(1));
    let label = Signal::derive(move || {
        format!("Heatmap of {} layers over the run; its numbers are in the table that follows", layers.get())
    });
    let top_first = move || (0..layers.get()).rev().collect::<Vec<_>>();
    let shown = Memo::new(move |_| run.history.with(|h| units::grouped(axis::horizon(h.step, h.steps) as u64)));
    view! {
        <section class="panel" aria-labelledby="title-strata">
            <div class="panel-head">
                <h2 id="title-strata">"Strata"</h2>
                <p class="reading">"which layers are worth training"</p>
                <Legend />
            </div>
            <div
                class="strata"
                hidden=move || layers.get() == 0
                style=("--layers", move || layers.get().max(1).to_string())
            >
                <div class="rows names" style:grid-template-rows=rows>
                    <For each=top_first key=|layer| *layer let:layer>
                        <LayerName layer chosen layers />
                    </For>
                </div>
                <div class="picture" node_ref=frame on:click=pick>
                    <Canvas
                        id="strata"
                        label=label
                        watch=move || {
                            run.history.track();
                            chosen.track();
                        }
                        paint=move |surface| run.history.with(|h| strata_picture::paint(surface, h, chosen.get()))
                    />
                </div>
                <div class="rows now" aria-hidden="true" style:grid-template-rows=rows>
                    <For each=top_first key=|layer| *layer let:layer>
                        <Now layer layers />
                    </For>
                </div>
                <div class="axis" aria-hidden="true">
                    <span>"step 0"</span>
                    <span>{shown}</span>
                </div>
            </div>
            <p class="blank" hidden=move || layers.get() != 0>
                "One row for each layer, the output on top. As the run learns which layers matter, their rows stand out."
            </p>
            <p class="detail" aria-live="polite">{move || run.history.with(|h| detail(&h.strata, chosen.get()))}</p>
            <p class="caption">{move || caption(mode.get())}</p>
            <Table layers />
        </section>
    }
}

fn caption(mode: IstMode) -> &'static str {
    match mode {
        IstMode::All => {
            "Every layer trains at every step here, so every row is full; choose another mode to see layers compete."
        }
        IstMode::Scored => {
            "Every layer trains at every step. Each column is an importance update: the stronger the colour, the more the \
             layer's update matters to the loss."
        }
        IstMode::Random => {
            "Layers are drawn evenly at random: the colour is the share of steps in which each trained, and nothing is \
             learned about them."
        }
        IstMode::Faithful | IstMode::Practical | IstMode::CostAware => {
            "Each column is an importance update: the stronger the colour, the likelier the layer trains; a dot shows how \
             often it then did. A ring marks the layers of the latest step."
        }
    }
}

/// What is known of the chosen layer.
fn detail(strata: &Strata, chosen: Option<usize>) -> String {
    if strata.layers == 0 {
        return String::new();
    }
    let Some(layer) = chosen.filter(|l| *l < strata.layers) else {
        return "Choose a row to read that layer.".into();
    };
    let mut text = format!("Layer {}", layer + 1);
    if let Some(score) = strata.scores.get(layer) {
        text += &format!(": score {score:+.2}, probability {:.2}", strata.now(layer));
    }
    text += &format!("; trained in {} of {} steps.", strata.trained.get(layer).unwrap_or(&0), strata.steps);
    match strata.candidate_losses(layer) {
        (Some(damped), Some(free)) => {
            text += &format!(
                " Last candidates: mean loss {} with it damped, {} with it free.",
                units::loss(damped),
                units::loss(free)
            );
        }
        (Some(loss), None) => text += &format!(" Last candidates: damped in all, mean loss {}.", units::loss(loss)),
        (None, Some(loss)) => text += &format!(" Last candidates: damped in none, mean loss {}.", units::loss(loss)),
        (None, None) => {}
    }
    text
}

/// Whether `layer` of `layers` has room for letters: of many low rows only some, or the letters would touch.
fn has_room(layer: usize, layers: usize) -> bool {
    layers <= 18 || (layer + 1).is_multiple_of(4)
}

/// A layer's name, which chooses it.
#[component]
fn LayerName(layer: usize, chosen: RwSignal<Option<usize>>, layers: Memo<usize>) -> impl IntoView {
    let is_chosen = move || chosen.get() == Some(layer);
    let shown = move || has_room(layer, layers.get());
    let node = NodeRef::<html::Button>::new();
    let walk = move |event: KeyboardEvent| {
        let Some(button) = node.get_untracked() else { return };
        let next = match event.key().as_str() {
            "ArrowDown" => button.next_element_sibling(),
            "ArrowUp" => button.previous_element_sibling(),
            _ => return,
        };
        event.prevent_default();
        if let Some(next) = next {
            use wasm_bindgen::JsCast;
            let _ = next.unchecked_into::<web_sys::HtmlElement>().focus();
        }
    };
    view! {
        <button
            node_ref=node
            type="button"
            aria-label=format!("Layer {}", layer + 1)
            aria-pressed=move || is_chosen().to_string()
            on:click=move |_| chosen.update(|c| *c = if *c == Some(layer) { None } else { Some(layer) })
            on:focus=move |_| chosen.set(Some(layer))
            on:keydown=walk
        >
            {move || shown().then_some(layer + 1)}
        </button>
    }
}

/// A layer's number now, as a bar; a ring if the latest step trained it.
#[component]
fn Now(layer: usize, layers: Memo<usize>) -> impl IntoView {
    let run = use_run();
    let now = Memo::new(move |_| run.history.with(|h| h.strata.now(layer)));
    let sampled = Memo::new(move |_| run.history.with(|h| h.strata.sampled.contains(&layer)));
    let colour = move || ramp::css(ramp::colour(f64::from(now.get()), run.dark.get()));
    let figure =
        move || has_room(layer, layers.get()).then(|| format!("{:.2}", now.get()).trim_start_matches('0').to_string());
    view! {
        <div class="bar" class:sampled=move || sampled.get()>
            <i></i>
            <b><span style:width=move || format!("{:.1}%", 100.0 * now.get()) style:background-color=colour></span></b>
            <span class="figure">{figure}</span>
        </div>
    }
}

/// What the colours mean.
#[component]
pub(super) fn Legend() -> impl IntoView {
    let run = use_run();
    let patch = move |i: u32| {
        let colour = move || ramp::css(ramp::colour(f64::from(i) / 15.0, run.dark.get()));
        view! { <span style:background-color=colour></span> }
    };
    view! {
        <div class="legend" aria-hidden="true">
            "0"
            <div>{(0..16).map(patch).collect_view()}</div>
            "1"
        </div>
    }
}

/// The same in words, for those who do not see the picture.
#[component]
fn Table(layers: Memo<usize>) -> impl IntoView {
    let run = use_run();
    let row = move |layer: usize| {
        let of =
            move |read: fn(&Strata, usize) -> String| Memo::new(move |_| run.history.with(|h| read(&h.strata, layer)));
        let probability = of(|s, layer| format!("{:.2}", s.now(layer)));
        let score = of(|s, layer| s.scores.get(layer).map_or("none".into(), |score| format!("{score:+.2}")));
        let trained = of(|s, layer| s.trained.get(layer).unwrap_or(&0).to_string());
        view! {
            <tr>
                <th scope="row">{layer + 1}</th>
                <td>{probability}</td>
                <td>{score}</td>
                <td>{trained}</td>
            </tr>
        }
    };
    let top_first = move || (0..layers.get()).rev().collect::<Vec<_>>();
    view! {
        <div class="hidden-text">
            <table id="strata-table">
                <caption>"Layers, the output first"</caption>
                <thead>
                    <tr>
                        <th scope="col">"Layer"</th>
                        <th scope="col">"Probability"</th>
                        <th scope="col">"Score"</th>
                        <th scope="col">"Times trained"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=top_first key=|layer| *layer children=row />
                </tbody>
            </table>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stratune_protocol::Candidate;

    use super::*;
    use crate::state::settings::tests::settings;

    #[test]
    fn a_layer_in_words() {
        let config = settings(json!({ "ist": { "mode": "practical", "interval": 10 } }));
        let mut strata = Strata::begin(&config, 2, 10);
        strata.moved(0, &[0.5, -0.5], &[0.62, 0.38], &[Candidate { damped: vec![0], loss: 1.5 }]);
        strata.step(1, &[0]);
        assert_eq!(
            detail(&strata, Some(0)),
            "Layer 1: score +0.50, probability 0.62; trained in 1 of 1 steps. Last candidates: damped in all, mean loss \
             1.500."
        );
        assert!(detail(&strata, Some(9)).starts_with("Choose"));
        assert_eq!(detail(&Strata::default(), None), "");
    }
}
