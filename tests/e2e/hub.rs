//! A model and rows by their ids in the page, from a hub on the machine itself: looked up, fetched over a connection that breaks, checked,
//! kept, trained on, removed; and nothing is asked before a person asks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stratune_tests::skipped;

use crate::browser::Browser;
use crate::loopback_hub::{Fault, LoopbackHub, Repository, TOKEN};
use crate::page::Page;
use crate::requests;
use crate::server::Site;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const ALERT: &str = "#notices [role=alert]";

/// The starter as two repositories, of which one is gated, and the example's rows as a dataset.
fn hub() -> LoopbackHub {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/session/assets/starter");
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    let files = names.map(|name| std::fs::read(assets.join(name)).unwrap());
    let files: Vec<_> =
        names.iter().zip(&files).map(|(name, bytes)| (*name, bytes.as_slice(), name.ends_with("tensors"))).collect();
    let gated = Repository { gated: true, ..Repository::new("toy/gated", COMMIT, &files) };
    let rows = Repository::dataset("toy/rows", COMMIT, &[("train.jsonl", crate::ROWS.as_bytes(), true)]);
    LoopbackHub::start(vec![Repository::new("toy/starter", COMMIT, &files), gated, rows])
}

async fn look_up(page: &Page, name: &str) {
    page.write("hub-name", name).await;
    page.click("hub-look").await;
    page.until_so("#hub-report strong", "it was looked up", |text| text.starts_with(name)).await;
}

/// Opens the part of the model's card that is about the hub.
async fn open_hub(page: &Page) {
    page.click("change-model").await;
    page.press("#hub-part > summary").await;
}

#[tokio::test]
async fn a_model_is_fetched_kept_and_trained_in_the_page() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        return skipped("STRATUNE_DIST is not set");
    };
    let server = hub();
    let site = Site::serve_with_hub(&dist, server.base(), server.large_files());
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    open_hub(&page).await;
    page.fits(380, "the hub").await;
    assert!(server.take_log().is_empty(), "nobody has asked for anything");

    // What it is, before a byte of its weights.
    look_up(&page, "toy/starter").await;
    assert_eq!(page.text("hub-licence").await, "apache-2.0");
    assert!(page.text("hub-fits").await.contains("fits"), "{}", page.text("hub-fits").await);
    let log = server.take_log();
    assert!(log.iter().all(|asked| asked.hub && asked.target.starts_with("/api/models/")), "{log:?}");

    // Silence in the middle, and a person who has had enough of it.
    server.fault("/xet-bridge/", Fault::Silence(Duration::from_secs(20)));
    page.click("hub-fetch").await;
    page.until_so("#hub-progress", "it comes", |text| text.contains("fetching model.safetensors")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    page.click("hub-cancel").await;
    page.until_so("#hub-kept", "half of it is kept", |text| text.contains(" of ") && text.contains("go on")).await;

    // It goes on where it was, over a connection that breaks.
    server.forget();
    server.fault("/xet-bridge/", Fault::CutBody(100_000));
    page.click("hub-fetch").await;
    page.until("the model is read", 300, |seen| seen.can_train && seen.model.contains("toy/starter@")).await;
    let log = server.take_log();
    let resumed = log.iter().filter(|asked| !asked.hub && asked.range.is_some()).count();
    assert_eq!(resumed, 2, "what was there is not fetched again: {log:?}");
    assert!(log.iter().all(|asked| asked.authorization.is_none()), "{log:?}");

    page.click("change-run").await;
    page.write("steps", "2").await;
    page.until("Train can be pressed", 30, |seen| seen.can_train).await;
    page.click("train").await;
    page.until("the run is done", 300, |seen| seen.state == "done").await;

    // Rows come the same way.
    page.click("change-data").await;
    page.press("#rows-part > summary").await;
    page.write("rows-name", "https://huggingface.co/datasets/toy/rows").await;
    page.click("rows-look").await;
    page.until_so("#rows-report strong", "the rows were looked up", |text| text.contains(":default/train")).await;
    page.click("rows-fetch").await;
    page.until("the rows are read", 60, |seen| {
        seen.can_train && seen.data.contains("toy-rows-default-train-train.jsonl")
    })
    .await;
    server.take_log();

    // After a reload it is here without anyone being asked.
    page.reload().await;
    page.until("the page is ready again", 300, |seen| seen.state == "ready").await;
    open_hub(&page).await;
    page.until_so("#hub-kept", "it is kept", |text| text.contains("toy/starter@01234567") && text.contains("use"))
        .await;
    page.press("#hub-kept button").await;
    page.until("it is read again", 300, |seen| seen.can_train && seen.model.contains("toy/starter@")).await;
    assert!(server.take_log().is_empty(), "what is kept is not asked for");
    page.press("#hub-kept button:last-child").await;
    page.until_so("#hub-kept", "it is gone", str::is_empty).await;

    // Bytes that are not the file's are not kept.
    look_up(&page, "toy/starter").await;
    server.fault_always("/xet-bridge/", Fault::Flip(7));
    page.click("hub-fetch").await;
    page.until_so(ALERT, "wrong bytes are told", |text| text.contains("came twice with other bytes")).await;
    server.forget();

    // A model that is gated, without a token and with one.
    look_up(&page, "toy/gated").await;
    assert!(page.text("hub-gated").await.contains("toy/gated"));
    page.click("hub-fetch").await;
    page.until_so(ALERT, "it is told", |text| text.contains("is gated: whoever takes it")).await;
    page.write("hub-token", TOKEN).await;
    look_up(&page, "toy/gated").await;
    server.take_log();
    page.click("hub-fetch").await;
    page.until("the gated model is read", 300, |seen| seen.can_train && seen.model.contains("toy/gated@")).await;
    let log = server.take_log();
    assert!(log.iter().any(|asked| !asked.hub), "{log:?}");
    assert!(log.iter().all(|asked| asked.hub == asked.authorization.is_some()), "the token is the hub's: {log:?}");
    let remembered = "return localStorage.getItem('hub-token');";
    assert_eq!(page.ask::<Option<String>>(remembered).await, None, "a token is kept if that is wanted");
    page.click("hub-remember").await;
    assert_eq!(page.ask::<Option<String>>(remembered).await.as_deref(), Some(TOKEN));

    let requests = browser.quit().await;
    let own = requests::of_page(&requests, &site.origin);
    let known = |url: &&String| {
        [site.origin.as_str(), server.base(), server.large_files()].iter().any(|origin| requests::stays_at(url, origin))
    };
    let strange: Vec<_> = own.iter().filter(|url| !known(url)).collect();
    assert!(strange.is_empty(), "requests went elsewhere: {strange:#?}");
}

/// The page as it is built knows the hub's hosts and no other, and what a page for tests has instead is no weaker.
#[test]
fn the_policy_names_the_hub_and_nothing_else() {
    let index = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../index.html")).unwrap();
    let policy = index.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    let connect = policy.split(';').find_map(|part| part.trim().strip_prefix("connect-src ")).unwrap();
    let hosts: Vec<&str> = connect.split(' ').collect();
    let expected = [
        "'self'",
        "https://huggingface.co",
        "https://*.hf.co",
        "https://cdn-lfs.huggingface.co",
        "https://cdn-lfs-us-1.huggingface.co",
    ];
    assert_eq!(hosts, expected);
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
}
