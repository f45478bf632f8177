//! `cargo xtask`: set-up, page, tests and measurements in one command each.

mod bench;
mod browser;
mod places;
mod record;
#[cfg(test)]
mod repository;
mod shell;
mod size;
#[cfg(test)]
#[path = "../../../tests/src/skipped.rs"]
mod skipped;
mod test;
mod tools;
mod web;

use std::process::ExitCode;

use places::Places;
use shell::Failure;

const USAGE: &str = "\
cargo xtask web   [--port 8080] [--no-serve]   install what the page needs, build it, serve it on this machine
cargo xtask test  [--only lint|native|browser|e2e]   everything that must hold, or one part of it
cargo xtask test fast   what one runs while working: at most three minutes, once built
cargo xtask ci    the same as test
cargo xtask families   print how each family is proven, and write it into crates/models/README.md
cargo xtask bench --geometry CONFIG.JSON [--batch N] [--seq N] …   `stratune bench`, built with optimisation
cargo xtask bench tab   a step of a small model in a browser, on its CPU and on WebGPU
cargo xtask bench page MODEL   memory and speed of the page with a large model, a folder or a GGUF file (Linux)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(Failure::usage("no command is given", USAGE));
    };
    match command.as_str() {
        "web" => web::run(&Places::find()?, rest),
        "test" | "ci" => test::run(&Places::find()?, rest),
        "families" => test::table_of_families(&Places::find()?),
        "bench" => bench::run(&Places::find()?, rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(Failure::usage(format!("there is no command '{other}'"), USAGE)),
    }
}
