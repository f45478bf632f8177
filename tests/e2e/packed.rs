//! Compressed files and Parquet in the page, whole and damaged.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stratune_data::{contradicts_itself, unpack};
use stratune_protocol::{DataFormat, Problem};
use stratune_tests::skipped;

use crate::browser::Browser;
use crate::page::Page;
use crate::requests;
use crate::server::Site;

const ROWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/rows");

/// The module that unpacks.
pub const MODULE: &str = "unpack_bg.wasm";

#[tokio::test]
async fn packed_files_are_read_and_damaged_ones_end_nothing() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        return skipped("STRATUNE_DIST is not set");
    };
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    page.click("change-data").await;
    whole(&page, "rows.jsonl.gz").await;
    whole(&page, "snappy.parquet").await;

    let file = std::fs::read(format!("{ROWS}/snappy.parquet")).unwrap();
    let (cut, damaged) = (browser.folder().join("cut.parquet"), browser.folder().join("damaged.parquet"));
    std::fs::write(&cut, &file[..file.len() / 2]).unwrap();
    std::fs::write(&damaged, panicking(&file)).unwrap();
    for (path, name, what) in [
        (&cut, "cut.parquet", "cannot be read as Parquet".to_owned()),
        (&damaged, "damaged.parquet", contradicts_itself("").what),
    ] {
        page.choose_file("data-file", path).await;
        let told = problem(&page, name).await;
        // A notice begins with a capital.
        assert!(told.contains(&what[1..]), "{name}: {told}");
        assert!(!told.contains("engine stopped"), "{name}: {told}");
        // The engine is there still: without another start, it reads the next.
        whole(&page, "delta.parquet").await;
    }
    page.click("change-run").await;
    page.write("steps", "2").await;
    page.until("Train can be pressed", 30, |seen| seen.can_train).await;
    page.click("train").await;
    page.until("the run is done", 300, |seen| seen.state == "done" && seen.step == 2).await;
    let record = browser.quit().await;
    assert!(requests::of_page(&record, &site.origin).iter().any(|url| url.ends_with(MODULE)));
}

/// Chooses a file of the fixtures, and waits until the page has all of its rows.
async fn whole(page: &Page, name: &str) {
    page.choose_file("data-file", &Path::new(ROWS).join(name)).await;
    let summary = format!("{name}, 40 rows");
    page.until(&format!("{name} is read"), 60, |seen| seen.can_train && seen.data == summary).await;
}

/// Waits for a problem of this file.
async fn problem(page: &Page, name: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = page.see().await;
        if seen.problem.contains(name) {
            return seen.problem;
        }
        assert!(Instant::now() < deadline, "{name} is not refused: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A file with one bit changed, so that its decoder panics.
fn panicking(file: &[u8]) -> Vec<u8> {
    let changed = (0..8 * file.len()).map(|bit| {
        let mut changed = file.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    let panics =
        |bytes: &Vec<u8>| -> Result<(), Problem> { unpack("", bytes.into(), DataFormat::Auto, &mut Vec::new()) };
    let mut panicking = changed.filter(|bytes| panics(bytes) == Err(contradicts_itself("")));
    panicking.next().expect("a damage that no check finds")
}
