//! What the model wrote while it was trained.

use leptos::prelude::*;

use crate::state::use_run;
use crate::units;

/// Samples, newest first.
#[component]
pub fn Samples() -> impl IntoView {
    let run = use_run();
    let samples = Memo::new(move |_| run.history.with(|h| h.samples.clone()));
    view! {
        <section class="panel samples" aria-labelledby="title-samples" hidden=move || samples.with(Vec::is_empty)>
            <div class="panel-head">
                <h2 id="title-samples">"Samples"</h2>
                <p class="reading">"the same prompts, as the model learns"</p>
            </div>
            <ol id="samples">
                {move || {
                    let entry = |s: crate::state::history::Sampled| {
                        view! {
                            <li id=format!("sample-{}", s.step)>
                                <span class="figure">{format!("step {}", units::grouped(s.step as u64))}</span>
                                <p><span class="prompt">{s.prompt}</span>" "{s.text}</p>
                            </li>
                        }
                    };
                    samples.get().into_iter().rev().map(entry).collect_view()
                }}
            </ol>
        </section>
    }
}
