//! The whole page: where its parts stand, and the address that follows its settings.

use std::time::Duration;

use leptos::prelude::*;

use super::data::DataCard;
use super::header::Header;
use super::loss::Loss;
use super::method::MethodCard;
use super::model::ModelCard;
use super::notices::NoticeArea;
use super::run::RunCard;
use super::samples::Samples;
use super::status::Status;
use super::strata::StrataPanel;
use super::take_it::TakeIt;
use super::try_it::TryIt;
use crate::bridge::browser;
use crate::state::{Run, recipe};

/// How long the settings must rest before the data is read again with them.
const REST: Duration = Duration::from_millis(500);

/// The whole page.
#[component]
pub fn Page() -> impl IntoView {
    let run = Run::open();
    provide_context(run);
    follow_settings(run);
    run.start();
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
                    <StrataPanel />
                </div>
                <TryIt />
                <TakeIt />
                <Samples />
            </div>
        </main>
        <Status />
    }
}

/// The address mirrors the settings; the data is read again when its settings have come to rest.
fn follow_settings(run: Run) {
    Effect::new(move |_| browser::set_hash(&run.config.with(recipe::to_hash)));
    let of_data = Memo::new(move |_| run.config.with(|c| (c.data.clone(), c.train.seed)));
    let mut refresh = debounce(REST, move |()| run.refresh_data());
    Effect::new(move |_| {
        // Read, not merely tracked: a memo that nobody reads never learns what it depends on.
        of_data.with(|_| ());
        refresh(());
    });
}
