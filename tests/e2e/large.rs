//! What a large model costs the page in memory while it is quantized and goes to the device.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::browser::Browser;
use crate::page::Page;
use crate::server::Site;

/// MiB that the page and its workers may hold, beside the device's memory.
const MAX: u64 = 300;

/// A measurement: a model of gigabytes is read into 4 bits and trains, and what the page holds meanwhile is told. Needs
/// `STRATUNE_LARGE_MODEL`, a folder in Hugging Face form, and Linux, whose `/proc` tells the memory of each process.
#[tokio::test]
#[ignore = "a measurement: cargo xtask bench page"]
async fn the_page_beside_a_large_model() {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    let [dist, model] = ["STRATUNE_DIST", "STRATUNE_LARGE_MODEL"].map(|name| named(name).expect(name));
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    page.open(&format!("{}/?device=wgpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    let before = held_by_pages(browser.process());
    let watch = Watch::begin(browser.process());

    // The card of the data is open.
    page.open_advanced("body-data").await;
    page.write("max-length", "32").await;
    page.click("change-model").await;
    page.pick("base-dtype", "int4").await;
    page.choose_file("model-files", &model).await;
    let name = model.file_name().unwrap().to_string_lossy().into_owned();
    page.until("the model is read", 600, |seen| seen.can_train && seen.model.contains(&name)).await;
    let mebibytes = |bytes: u64| bytes >> 20;
    let device = held_by_device(browser.process());
    assert!(before > 0 && device > 0, "the browser's processes were not found");
    println!(
        "{name}: the page held {} MiB before and at most {} while the model was read; the browser's GPU process {} MiB",
        mebibytes(before),
        mebibytes(watch.peak()),
        mebibytes(device)
    );

    page.click("change-run").await;
    page.write("steps", "1").await;
    page.write("batch-size", "1").await;
    page.click("train").await;
    page.until("it has trained", 3600, |seen| seen.state == "done").await;
    let peak = mebibytes(watch.peak());
    println!("at most {peak} MiB after a step");
    assert!(peak <= MAX, "the page held {peak} MiB, and should hold {MAX}");
}

/// Steps of the measurement on the CPU.
const STEPS: usize = 12;

/// A measurement: a GGUF file is read and trained on its own bits, on the CPU of the page. Needs `STRATUNE_LARGE_MODEL`, the
/// file, and Linux.
#[tokio::test]
#[ignore = "a measurement: cargo xtask bench page"]
async fn the_page_on_the_cpu_with_a_gguf_file() {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    let [dist, model] = ["STRATUNE_DIST", "STRATUNE_LARGE_MODEL"].map(|name| named(name).expect(name));
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    let watch = Watch::begin(browser.process());
    page.click("change-model").await;
    let name = model.file_stem().expect("a file").to_string_lossy().into_owned();
    let clock = Instant::now();
    page.choose_file("model-gguf", &model).await;
    page.until("the model is read", 600, |seen| seen.can_train && seen.model.contains(&name)).await;
    let mebibytes = |bytes: u64| bytes >> 20;
    println!(
        "{name}: read, with the example's rows, after {:.1} s; the page held at most {} MiB",
        clock.elapsed().as_secs_f64(),
        mebibytes(watch.peak())
    );

    page.click("change-run").await;
    page.write("steps", &STEPS.to_string()).await;
    page.until("Train can be pressed", 30, |seen| seen.can_train).await;
    page.click("train").await;
    let mut speeds = BTreeMap::new();
    let end = page
        .until("it has trained", 3600, |seen| {
            speeds.insert(seen.step, seen.speed.clone());
            seen.state == "done"
        })
        .await;
    assert!(end.step == STEPS && end.loss.is_some(), "{end:?}");
    println!("tokens a second by steps done: {speeds:?}; the page held at most {} MiB", mebibytes(watch.peak()));
    browser.quit().await;
}

/// The most that pages hold while it lives.
struct Watch {
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn begin(browser: u32) -> Self {
        let watch = Self { peak: Arc::default(), over: Arc::default() };
        let (peak, over) = (watch.peak.clone(), watch.over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(held_by_pages(browser), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        watch
    }

    fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Bytes that the pages of a browser, with their workers, hold in memory of their own. What they share with the GPU process,
/// through which numbers go to the device, is not among them.
fn held_by_pages(browser: u32) -> u64 {
    held_by(browser, "--type=renderer")
}

/// Bytes that its GPU process holds: with a software adapter, the device's memory.
fn held_by_device(browser: u32) -> u64 {
    held_by(browser, "--type=gpu-process")
}

/// Of the processes below this one that were started so.
fn held_by(ancestor: u32, kind: &str) -> u64 {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = numbers.filter(|process| started_with(*process, kind) && below(*process, ancestor));
    ours.map(|process| field(process, "RssAnon:")).sum()
}

fn started_with(process: u32, kind: &str) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0 || *byte == b' ').any(|word| word == kind.as_bytes())
}

fn below(process: u32, ancestor: u32) -> bool {
    let parents = std::iter::successors(Some(process), |process| parent(*process)).take(16);
    parents.into_iter().any(|process| process == ancestor)
}

fn parent(process: u32) -> Option<u32> {
    status(process, "PPid:")?.parse().ok().filter(|parent| *parent > 1)
}

/// A number of kibibytes, in bytes.
fn field(process: u32, name: &str) -> u64 {
    let number = status(process, name).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

fn status(process: u32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_string())
}
