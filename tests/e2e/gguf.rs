//! A GGUF file is a model in the page: chosen, trained on its own bits, and an adapter taken away.

use std::path::{Path, PathBuf};

use stratune_tests::skipped;

use crate::adapter;
use crate::browser::Browser;
use crate::page::Page;
use crate::server::Site;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/gguf/tiny-qwen3-quantized.gguf");
const STEPS: usize = 3;

#[tokio::test]
async fn a_gguf_file_trains_in_the_page() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        return skipped("STRATUNE_DIST is not set");
    };
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    page.click("change-model").await;
    page.choose_file("model-gguf", Path::new(FILE)).await;
    page.until("the file is read", 120, |seen| seen.can_train && seen.model.contains("tiny-qwen3-quantized")).await;
    page.click("change-run").await;
    page.write("steps", &STEPS.to_string()).await;
    page.until("Train can be pressed", 30, |seen| seen.can_train).await;
    page.click("train").await;
    let end = page.until("the run is done", 300, |seen| seen.state == "done").await;
    assert_eq!(end.step, STEPS);
    page.click("download-adapter").await;
    adapter::check(&adapter::downloaded(browser.folder(), "adapter.zip").await).await;
    browser.quit().await;
}
