//! The bottom line: where the run is, in figures, with Pause and Stop.

use std::time::Duration;

use leptos::prelude::*;
use stratune_protocol::EndReason;

use crate::bridge::browser;
use crate::state::activity::Activity;
use crate::state::history::History;
use crate::state::run::Wish;
use crate::state::use_run;
use crate::units;

/// How often a screen reader is told where the run is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// The bottom line.
#[component]
pub fn Status() -> impl IntoView {
    let run = use_run();
    let of = move |read: fn(&History) -> String| Memo::new(move |_| run.history.with(read));
    let step = Memo::new(move |_| run.history.with(|h| (h.step, h.steps)));
    let loss = Memo::new(move |_| run.history.with(|h| h.latest.as_ref().map(|l| l.loss)));
    let validation = of(|h| h.validations.last().map_or("–".into(), |v| units::loss(v.loss)));
    let metrics = Memo::new(move |_| {
        run.history.with(|h| h.validations.last().and_then(|v| v.labels.as_ref()).map(|labels| labels.figures()))
    });
    let speed = of(|h| h.latest.as_ref().map_or("–".into(), |l| units::grouped(l.tokens_per_second as u64)));
    let memory =
        of(|h| h.latest.as_ref().filter(|l| l.memory_bytes > 0).map_or("–".into(), |l| units::bytes(l.memory_bytes)));
    let left = Memo::new(move |_| {
        let runs = run.activity.get().runs();
        run.history.with(|h| h.latest.as_ref().filter(|_| runs).map_or("–".into(), |l| units::clock(l.seconds_left)))
    });
    let saved = of(|h| h.saved.map_or("–".into(), |s| format!("step {}", units::grouped(s as u64))));
    let share = move || format!("{:.2}%", 100.0 * step.get().0 as f64 / step.get().1.max(1) as f64);
    let runs = move || run.activity.get().runs();
    follow_title(step);
    view! {
        <footer class="status" class:live=runs aria-label="Where the run is">
            <div class="done"><span style:width=share></span></div>
            <dl>
                <div>
                    <dt>"step"</dt>
                    <dd id="step" data-step=move || step.get().0.to_string()>
                        {move || match step.get() {
                            (_, 0) => "–".to_string(),
                            (step, steps) => format!("{} / {}", units::grouped(step as u64), units::grouped(steps as u64)),
                        }}
                    </dd>
                </div>
                <div>
                    <dt>"loss"</dt>
                    <dd id="loss" data-value=move || loss.get().map(|l| l.to_string())>
                        {move || loss.get().map_or("–".into(), units::loss)}
                    </dd>
                </div>
                <div><dt>"held-out"</dt><dd id="validation">{validation}</dd></div>
                {move || metrics.get().map(|all| {
                    let figure = |(name, value): (&'static str, String)| {
                        let id = name.replace(' ', "-").to_lowercase();
                        view! { <div><dt>{name}</dt><dd id=id>{value}</dd></div> }
                    };
                    all.map(figure).collect_view()
                })}
                <div><dt>"tokens/s"</dt><dd id="speed">{speed}</dd></div>
                <div><dt>"left"</dt><dd id="eta">{left}</dd></div>
                <div class="spare"><dt>"memory"</dt><dd id="memory">{memory}</dd></div>
                <div class="spare"><dt>"saved"</dt><dd id="saved">{saved}</dd></div>
            </dl>
            <p class="outcome">
                {move || match run.wish.get() {
                    Some(Wish::Pause) => "Pausing …".to_string(),
                    Some(Wish::Stop) => "Stopping …".to_string(),
                    None => outcome(run.activity.get(), &run.history.read(), run.has_adapter()),
                }}
            </p>
            <div class="actions">
                <button type="button" id="pause" prop:disabled=move || !runs() on:click=move |_| run.pause_or_resume()>
                    {move || match (run.activity.get(), run.wish.get()) {
                        (Activity::Paused, _) | (_, Some(Wish::Pause)) => "Go on",
                        _ => "Pause",
                    }}
                </button>
                <button
                    type="button"
                    id="stop"
                    prop:disabled=move || !runs()
                    on:click=move |_| run.stop()
                >
                    "Stop"
                </button>
            </div>
            <Told />
        </footer>
    }
}

/// What became of the run, in a sentence.
pub fn outcome(activity: Activity, history: &History, has_adapter: bool) -> String {
    match (activity, &history.ending) {
        (Activity::Paused, _) => "Paused. Go on, or stop to try and to take what it has learned.".into(),
        (Activity::Done, None) if has_adapter && !history.search.is_one => {
            "Ended by a problem; what was good until then is kept.".into()
        }
        (Activity::Done, None) => "Ended by a problem before anything was learned.".into(),
        (Activity::Done, Some(ending)) => {
            let why = match ending.reason {
                EndReason::Steps => "Finished",
                EndReason::EarlyStop if history.search.is_one => "Finished",
                EndReason::EarlyStop => "Stopped early: no more progress",
                EndReason::Stopped => "Stopped",
            };
            let time = units::clock(ending.seconds);
            if history.search.is_one {
                return format!("{why} in {time}. {}", history.search.sentence());
            }
            match history.before_and_after() {
                Some((before, after)) => {
                    format!(
                        "{why} in {time}. On held-out rows: {} before, {} after.",
                        units::loss(before),
                        units::loss(after)
                    )
                }
                None => format!("{why} in {time}."),
            }
        }
        _ => String::new(),
    }
}

/// For screen readers: where the run is, now and then.
#[component]
fn Told() -> impl IntoView {
    let run = use_run();
    let told = RwSignal::new(String::new());
    set_interval(
        move || {
            let news = run.history.with_untracked(|h| match run.activity.get_untracked() {
                Activity::Training => {
                    let loss = h.latest.as_ref().map(|l| format!(", loss {}", units::loss(l.loss))).unwrap_or_default();
                    format!("Step {} of {}{loss}", h.step, h.steps)
                }
                activity => outcome(activity, h, run.tuned.with_untracked(Option::is_some)),
            });
            if told.with_untracked(|t| *t != news) {
                told.set(news);
            }
        },
        TOLD_EVERY,
    );
    view! { <p class="hidden-text" role="status" aria-live="polite">{told}</p> }
}

/// The tab says how far the run is, for it goes on while another tab is looked at.
fn follow_title(step: Memo<(usize, usize)>) {
    let run = use_run();
    Effect::new(move |_| {
        let (step, steps) = step.get();
        browser::document().set_title(&match run.activity.get() {
            Activity::Starting { .. } | Activity::Training => format!("{step}/{steps} · Stratune"),
            Activity::Paused => format!("paused {step}/{steps} · Stratune"),
            Activity::Done => "done · Stratune".to_string(),
            Activity::Idle => "Stratune: fine-tune a language model in this tab".to_string(),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::settings::Event;

    #[test]
    fn the_outcome_in_words() {
        let mut history = History::default();
        assert_eq!(outcome(Activity::Idle, &history, false), "");
        assert!(outcome(Activity::Done, &history, true).contains("is kept"));
        assert!(outcome(Activity::Done, &history, false).contains("before anything was learned"));
        for (step, loss) in [(0, 2.0), (50, 1.0)] {
            history.apply(&Event::Validation { step, loss, perplexity: loss.exp(), best: true, labels: None });
        }
        history.apply(&Event::Ended { reason: EndReason::Steps, step: 50, best: Some((50, 1.0)), seconds: 61.0 });
        assert_eq!(
            outcome(Activity::Done, &history, true),
            "Finished in 1:01. On held-out rows: 2.000 before, 1.000 after."
        );
        assert!(outcome(Activity::Paused, &history, false).starts_with("Paused"));
    }
}
