//! Chromium, driven through a chromedriver of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use thirtyfour::common::command::Command as Request;
use thirtyfour::{Capabilities, WebDriver};

/// The browser tests' own settings hold here too.
const SETTINGS: &str = include_str!("../webdriver.json");

/// The browser's own record of all requests, those of workers included.
const RECORD: &str = "requests.json";

/// A browser with a fresh profile, and a folder for what it downloads and records.
pub struct Browser {
    driver: WebDriver,
    chromedriver: Chromedriver,
    // After the browser that writes into it.
    folder: TempDir,
}

impl Browser {
    /// Starts it.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let chromedriver = Chromedriver::start();
        let capabilities = capabilities(folder.path());
        let driver = WebDriver::new(chromedriver.address(), capabilities).await.unwrap();
        // Left to itself the session ends when it is dropped, over a connection that this very thread would have to
        // serve: after a panic it waits for two minutes. Chromedriver ends its sessions when it ends.
        driver.clone().leak().unwrap();
        Self { driver, chromedriver, folder }
    }

    /// The session.
    pub fn driver(&self) -> WebDriver {
        self.driver.clone()
    }

    /// The process that all of the browser's are below.
    pub fn process(&self) -> u32 {
        self.chromedriver.child.id()
    }

    /// Where downloads go, among others.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What has gone wrong on the page and in its workers since the last call.
    pub async fn console_errors(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.unwrap();
        entries.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect()
    }

    /// Ends it and gives its record of requests, which is complete only then.
    pub async fn quit(self) -> Value {
        self.driver.cmd(Request::DeleteSession).await.unwrap();
        let record = self.folder.path().join(RECORD);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(&record).unwrap_or_default();
            match serde_json::from_str(&text) {
                Ok(record) => return record,
                Err(e) if Instant::now() > deadline => panic!("the browser's record of requests is broken: {e}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

fn capabilities(folder: &Path) -> Capabilities {
    let mut all: Map<String, Value> = serde_json::from_str(SETTINGS).unwrap();
    let options = all.get_mut("goog:chromeOptions").unwrap();
    let arguments = options["args"].as_array_mut().unwrap();
    // The page is our own, and the sandbox does not start for root, who is the user in many containers.
    arguments.extend(["--headless", "--no-sandbox", "--disable-dev-shm-usage"].map(Value::from));
    arguments.push(format!("--log-net-log={}", folder.join(RECORD).display()).into());
    options["prefs"] = json!({ "download.default_directory": folder, "download.prompt_for_download": false });
    all.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
    all.into()
}

/// A chromedriver that ends with its owner, and its browsers with it.
struct Chromedriver {
    child: Child,
    port: u16,
    // Chromedriver would end if nobody could hear it any more.
    _output: BufReader<ChildStdout>,
}

impl Chromedriver {
    /// Starts it on a free port, which it chooses and tells.
    fn start() -> Self {
        let program = std::env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
        let mut child = Command::new(&program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{} does not start: {e}; set CHROMEDRIVER", program.display()));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut told = String::new();
        while output.read_line(&mut told).unwrap() > 0 {
            let port = told.lines().last().and_then(|line| line.trim_end_matches('.').rsplit_once("on port "));
            if let (Some((_, port)), true) = (port, told.contains("started successfully")) {
                return Self { child, port: port.parse().unwrap(), _output: output };
            }
        }
        panic!("chromedriver ended with {}: {told}", child.wait().unwrap());
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks it to end, which ends its browsers too.
    fn ask_to_end(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.port)?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        if self.ask_to_end().is_ok() {
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        // It may have ended by itself, and then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
