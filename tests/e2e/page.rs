//! The page: what is seen on it, and what a person does to it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use thirtyfour::{By, WebDriver, WebElement};

/// What is seen at one moment.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Seen {
    /// `loading`, `ready`, `training`, `paused` or `done`.
    pub state: String,
    /// Whether Train can be pressed.
    pub can_train: bool,
    /// Steps done.
    pub step: usize,
    /// Tokens a second, as they are written.
    pub speed: String,
    /// The latest loss.
    pub loss: Option<f64>,
    /// Columns of the strata.
    pub columns: usize,
    /// Rows of the strata's table.
    pub table_rows: usize,
    /// The one-line summary of the model.
    pub model: String,
    /// The one-line summary of the data.
    pub data: String,
    /// The offer of an interrupted run; empty if there is none.
    pub found: String,
    /// What is worth knowing; empty if nothing is.
    pub told: String,
    /// What has gone wrong; empty if nothing has.
    pub problem: String,
    /// The answer of the model as it came.
    pub base: String,
    /// The answer of the trained model.
    pub tuned: String,
    /// Whether an answer is being written.
    pub writing: bool,
}

/// Reads all of [`Seen`] at once, so that its parts belong together.
const SEE: &str = r##"
    const one = selector => document.querySelector(selector);
    const data = (selector, name) => one(selector)?.dataset[name] || null;
    const text = selector => (one(selector)?.innerText ?? "").trim();
    const loss = data("#loss", "value");
    return {
        state: data("main", "state") ?? "",
        can_train: one("#train")?.disabled === false,
        step: Number(data("#step", "step") ?? 0),
        speed: text("#speed"),
        loss: loss === null ? null : Number(loss),
        columns: Number(data("#strata", "columns") ?? 0),
        table_rows: document.querySelectorAll("#strata-table tr").length,
        model: text("#card-model .summary"),
        data: text("#card-data .summary"),
        found: one("#continue") ? text("#notices") : "",
        told: text("#notices [role=status]"),
        problem: text("#notices [role=alert]"),
        base: text("#answer-base"),
        tuned: text("#answer-tuned"),
        writing: one("[id^=answer-][aria-busy=true]") !== null,
    };
"##;

/// Names what is wider than the window.
const WIDE: &str = r#"
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const wide = [...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > width + 0.5);
    return [`the page is ${document.documentElement.scrollWidth} px wide`].concat(
        wide.slice(0, 5).map(e => `${e.tagName.toLowerCase()}#${e.id}.${e.getAttribute("class")}`));
"#;

/// The size of the window, unless another is asked for.
const WINDOW: (u32, u32) = (1280, 900);

/// The page in its browser.
pub struct Page {
    driver: WebDriver,
}

impl Page {
    /// The page of a session.
    pub fn new(driver: WebDriver) -> Self {
        Self { driver }
    }

    /// Goes to an address.
    pub async fn open(&self, address: &str) {
        self.resize(WINDOW.0, WINDOW.1).await;
        self.driver.goto(address).await.unwrap();
    }

    /// Runs a script before all others on every page that is opened from now on.
    pub async fn run_first(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// Loads the page anew.
    pub async fn reload(&self) {
        self.driver.refresh().await.unwrap();
    }

    /// What is seen now.
    pub async fn see(&self) -> Seen {
        self.ask(SEE).await
    }

    /// Waits until what is seen suits `is_so`, for so many seconds. A problem that the page tells ends the wait.
    pub async fn until(&self, what: &str, seconds: u64, mut is_so: impl FnMut(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let seen = self.see().await;
            assert!(seen.problem.is_empty(), "waiting until {what}: the page says '{}'", seen.problem);
            if is_so(&seen) {
                eprintln!("{what}");
                return seen;
            }
            assert!(Instant::now() < deadline, "waited {seconds} seconds until {what}: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the text of what has this id begins so.
    pub async fn until_text(&self, id: &str, beginning: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let text = self.text(id).await;
            if text.starts_with(beginning) {
                return;
            }
            assert!(Instant::now() < deadline, "#{id} says '{text}' and not '{beginning}'");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Chooses a value of the list with this id.
    pub async fn pick(&self, id: &str, value: &str) {
        self.element(&format!("#{id} option[value='{value}']")).await.click().await.unwrap();
    }

    /// The text of what has this id.
    pub async fn text(&self, id: &str) -> String {
        self.element(&format!("#{id}")).await.text().await.unwrap()
    }

    /// Presses what has this id.
    pub async fn click(&self, id: &str) {
        self.element(&format!("#{id}")).await.click().await.unwrap_or_else(|e| panic!("#{id} cannot be pressed: {e}"));
    }

    /// Waits until what this selector finds has a text that is so; gives it. What is not there has none.
    pub async fn until_so(&self, selector: &str, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        let script = format!("return document.querySelector({})?.innerText ?? '';", Value::from(selector));
        loop {
            let text: String = self.ask(&script).await;
            if is_so(&text) {
                eprintln!("{what}");
                return text;
            }
            assert!(Instant::now() < deadline, "waiting until {what}: {selector} says '{text}'");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Presses the first that this selector finds.
    pub async fn press(&self, selector: &str) {
        self.element(selector).await.click().await.unwrap_or_else(|e| panic!("{selector} cannot be pressed: {e}"));
    }

    /// Opens the advanced part of a card.
    pub async fn open_advanced(&self, body: &str) {
        self.element(&format!("#{body} details.advanced:not([open]) > summary")).await.click().await.unwrap();
    }

    /// Writes into the field of this id, instead of what is there.
    pub async fn write(&self, id: &str, text: &str) {
        let field = self.element(&format!("#{id}")).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
        let there = field.prop("value").await.unwrap();
        assert_eq!(there.as_deref(), Some(text), "#{id} does not take what is written");
    }

    /// Chooses a file for the file field of this id, which need not be visible.
    pub async fn choose_file(&self, id: &str, path: &Path) {
        let field = self.driver.find(By::Id(id)).await.unwrap();
        field.send_keys(path.display().to_string()).await.unwrap();
    }

    /// Fails if the page scrolls sideways in a window of this width.
    pub async fn fits(&self, width: u32, what: &str) {
        self.resize(width, WINDOW.1).await;
        let wide: Vec<String> = self.ask(WIDE).await;
        self.resize(WINDOW.0, WINDOW.1).await;
        assert!(wide.is_empty(), "{what} does not fit into {width} px: {wide:#?}");
    }

    /// Makes the window this large.
    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Lets the system prefer `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// A picture of the whole page at this width, as PNG.
    pub async fn picture(&self, width: u32) -> Vec<u8> {
        self.resize(width, WINDOW.1).await;
        let height: u32 = self.ask("return document.documentElement.scrollHeight;").await;
        self.resize(width, height).await;
        // Canvases are drawn anew for a new size, a frame later.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let picture = self.driver.screenshot_as_png().await.unwrap();
        self.resize(WINDOW.0, WINDOW.1).await;
        picture
    }

    /// Lets the origin store no more than so many bytes, or what it may by itself.
    pub async fn limit_storage(&self, origin: &str, bytes: Option<u64>) {
        let mut parameters = serde_json::json!({ "origin": origin });
        if let Some(bytes) = bytes {
            parameters["quotaSize"] = bytes.into();
        }
        self.devtools("Storage.overrideQuotaForOrigin", parameters).await;
    }

    /// An element, brought to the middle of the window, where nothing lies over it.
    async fn element(&self, selector: &str) -> WebElement {
        let element = self.driver.find(By::Css(selector)).await.unwrap_or_else(|e| panic!("no {selector}: {e}"));
        let script = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' });";
        self.driver.execute(script, vec![element.to_json().unwrap()]).await.unwrap();
        element
    }

    /// What a script on the page returns.
    pub async fn ask<T: serde::de::DeserializeOwned>(&self, script: &str) -> T {
        let answer = self.driver.execute(script, Vec::new()).await.unwrap();
        serde_json::from_value(answer.json().clone()).unwrap()
    }

    async fn devtools(&self, method: &str, parameters: Value) {
        self.driver.cdp().send_raw(method, parameters).await.unwrap();
    }
}
