//! Saying that a test is skipped. Crates below the others take this file by its path, so that there is one text for it.

use std::fmt::Display;

/// Says that the test that calls it is skipped, or a part of it: past the test harness, which keeps what a passing test
/// prints to itself. `cargo xtask test` counts these lines by what they say.
pub fn skipped(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test in the browser");
    let line = format!("skipped: {test}: {}", why.to_string().replace('\n', " "));
    #[cfg(target_family = "wasm")]
    wasm_bindgen_test::console_log!("{line}");
    #[cfg(not(target_family = "wasm"))]
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}
