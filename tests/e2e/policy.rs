//! Nothing leaves the tab: the engine's worker is under the page's content-security policy.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::browser::Browser;
use crate::page::Page;
use crate::server::Site;

/// A place outside of the page's origin that counts who comes.
struct Elsewhere {
    address: String,
    came: Arc<AtomicUsize>,
}

impl Elsewhere {
    fn listen() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let came = Arc::new(AtomicUsize::new(0));
        let count = came.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                // Who has gone away is counted all the same.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { address, came }
    }
}

/// Has the engine's worker ask for something elsewhere before anything else, and tell the page what became of it: `refused`
/// and by what, or `sent`. It is put in front of every script that the page makes for a worker, in the page's own way.
fn spy(elsewhere: &str) -> String {
    let probe = format!(
        r#"
        const told = new BroadcastChannel("spy");
        addEventListener("securitypolicyviolation", e => told.postMessage(`refused by ${{e.effectiveDirective}}`));
        fetch("{elsewhere}", {{ mode: "no-cors" }}).then(() => told.postMessage("sent"), () => {{}});
        "#
    );
    format!(
        r#"
        window.spied = [];
        new BroadcastChannel("spy").onmessage = message => window.spied.push(message.data);
        window.Blob = class extends window.Blob {{
            constructor(parts, options) {{
                super(options?.type === "text/javascript" ? [{}, ...parts] : parts, options);
            }}
        }};
        "#,
        serde_json::Value::from(probe)
    )
}

#[tokio::test]
async fn the_engine_cannot_send_anything_elsewhere() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        let _ = writeln!(std::io::stderr(), "policy of the engine: skipped, because STRATUNE_DIST is not set");
        return;
    };
    let (site, elsewhere) = (Site::serve(&dist), Elsewhere::listen());
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    page.run_first(&spy(&elsewhere.address)).await;
    page.open(&format!("{}/?device=cpu", site.origin)).await;
    // The engine itself does its work under this policy.
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    let spied: Vec<String> = page.ask("return window.spied;").await;
    assert_eq!(spied, ["refused by connect-src"], "what became of a request from inside the engine's worker");
    assert_eq!(elsewhere.came.load(Ordering::Relaxed), 0, "a request arrived elsewhere");
    browser.quit().await;
}
