//! A search under a budget in the page: asked for, watched to its end with a reload in the middle, and what it found trained
//! and taken away.

use std::path::PathBuf;

use serde_json::Value;
use stratune_tests::skipped;

use crate::adapter;
use crate::browser::Browser;
use crate::page::Page;
use crate::pictures;
use crate::server::Site;

/// What the structure may have.
const BUDGET: &str = "3000";

/// Eight blocks of LoRA and biases at seven layers, and norms.
const MODULES: usize = 8 * 15;

#[tokio::test]
async fn a_structure_is_found_under_a_budget_and_trained() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        return skipped("STRATUNE_DIST is not set");
    };
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;

    page.click("change-method").await;
    page.click("by-search").await;
    page.until_so("#card-method .summary", "the search is planned", |text| text.contains("Search by BIPEFT: at most"))
        .await;
    page.until("the budget that is offered is one", 30, |seen| seen.can_train).await;
    page.write("search-budget", "1B").await;
    page.until_so("#search-budget-hint", "a budget of nothing is refused", |text| text.contains("such as 80KB")).await;
    page.write("search-budget", "12KB").await;
    page.until_so("#search-budget-hint", "bytes are numbers", |text| text.starts_with("3,000 numbers, 12.0 kB")).await;
    page.write("search-budget", BUDGET).await;
    page.press("#space-1").await;
    page.until_so("#card-method .summary", "another space has fewer modules", |text| text.contains("in 56 modules"))
        .await;
    page.press("#space-0").await;
    page.write("search-budget", BUDGET).await;
    page.pick("search-by", "bipeft").await;
    page.open_advanced("body-method").await;
    page.write("search-prunings", "3").await;
    pictures::take(&page, "search-card").await;
    page.fits(380, "the card of a search").await;
    page.until_so("#train", "the button says what it does", |text| text == "Search").await;
    let address: String = page.ask("return location.hash;").await;
    assert!(address.contains("search.budget=3000") && address.contains("search.by=bipeft"), "{address}");

    page.click("change-run").await;
    page.write("steps", "16").await;
    page.open_advanced("body-run").await;
    page.write("checkpoint-every", "2").await;
    page.until("Search can be pressed", 30, |seen| seen.can_train).await;
    page.click("train").await;
    page.until("the search is under way", 300, |seen| seen.step >= 3).await;
    // Paused, it can be looked at.
    page.click("pause").await;
    page.until("the search pauses", 60, |seen| seen.state == "paused").await;
    assert_eq!(cells(&page).await, MODULES);
    page.press("#module-9").await;
    page.until_so("#module-words", "a module tells how it stands", |text| text.contains("probability")).await;
    pictures::take(&page, "search-running").await;
    page.fits(380, "a search").await;

    page.reload().await;
    page.until("the interrupted search is offered", 300, |seen| seen.found.contains("at step")).await;
    page.click("continue").await;
    page.until("the search goes on", 300, |seen| seen.state == "training" || seen.state == "done").await;
    page.until("the search is done", 900, |seen| seen.state == "done").await;
    assert_eq!(cells(&page).await, MODULES, "what was told before the reload is shown");
    let said = page.until_so("#search-sentence", "something is found", |text| text.starts_with("Found")).await;
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "of").unwrap();
    let (found, numbers) = (words[at - 1], words[words.iter().rposition(|word| *word == "of").unwrap() - 1]);
    assert!(numbers.replace(',', "").parse::<u64>().unwrap() <= 3000, "{said}");
    let squares: usize = page.ask("return [...document.querySelectorAll('#modules button span')].filter(e => e.style.width !== '25%').length;").await;
    assert_eq!(squares.to_string(), found, "{said}");
    pictures::take(&page, "search-done").await;

    page.click("found-structure").await;
    let file: Value = serde_json::from_slice(&adapter::downloaded(browser.folder(), "structure.json").await).unwrap();
    assert_eq!(file["sites"].as_array().map(Vec::len).unwrap_or(0).to_string(), found);

    page.click("train-structure").await;
    page.until_so("#card-method .summary", "it is the method", |text| {
        text.starts_with(&format!("a structure of {found} module"))
    })
    .await;
    page.until_so("#adapter-size", "its size is told", |text| text.starts_with(numbers)).await;
    pictures::take(&page, "structure").await;
    let address: String = page.ask("return location.hash;").await;
    assert!(!address.contains("method") && !address.contains("search"), "a structure is a file, not a link: {address}");
    page.click("change-run").await;
    page.write("steps", "4").await;
    page.until("Train can be pressed", 30, |seen| seen.can_train).await;
    page.click("train").await;
    page.until("the structure is trained", 600, |seen| seen.state == "done" && seen.step == 4).await;
    page.click("download-config").await;
    let config = adapter::downloaded(browser.folder(), "run.toml").await;
    let config = stratune_train::RunConfig::from_toml(std::str::from_utf8(&config).unwrap()).unwrap();
    assert!(config.search.is_none() && !config.method.is_empty());
    page.click("download-adapter").await;
    adapter::downloaded(browser.folder(), "adapter.zip").await;

    // A structure's file in the place of a method, and a method again.
    page.click("change-method").await;
    page.click("by-method").await;
    // The page has forgotten with the reload what was chosen before the search.
    page.until_so("#card-method .summary", "a method again", |text| text.starts_with("LoRA r8")).await;
    let path = browser.folder().join("structure.json");
    page.choose_file("structure-file", &path).await;
    page.until_so("#card-method .summary", "the file is the method", |text| text.starts_with("a structure of")).await;
    let errors = browser.console_errors().await;
    assert!(errors.is_empty(), "the console has errors: {errors:#?}");
    browser.quit().await;
}

/// Modules in the picture.
async fn cells(page: &Page) -> usize {
    page.ask("return document.querySelectorAll('#modules button').length;").await
}
