//! `cargo xtask test`: everything that must hold, in the order in which it fails soonest.

use std::path::Path;
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};

use crate::places::Places;
use crate::record::Record;
use crate::shell::{self, Failure, step};
use crate::{browser, size, tools, web};

/// Seconds that all tests of one browser test binary may take together.
const BROWSER_SECONDS: &str = "3600";

/// The modules of the browser tests, which are run each by itself.
const IN_BROWSER: [(&str, &str); 3] = [
    ("browser tests on the CPU", "on_cpu::"),
    ("browser tests on WebGPU", "on_gpu::"),
    ("browser tests as a GPU is given them", "as_a_gpu::"),
];

/// What one runs while working: a name, and what `cargo test` is told to run.
const FAST: [(&str, &[&str]); 4] = [
    ("lint and crates by themselves", &["--lib", "--bins"]),
    ("parity on the CPU", &["--test", "parity", "--", "--skip", "gpu", "--skip", "floats"]),
    ("settings", &["--test", "settings"]),
    ("methods", &["--test", "methods", "--", "every_method", "peft_reads"]),
];

/// The methods that stand for all of them there: one that adds to linear layers, and one that trains the model's own numbers.
const FAST_METHODS: &str = "lora,bitfit";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Everything.
    All,
    /// What one runs while working.
    Fast,
    /// One part of everything.
    Only(Part),
}

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Formatting, and clippy with every warning an error.
    Lint,
    /// Everything that runs outside of a browser.
    Native,
    /// The engine in a browser, without the page.
    Browser,
    /// The page as a person uses it.
    E2e,
}

/// Runs what is asked for, then names the slowest tests and counts those that were skipped.
pub fn run(places: &Places, arguments: &[String]) -> Result<(), Failure> {
    let wanted = read(arguments)?;
    let mut record = Record::new();
    let done = match wanted {
        Wanted::All => parts(places, None, &mut record),
        Wanted::Fast => fast(places, &mut record),
        Wanted::Only(part) => parts(places, Some(part), &mut record),
    };
    record.print();
    done
}

/// All parts, or one.
fn parts(places: &Places, only: Option<Part>, record: &mut Record) -> Result<(), Failure> {
    let wanted = |part| only.is_none_or(|only| only == part);
    if only != Some(Part::Browser) {
        tools::clippy(places)?;
    }
    if wanted(Part::Native) {
        browser::ensure_vulkan()?;
    }
    if wanted(Part::Browser) || wanted(Part::E2e) {
        browser::ensure_chromium()?;
        web::prepare(places)?;
    }
    if wanted(Part::Lint) {
        format(places)?;
    }
    match only {
        None => native(places, "lint and native tests", &[], record)?,
        Some(Part::Lint) => native(places, "lint", &["--no-run"], record)?,
        Some(Part::Native) => native(places, "native tests", &[], record)?,
        Some(Part::Browser | Part::E2e) => {}
    }
    if wanted(Part::Browser) {
        engine_in_browser(places, record)?;
    }
    if wanted(Part::E2e) {
        // Not beside the tests in a browser: they starve each other, and the driver gives up on a page that does not answer.
        step("page", || web::build(places))?;
        step("size of the page", || size::check(places))?;
        step("end-to-end test", || record.run(&mut end_to_end(places)))?;
    }
    Ok(())
}

/// The tests of the engine in a browser, without the page. Its modules run side by side: on WebGPU a software adapter compiles
/// shaders most of the time, on one core.
fn engine_in_browser(places: &Places, record: &mut Record) -> Result<(), Failure> {
    step("tests for a browser", || shell::run(in_browser(places, "browser").arg("--no-run")))?;
    let module = |(name, module)| {
        let mut record = Record::new();
        let mut cargo = in_browser(places, "browser");
        // So that tests that are skipped are heard.
        cargo.args(["--", "--nocapture", module]);
        let done = step(name, || record.run(&mut cargo));
        (record, done)
    };
    let all = thread::scope(|threads| IN_BROWSER.map(|of| threads.spawn(move || module(of))).map(joined));
    all.into_iter().try_for_each(|(of_module, done)| {
        record.add(of_module);
        done
    })
}

/// What a thread comes to. If it panics, so does this one.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What one runs while working, in at most three minutes once it is built: formatting, lints, what crates prove by
/// themselves, the same numbers as transformers and PEFT on the CPU, and two methods.
fn fast(places: &Places, record: &mut Record) -> Result<(), Failure> {
    tools::clippy(places)?;
    format(places)?;
    for (name, arguments) in FAST {
        step(name, || record.run(workspace(places).args(arguments).env("STRATUNE_METHODS", FAST_METHODS)))?;
    }
    Ok(())
}

fn format(places: &Places) -> Result<(), Failure> {
    step("format", || shell::run(places.cargo().args(["fmt", "--all", "--check"])))
}

fn read(arguments: &[String]) -> Result<Wanted, Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match words[..] {
        [] => Wanted::All,
        ["fast"] => Wanted::Fast,
        ["--only", "lint"] => Wanted::Only(Part::Lint),
        ["--only", "native"] => Wanted::Only(Part::Native),
        ["--only", "browser"] => Wanted::Only(Part::Browser),
        ["--only", "e2e"] => Wanted::Only(Part::E2e),
        _ => {
            let what = format!("test does not know '{}'", words.join(" "));
            return Err(Failure::usage(what, "use fast; --only lint, native, browser or e2e; or nothing"));
        }
    })
}

fn native(places: &Places, name: &str, extra: &[&str], record: &mut Record) -> Result<(), Failure> {
    step(name, || record.run(workspace(places).arg("--no-fail-fast").args(extra)))?;
    // By itself: what the page asks of shared dependencies would have all of them compiled once more.
    step(&format!("{name} of the page"), || {
        record.run(linted(places).args(["--package", "stratune-app", "--no-fail-fast"]).args(extra))
    })
}

/// The tests of all crates that run natively. The worker is the browser's alone.
fn workspace(places: &Places) -> Command {
    let mut cargo = linted(places);
    cargo.args(["--workspace", "--exclude", "stratune-app", "--exclude", "stratune-worker"]);
    cargo.env_remove("STRATUNE_DIST").env_remove("STRATUNE_METHODS").env_remove("STRATUNE_FAMILY");
    // Otherwise Mesa's layer that selects a device writes errors where there is no display.
    cargo.env("NODEVICE_SELECT", "1");
    cargo
}

/// `cargo test` with clippy as the compiler of our own crates: one build lints and makes the tests. `cargo clippy` uses
/// the same two variables, but on a check build, for which every dependency would be compiled a second time.
fn linted(places: &Places) -> Command {
    let mut cargo = places.cargo();
    cargo.arg("test").env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    cargo.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    cargo
}

/// The tests in a browser, built with a profile: `browser`, or the page's `engine` to measure its speed.
fn in_browser(places: &Places, profile: &str) -> Command {
    let mut cargo = places.cargo();
    cargo.args(["test", "--profile", profile, "--package", "stratune-tests", "--target", tools::WASM]);
    cargo.args(["--test", "browser"]);
    cargo.env("WASM_BINDGEN_TEST_TIMEOUT", BROWSER_SECONDS);
    with_driver(cargo)
}

/// Runs the test that compares the table of families with the lists that the tests walk, and has it write the table.
pub fn table_of_families(places: &Places) -> Result<(), Failure> {
    let mut cargo = workspace(places);
    cargo.args(["--test", "parity", "--", "--nocapture", "the_table_is_in_the_documentation"]);
    step("table of families", || shell::run(cargo.env("STRATUNE_WRITE_TABLES", "1")))
}

/// Runs the browser tests that are measurements, and shows what they print.
pub fn speed_in_tab(places: &Places) -> Result<(), Failure> {
    browser::ensure_chromium()?;
    web::prepare(places)?;
    let mut cargo = in_browser(places, "engine");
    cargo.args(["--", "--include-ignored", "--nocapture", "speed"]);
    step("speed in a tab", || shell::run(&mut cargo))
}

/// Runs the test that measures the page with this model: a folder's on a GPU in 4 bits, a GGUF file's on the CPU.
pub fn page_with_model(places: &Places, model: &Path) -> Result<(), Failure> {
    browser::ensure_chromium()?;
    web::prepare(places)?;
    step("page", || web::build(places))?;
    let mut cargo = end_to_end(places);
    let test = if model.is_dir() { "the_page_beside_a_large_model" } else { "the_page_on_the_cpu_with_a_gguf_file" };
    cargo.args(["--ignored", test]).env("STRATUNE_LARGE_MODEL", model);
    step("the page with a model", || shell::run(&mut cargo))
}

/// The same selection of crates as for the native tests, so that nothing is compiled again.
fn end_to_end(places: &Places) -> Command {
    let mut cargo = workspace(places);
    cargo.args(["--test", "e2e", "--", "--nocapture"]).env("STRATUNE_DIST", &places.dist);
    // A proxy that the user has set is not for talking to the driver on this machine.
    cargo.env("NO_PROXY", "127.0.0.1");
    with_driver(cargo)
}

fn with_driver(mut command: Command) -> Command {
    if let Some(path) = browser::chromedriver() {
        command.env("CHROMEDRIVER", path);
    }
    command
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let read = |text: &str| read(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        assert_eq!((read("").unwrap(), read("fast").unwrap()), (Wanted::All, Wanted::Fast));
        for (text, part) in
            [("lint", Part::Lint), ("native", Part::Native), ("browser", Part::Browser), ("e2e", Part::E2e)]
        {
            assert_eq!(read(&format!("--only {text}")).unwrap(), Wanted::Only(part));
        }
        for bad in ["--only", "--only gpu", "lint", "fast --only lint"] {
            assert_eq!(read(bad).unwrap_err().code, 2, "{bad}");
        }
    }

    #[test]
    fn the_end_to_end_test_compiles_nothing_anew() {
        let places = Places::find().unwrap();
        let args = |command: &Command| command.get_args().map(|a| a.to_os_string()).collect::<Vec<_>>();
        let (native, e2e) = (args(&workspace(&places)), args(&end_to_end(&places)));
        assert_eq!(native, e2e[..native.len()]);
    }
}
