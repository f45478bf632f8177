//! Messages, and the offer to go on with an interrupted run.

use crate::bridge::browser;
use crate::state::notices::{Notice, Offer};
use crate::state::settings::SavedRun;
use crate::state::use_run;
use crate::units;
use leptos::prelude::*;

/// Messages, newest last.
#[component]
pub fn NoticeArea() -> impl IntoView {
    let run = use_run();
    let list = move |alert| -> Vec<Notice> {
        run.notices.with(|n| n.list().iter().filter(|n| n.alert == alert).cloned().collect())
    };
    view! {
        <div id="notices">
            {move || run.found.get().map(|found| view! { <Found found /> })}
            // Both regions are there from the beginning, or a screen reader would miss what is put into them.
            <div role="status">
                <For each=move || list(false) key=|n| n.id let:notice>
                    <Message notice />
                </For>
            </div>
            <div role="alert">
                <For each=move || list(true) key=|n| n.id let:notice>
                    <Message notice />
                </For>
            </div>
        </div>
    }
}

#[component]
fn Message(notice: Notice) -> impl IntoView {
    let run = use_run();
    let Notice { id, what, at, next, alert, offer } = notice;
    let place = (!at.is_empty()).then(|| view! { <span class="at">{at}</span> });
    let next = (!next.is_empty()).then(|| view! { <span class="next">{sentence(&next)}</span> });
    let dismiss = move |_| run.notices.update(|n| n.dismiss(id));
    let offer = offer.map(|offer| {
        let accept = move |_| {
            run.notices.update(|n| n.dismiss(id));
            run.accept(offer);
        };
        let words = match offer {
            Offer::SoftwareGpu => "Use it anyway",
            Offer::Restart => "Restart the engine",
        };
        view! { <button type="button" on:click=accept>{words}</button> }
    });
    view! {
        <div class="notice" class:alert=alert>
            <p>
                <strong>{sentence(&what)}</strong>
                " "
                {place}
                " "
                {next}
            </p>
            {offer}
            <button type="button" class="quiet" aria-label="Dismiss this message" on:click=dismiss>"dismiss"</button>
        </div>
    }
}

/// The interrupted run that was found in the browser's storage.
#[component]
fn Found(found: SavedRun) -> impl IntoView {
    let run = use_run();
    let words = format!(
        "A run on {} was interrupted at step {} of {}, {}",
        found.model,
        units::grouped(found.step as u64),
        units::grouped(found.steps as u64),
        units::ago(browser::now() - found.written as f64),
    );
    view! {
        <div class="notice offer" id="found">
            <p>
                <strong>{sentence(&words)}</strong>
                " "
                <span class="next">"It can go on exactly where it was."</span>
            </p>
            <button type="button" class="main" id="continue" on:click=move |_| run.continue_found()>"Continue"</button>
            <button type="button" id="discard" on:click=move |_| run.discard_found()>"Discard"</button>
        </div>
    }
}

/// With a capital letter and a full stop, for messages come without.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let stop = if words.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_sentences() {
        for (words, text) in [("row 3 is empty", "Row 3 is empty."), ("Is it?", "Is it?"), ("", ".")] {
            assert_eq!(sentence(words), text);
        }
    }
}
