//! The page as a stranger uses it: data in, a run, a reload in the middle, an adapter out.
//!
//! Needs the built page (`STRATUNE_DIST`, an absolute path) and chromedriver (`CHROMEDRIVER`, or on the PATH);
//! `cargo xtask test --only e2e` sees to both. With `STRATUNE_SCREENSHOTS` set, pictures go into that folder.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used)]

mod adapter;
mod browser;
mod gguf;
mod hub;
mod labels;
mod large;
#[allow(dead_code)]
#[path = "../src/loopback_hub.rs"]
mod loopback_hub;
mod native;
mod packed;
mod page;
mod pictures;
mod policy;
mod requests;
mod search;
mod server;
mod tabs;

use std::io::Write;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::FutureExt;
use stratune_protocol::BaseDtype;
use stratune_tests::skipped;

use browser::Browser;
use page::{Page, Seen};
use server::Site;

/// Steps of the run: long enough for a reload in the middle.
const STEPS: usize = 60;

/// The page is reloaded after this many.
const RELOAD_AFTER: usize = 20;

/// The example's rows under another name, so that the run learns from a file that a person chose.
const ROWS: &str = include_str!("../../crates/session/assets/example/train.jsonl");
const FILE: &str = "who-where-when.jsonl";

#[tokio::test]
async fn a_stranger_trains_reloads_and_takes_the_adapter() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        return skipped("STRATUNE_DIST is not set");
    };
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    let told = AssertUnwindSafe(story(&page, &site, browser.folder())).catch_unwind().await;
    let errors = browser.console_errors().await;
    if let Err(panic) = told {
        let seen = page.see().await;
        let _ = writeln!(std::io::stderr(), "the page when the story broke off: {seen:#?}\nits console: {errors:#?}");
        resume_unwind(panic);
    }
    let requests = browser.quit().await;
    assert!(errors.is_empty(), "the console has errors: {errors:#?}");
    let own = requests::of_page(&requests, &site.origin);
    assert!(own.iter().any(|url| url.ends_with(".wasm")), "the record of requests is incomplete: {own:#?}");
    assert!(!own.iter().any(|url| url.ends_with(packed::MODULE)), "what unpacks was loaded for a plain file");
    let strange: Vec<_> = own.iter().filter(|url| !requests::stays_at(url, &site.origin)).collect();
    assert!(strange.is_empty(), "requests left the page's origin: {strange:#?}");
}

async fn story(page: &Page, site: &Site, folder: &Path) {
    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    pictures::take(page, "ready").await;
    let file = folder.join(FILE);
    std::fs::write(&file, ROWS).unwrap();
    page.choose_file("data-file", &file).await;
    page.until("the file is read", 60, |seen| seen.state == "ready" && seen.data.contains(FILE)).await;
    for card in ["model", "data", "method", "run"] {
        page.click(&format!("change-{card}")).await;
        page.fits(380, &format!("the {card} card")).await;
        page.click(&format!("change-{card}")).await;
    }

    // The model was read in floats: the run has it read again.
    page.click("change-model").await;
    page.pick("base-dtype", "int8").await;
    pictures::take(page, "model").await;

    page.click("change-method").await;
    // Each method says how much it trains, and has the settings that are its own.
    for (method, trains, field) in
        [("prefix", "5,120", "length"), ("pafi", "10,456", "share"), ("lora", "176,128", "rank")]
    {
        page.pick("method", method).await;
        page.until_text("adapter-size", trains).await;
        page.text(field).await;
        pictures::take(page, method).await;
    }
    page.open_advanced("body-method").await;
    page.write("ist-interval", "5").await;
    page.click("change-run").await;
    page.write("steps", &STEPS.to_string()).await;
    page.open_advanced("body-run").await;
    page.write("checkpoint-every", "10").await;
    page.until("Train can be pressed", 30, |seen| seen.can_train).await;
    page.click("train").await;
    let pressed = Instant::now();
    let mut losses = steps_until(page, "the first step is done", |seen| seen.step > 0).await;
    println!("the first step was seen {:.1} s after Train was pressed", pressed.elapsed().as_secs_f64());
    losses.extend(steps_until(page, "the run gets going", |seen| seen.step >= RELOAD_AFTER && seen.columns > 0).await);
    let mean = |part: &[(usize, f64)]| part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len() as f64;
    assert!(losses.len() >= 6, "too few steps were seen to compare: {losses:?}");
    let (first, last) = (mean(&losses[..3]), mean(&losses[losses.len() - 3..]));
    assert!(last < first, "the loss went from {first} to {last}: {losses:?}");

    page.click("pause").await;
    page.until("the run pauses", 60, |seen| seen.state == "paused").await;
    pictures::take(page, "training").await;
    page.fits(380, "a run").await;
    page.click("pause").await;
    page.until("the run goes on", 60, |seen| seen.state == "training").await;

    page.reload().await;
    let found = page.until("the interrupted run is offered", 300, |seen| !seen.found.is_empty()).await.found;
    let saved = first_number_after(&found, "at step").unwrap_or_else(|| panic!("no step in '{found}'"));
    assert!((10..STEPS).contains(&saved), "a checkpoint of step {saved} is offered");
    page.click("continue").await;
    let again = steps_until(page, "the run goes on after the reload", |seen| seen.step > saved).await;
    // The steps before the checkpoint are shown again for the charts, in a moment. A run that began anew would take its
    // time over each of them.
    let repeated = again.iter().filter(|(step, _)| *step < saved).count();
    assert!(repeated <= saved / 2, "the run began anew and did not go on from step {saved}: {again:?}");
    let end = page.until("the run is done", 1800, |seen| seen.state == "done").await;
    assert_eq!(end.step, STEPS);
    assert!(end.columns > 0, "the strata of the run are not shown");
    assert!(end.table_rows > 1, "the strata have no table for screen readers");

    // The same configuration from the command line's parts comes to the same loss: the page's was interrupted, too.
    let shown: f64 = page.text("validation").await.parse().expect("a loss");
    let native = native::validation_loss(ROWS, STEPS, 5, BaseDtype::Int8).await;
    println!("held-out loss {shown} in the page, {native:.4} natively");
    assert!((shown - native).abs() <= 0.02 * native, "held-out loss {shown} in the page, {native} natively");

    page.write("prompt", "The farmer waited by the fire until supper, and nobody came.").await;
    page.click("generate").await;
    let written = |seen: &Seen| !seen.base.is_empty() && !seen.tuned.is_empty() && !seen.writing;
    let answers = page.until("both models have answered", 300, written).await;
    assert_ne!(answers.base, answers.tuned, "training changed nothing about the answer");
    page.write("prompt", "And then?").await;
    page.click("generate").await;
    let next = |seen: &Seen| written(seen) && seen.base != answers.base;
    page.until("both models have answered again", 300, next).await;
    let talk = page.text("talk").await;
    assert!(
        [&answers.base, &answers.tuned].into_iter().all(|said| talk.contains(said)),
        "what was said is gone: {talk}"
    );
    page.click("clear").await;
    page.until("the conversation is over", 30, |seen| seen.base.is_empty() && !seen.writing).await;
    // An answer that would be long ends when it is told to, and the tuned model is not asked then.
    page.open_advanced("try-it").await;
    page.write("max-tokens", "4000").await;
    page.write("temperature", "2").await;
    page.write("prompt", "The widow").await;
    page.click("generate").await;
    page.until("an answer is being written", 60, |seen| !seen.base.is_empty() && seen.writing).await;
    page.click("stop-answer").await;
    page.until("the answer has ended", 60, |seen| !seen.writing).await;
    pictures::take(page, "done").await;
    page.fits(380, "a run that is done").await;

    page.click("download-adapter").await;
    let zip = adapter::downloaded(folder, "adapter.zip").await;
    adapter::check(&zip).await;
    // The model itself, on its way through the browser's storage.
    page.pick("export-form", "GgufQ8").await;
    page.click("download-adapter").await;
    adapter::check_model(&adapter::downloaded(folder, "model-q8_0.zip").await).await;
    page.pick("export-form", "GgufAdapter").await;
    page.click("download-adapter").await;
    let gguf = adapter::downloaded(folder, "adapter-gguf.zip").await;
    let (_, alone) = adapter::unzipped(&gguf).into_iter().find(|(name, _)| name == "adapter.gguf").expect("an adapter");
    // What was taken away can be brought back, beside the base.
    for (name, bytes) in [("taken.zip", &zip[..]), ("taken-gguf.zip", &gguf), ("taken.gguf", &alone)] {
        let again = folder.join(name);
        std::fs::write(&again, bytes).unwrap();
        page.choose_file("adapter-file", &again).await;
        let began = Instant::now();
        while !page.text("beside").await.contains(name) {
            assert!(began.elapsed().as_secs() < 60, "{name} is not loaded: {}", page.see().await.problem);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    // The browser's storage takes no more: that is said, with what to do about it, and the run goes on without being saved.
    page.limit_storage(&site.origin, Some(1000)).await;
    page.click("change-run").await;
    page.write("steps", "3").await;
    page.until("Train can be pressed again", 30, |seen| seen.can_train).await;
    page.click("train").await;
    let told = page.until("the unsaved run is done", 300, |seen| seen.state == "done" && seen.step == 3).await.told;
    assert!(told.contains("without being saved") && told.contains("storage quota"), "{told}");
    page.limit_storage(&site.origin, None).await;
}

/// Watches the run until `done`, and gives each step that was seen with its loss.
async fn steps_until(page: &Page, what: &str, done: impl Fn(&Seen) -> bool) -> Vec<(usize, f64)> {
    let mut steps: Vec<(usize, f64)> = Vec::new();
    let look = |seen: &Seen| {
        let known = steps.last().is_some_and(|(step, _)| *step == seen.step);
        if let (false, "training" | "done", Some(loss)) = (known, seen.state.as_str(), seen.loss) {
            steps.push((seen.step, loss));
        }
        done(seen)
    };
    page.until(what, 1800, look).await;
    steps
}

fn first_number_after(text: &str, words: &str) -> Option<usize> {
    let (_, rest) = text.split_once(words)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[test]
fn numbers_are_found_in_sentences() {
    assert_eq!(first_number_after("was interrupted at step 20 of 60, just now", "at step"), Some(20));
    assert_eq!(first_number_after("was interrupted", "at step"), None);
}
