//! The whole page: where its parts stand, and the address that follows its settings.

use std::time::Duration;

use leptos::prelude::*;

use super::confusion::ConfusionPanel;
use super::data::DataCard;
use super::header::Header;
use super::loss::Loss;
use super::method::MethodCard;
use super::model::ModelCard;
use super::notices::NoticeArea;
use super::run::RunCard;
use super::samples::Samples;
use super::search::SearchPanel;
use super::status::Status;
use super::strata::StrataPanel;
use super::take_it::TakeIt;
use super::try_it::TryIt;
use crate::state::Run;
use crate::state::inputs::of_data;

/// How long the settings must rest before the data is read again with them.
const REST: Duration = Duration::from_millis(500);

/// How long they must rest before the engine is asked what they come to: the letters of a word are one change.
const PAUSE: Duration = Duration::from_millis(40);

/// The whole page.
#[component]
pub fn Page() -> impl IntoView {
    let run = Run::open();
    provide_context(run);
    follow_settings(run);
    run.start();
    // What the run is, or the next one would be.
    let searches = Memo::new(move |_| match run.history.with(|h| h.config.is_some()) && !untrack(|| run.searches()) {
        true => run.history.with(|h| h.search.is_one),
        false => run.searches() || run.history.with(|h| h.search.is_one),
    });
    let state = move || run.activity.get().word(run.is_loaded());
    view! {
        <Header />
        <main data-state=state>
            <NoticeArea />
            <div class="columns">
                <div class="cards">
                    <ModelCard />
                    <DataCard />
                    <MethodCard />
                    <RunCard />
                </div>
                <div class="charts">
                    <Loss />
                    <div class="in-place" hidden=move || searches.get()><StrataPanel /></div>
                    <div class="in-place" hidden=move || !searches.get()><SearchPanel /></div>
                </div>
                <TryIt />
                <TakeIt />
                <Samples />
                <ConfusionPanel />
            </div>
        </main>
        <Status />
    }
}

/// The engine says what the settings come to, and what their address is; the data is read again when its settings have
/// come to rest.
fn follow_settings(run: Run) {
    let mut ask = debounce(PAUSE, move |()| run.ask_for_plan());
    Effect::new(move |_| {
        run.config.track();
        run.adapter.track();
        run.model.track();
        run.data.track();
        ask(());
    });
    let data = Memo::new(move |_| run.config.with(of_data));
    let mut refresh = debounce(REST, move |()| run.refresh_data());
    Effect::new(move |_| {
        // Read, not merely tracked: a memo that nobody reads never learns what it depends on.
        data.with(|_| ());
        refresh(());
    });
}
