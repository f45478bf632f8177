//! What a build for the browser needs beside cargo: the wasm target, wasm-bindgen, trunk.

use std::fs;

use crate::places::Places;
use crate::shell::{self, Failure};

/// The target of the page and of the browser tests.
pub const WASM: &str = "wasm32-unknown-unknown";

/// The trunk that is installed where there is none of its series.
const TRUNK: &str = "0.21.14";

/// The series of trunk that builds the page.
const TRUNK_SERIES: &str = "0.21.";

/// Makes sure of the compiler's wasm target.
pub fn wasm_target(places: &Places) -> Result<(), Failure> {
    let sysroot = shell::output(places.command("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    if places.root.join(sysroot).join("lib/rustlib").join(WASM).is_dir() {
        return Ok(());
    }
    shell::run(places.command("rustup").args(["target", "add", WASM]))
}

/// Makes sure of clippy, which also compiles the native tests.
pub fn clippy(places: &Places) -> Result<(), Failure> {
    if version_of(places, "clippy-driver").is_some() {
        return Ok(());
    }
    shell::run(places.command("rustup").args(["component", "add", "clippy", "rustfmt"]))
}

/// Makes sure of the wasm-bindgen that Cargo.lock names: its command line must be exactly of the library's version.
pub fn wasm_bindgen(places: &Places) -> Result<(), Failure> {
    let lock = fs::read_to_string(places.root.join("Cargo.lock"))
        .map_err(|e| Failure::usage(format!("Cargo.lock cannot be read: {e}"), "run `cargo generate-lockfile`"))?;
    let version = locked_version(&lock, "wasm-bindgen")
        .ok_or_else(|| Failure::usage("Cargo.lock names no wasm-bindgen", "run `cargo generate-lockfile`"))?;
    // Without its lock file, which names a prerelease that was withdrawn.
    ensure(places, "wasm-bindgen", &["wasm-bindgen-cli", "--version", version], |there| there == version)
}

/// Makes sure of trunk, which puts the page together.
pub fn trunk(places: &Places) -> Result<(), Failure> {
    // With its lock file: the newest lightningcss that it allows does not compile with the newest parcel_selectors.
    ensure(places, "trunk", &["trunk", "--version", TRUNK, "--locked"], |there| there.starts_with(TRUNK_SERIES))
}

/// Installs a package unless its `program` is there in a version that fits. Where the user has another version it goes
/// beside the build, so that theirs stays.
fn ensure(places: &Places, program: &str, package: &[&str], fits: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let found = version_of(places, program);
    if found.as_deref().is_some_and(&fits) {
        return Ok(());
    }
    let mut install = places.cargo();
    install.arg("install").args(package);
    if found.is_some() {
        install.arg("--root").arg(&places.tools).arg("--force");
    }
    // Its own folder for the build, which cargo removes afterwards.
    install.env_remove("CARGO_TARGET_DIR");
    shell::step(&format!("install {}", package[0]), || shell::run(&mut install))?;
    match version_of(places, program) {
        Some(there) if fits(&there) => Ok(()),
        there => Err(Failure::usage(
            format!("{} is installed, and the {program} on the PATH is {there:?}", package[0]),
            "put cargo's bin folder (~/.cargo/bin) before others on the PATH",
        )),
    }
}

/// The second word of what `program --version` prints.
fn version_of(places: &Places, program: &str) -> Option<String> {
    let text = shell::output(places.command(program).arg("--version"))?;
    text.split_whitespace().nth(1).map(str::to_string)
}

/// The version of a package in the text of a Cargo.lock.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.9\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm-bindgen-futures"), Some("0.4.9"));
        assert_eq!(locked_version(lock, "wasm"), None);
        assert_eq!(locked_version("", "wasm-bindgen"), None);
    }
}
