//! Two tabs of the page: they share the browser's storage.

use std::io::Write;
use std::path::PathBuf;

use crate::browser::Browser;
use crate::page::Page;
use crate::server::Site;

#[tokio::test]
async fn two_tabs_leave_each_other_their_runs() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        let _ = writeln!(std::io::stderr(), "two tabs: skipped, because STRATUNE_DIST is not set");
        return;
    };
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let driver = browser.driver();
    let page = Page::new(driver.clone());
    let address = format!("{}/?device=cpu#train.steps=500&train.checkpoint_every=2", site.origin);
    page.open(&address).await;
    page.until("the first tab is ready", 300, |seen| seen.state == "ready" && seen.can_train).await;
    page.click("train").await;
    page.until("its run is saved", 300, |seen| seen.state == "training" && seen.step >= 4).await;
    page.click("pause").await;
    page.until("its run pauses", 60, |seen| seen.state == "paused").await;

    let first = driver.window().await.unwrap();
    let second = driver.new_tab().await.unwrap();
    driver.switch_to_window(second).await.unwrap();
    page.open(&address).await;
    let ready = page.until("the second tab is ready", 300, |seen| seen.state == "ready" && seen.can_train).await;
    assert!(ready.found.is_empty(), "the run of the first tab is offered: {}", ready.found);
    page.click("train").await;
    let told = page.until("the second tab trains", 300, |seen| seen.step >= 1).await.told;
    assert!(told.contains("without being saved") && told.contains("another tab"), "{told}");
    page.click("stop").await;
    page.until("its run ends", 120, |seen| seen.state == "done").await;

    driver.switch_to_window(first).await.unwrap();
    page.reload().await;
    page.until("the first tab's run is there still", 300, |seen| seen.found.contains("at step")).await;
    browser.quit().await;
}
