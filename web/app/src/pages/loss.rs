//! The loss of the whole run: every step faint, its course firm, held-out measurements as circles, samples as ticks.

use leptos::html;
use leptos::prelude::*;
use web_sys::{KeyboardEvent, MouseEvent, PointerEvent};

use crate::bridge::browser;
use crate::parts::axis::{self, Axis};
use crate::parts::canvas::{Canvas, Surface};
use crate::parts::series::{Point, extremes, nearest, smooth, span_for};
use crate::state::history::History;
use crate::state::use_run;
use crate::units;

/// Room around the plot, in CSS pixels.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// The chart of the loss.
#[component]
pub fn Loss() -> impl IntoView {
    let run = use_run();
    let log = RwSignal::new(false);
    let marked = RwSignal::new(None::<f64>);
    let frame = NodeRef::<html::Div>::new();
    // Where on the time axis a pointer is.
    let step_at = move |x: i32| {
        let rect = frame.get_untracked()?.get_bounding_client_rect();
        let share = (f64::from(x) - rect.left() - LEFT) / (rect.width() - LEFT - RIGHT);
        let shown = run.history.with_untracked(|h| axis::horizon(h.step, h.steps));
        Some(share.clamp(0.0, 1.0) * shown as f64)
    };
    let key = move |event: KeyboardEvent| {
        let by = match event.key().as_str() {
            "ArrowLeft" => -1.0,
            "ArrowRight" => 1.0,
            _ => return,
        };
        event.prevent_default();
        let (step, steps) = run.history.with_untracked(|h| (h.step as f64, h.step as f64));
        marked.update(|m| *m = Some((m.unwrap_or(step) + by * (steps / 60.0).max(1.0)).clamp(0.0, steps)));
    };
    let open_sample = move |event: MouseEvent| {
        let Some(step) = step_at(event.client_x()) else { return };
        let samples: Vec<Point> = run.history.with_untracked(|h| h.samples.iter().map(|s| (s.step, 0.0)).collect());
        let near = run.history.with_untracked(|h| axis::horizon(h.step, h.steps)) as f64 / 40.0;
        if let Some((found, _)) = nearest(&samples, step).filter(|s| (s.0 as f64 - step).abs() <= near)
            && let Some(entry) = browser::document().get_element_by_id(&format!("sample-{found}"))
        {
            entry.scroll_into_view();
        }
    };
    let label = Signal::derive(move || run.history.with(describe));
    let read = move || run.history.with(|h| reading(h, marked.get()));
    let is_empty = move || run.history.with(|h| h.losses.is_empty());
    view! {
        <section class="panel" aria-labelledby="title-loss">
            <div class="panel-head">
                <h2 id="title-loss">"Loss"</h2>
                <p class="reading">{read}</p>
                <div class="switch" role="group" aria-label="Scale of the loss">
                    <button type="button" aria-pressed=move || (!log.get()).to_string() on:click=move |_| log.set(false)>
                        "linear"
                    </button>
                    <button type="button" id="log-scale" aria-pressed=move || log.get().to_string() on:click=move |_| log.set(true)>
                        "log"
                    </button>
                </div>
            </div>
            <div
                class="plot"
                node_ref=frame
                tabindex="0"
                role="group"
                aria-label="Loss chart; the arrow keys read its values"
                on:pointermove=move |event: PointerEvent| marked.set(step_at(event.client_x()))
                on:pointerleave=move |_| marked.set(None)
                on:blur=move |_| marked.set(None)
                on:keydown=key
                on:click=open_sample
            >
                <Canvas
                    id="loss-chart"
                    label=label
                    watch=move || {
                        run.history.track();
                        marked.track();
                        log.track();
                    }
                    paint=move |surface| run.history.with(|h| paint(surface, h, log.get(), marked.get()))
                />
                <p class="blank" hidden=move || !is_empty()>"Every step's loss will stand here, from the first to the last."</p>
            </div>
            <p class="caption key">
                <span class="of-step">"each step"</span>
                <span class="of-course">"its course"</span>
                <span class="of-held-out">"held-out rows"</span>
                <span class="of-sample">"sample: choose one to read it"</span>
            </p>
        </section>
    }
}

/// The chart in a sentence.
fn describe(history: &History) -> String {
    let Some((step, loss)) = history.losses.last() else { return "Loss chart, empty".into() };
    let first = history.losses.first().map_or(*loss, |p| p.1);
    let held_out = history.validations.last().map(|v| format!("; on held-out rows {}", units::loss(v.loss)));
    format!(
        "Loss chart: from {} at the first step to {} at step {step}{}",
        units::loss(first),
        units::loss(*loss),
        held_out.unwrap_or_default()
    )
}

/// The values where the pointer is, or the latest.
fn reading(history: &History, marked: Option<f64>) -> Option<String> {
    let (step, loss) = nearest(&history.losses, marked.unwrap_or(f64::MAX))?;
    let course = nearest(&smooth(&history.losses, span_for(history.losses.len())), step as f64)?.1;
    let held_out = history.validations.iter().rfind(|v| v.step <= step);
    Some(format!(
        "step {}   loss {}   course {}{}",
        units::grouped(step as u64),
        units::loss(loss),
        units::loss(course),
        held_out.map(|v| format!("   held-out {}", units::loss(v.loss))).unwrap_or_default()
    ))
}

fn paint(surface: &Surface, history: &History, log: bool, marked: Option<f64>) {
    let shown = axis::horizon(history.step, history.steps);
    let (width, height) = (surface.width - LEFT - RIGHT, surface.height - TOP - BOTTOM);
    if history.losses.is_empty() || width <= 0.0 || height <= 0.0 {
        return;
    }
    let earlier = history.previous.iter().flatten().filter(|p| p.0 <= shown).map(|p| p.1);
    let values = history.losses.iter().map(|p| p.1).chain(history.validations.iter().map(|v| v.loss)).chain(earlier);
    let Some(axis) = Axis::around(values, log) else { return };
    let x = |step: f64| LEFT + width * step / shown as f64;
    let y = |value: f64| TOP + height * (1.0 - axis.place(value).clamp(0.0, 1.0));
    let ink = &surface.ink;
    grid(surface, &axis, shown, x, y);

    for run in &history.previous {
        surface.path(run.iter().filter(|p| p.0 <= shown).map(|p| (x(p.0 as f64), y(p.1))), &ink.line, 1.5);
    }
    steps(surface, history, shown, width, x, y);
    let course = smooth(&history.losses, span_for(history.losses.len()));
    surface.path(course.iter().map(|p| (x(p.0 as f64), y(p.1))), &ink.text, 1.75);
    for sample in &history.samples {
        let at = x(sample.step as f64);
        surface.line((at, TOP + height - 7.0), (at, TOP + height), &ink.text, 1.5);
    }
    // Many circles are small ones, so that each can still be told from the next.
    let radius = (width / history.validations.len().max(1) as f64 / 4.0).clamp(1.5, 4.0);
    for v in history.validations.iter().filter(|v| v.loss.is_finite()) {
        let at = (x(v.step as f64), y(v.loss));
        surface.circle(at, radius, &ink.ground, None);
        surface.circle(at, radius, &ink.accent, Some((0.5 * radius).max(1.25)));
    }
    if let Some((step, _)) = marked.and_then(|m| nearest(&history.losses, m)) {
        surface.line((x(step as f64), TOP), (x(step as f64), TOP + height), &ink.muted, 1.0);
        if let Some(p) = nearest(&course, step as f64) {
            surface.circle((x(p.0 as f64), y(p.1)), 3.0, &ink.text, None);
        }
    }
}

fn grid(surface: &Surface, axis: &Axis, shown: usize, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    let ink = &surface.ink;
    let bottom = surface.height - BOTTOM;
    let ticks = axis.ticks(((bottom - TOP) / 44.0) as usize);
    for &value in &ticks {
        // Half a pixel, so that a hairline fills one row of pixels.
        let at = y(value).round() + 0.5;
        surface.line((LEFT, at), (surface.width - RIGHT, at), &ink.line, 1.0);
        surface.text(&axis::label(value, &ticks), (LEFT - 8.0, at), &ink.muted, "right");
    }
    surface.line((LEFT, bottom + 0.5), (surface.width - RIGHT, bottom + 0.5), &ink.muted, 1.0);
    let ticks = axis::linear_ticks(0.0, shown as f64, (surface.width / 110.0) as usize);
    for value in ticks.into_iter().filter(|v| v.fract() == 0.0) {
        surface.line((x(value), bottom), (x(value), bottom + 4.0), &ink.muted, 1.0);
        let align = if value == 0.0 {
            "left"
        } else if value >= 0.97 * shown as f64 {
            "right"
        } else {
            "center"
        };
        surface.text(&units::grouped(value as u64), (x(value), bottom + 14.0), &ink.muted, align);
    }
}

/// Every step: a dot each while there is room, otherwise the range of the steps that share a column of pixels.
fn steps(
    surface: &Surface,
    history: &History,
    shown: usize,
    width: f64,
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
) {
    let ink = &surface.ink;
    surface.context.set_global_alpha(0.45);
    if (history.losses.len() as f64) < width {
        for p in history.losses.iter().filter(|p| p.1.is_finite()) {
            surface.circle((x(p.0 as f64), y(p.1)), 1.5, &ink.muted, None);
        }
    } else {
        for (bin, low, high) in extremes(&history.losses, shown, width as usize) {
            let at = LEFT + bin as f64 + 0.5;
            surface.line((at, y(high) - 0.5), (at, y(low) + 0.5), &ink.muted, 1.0);
        }
    }
    surface.context.set_global_alpha(1.0);
}
