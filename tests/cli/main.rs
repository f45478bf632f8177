//! The command line as a person uses it: whole runs, interrupted runs, and wrong input.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod chat;
mod hub;
mod images;
mod interrupted;
mod labels;
#[allow(dead_code)]
#[path = "../src/loopback_hub.rs"]
mod loopback_hub;
mod search;
mod seq2seq;
mod serve;
mod several;
#[path = "../src/skipped.rs"]
mod skipped;
mod study;
mod taken;
mod text;
mod whole;

use std::path::Path;
use std::process::{Command, Output};

/// `stratune` with arguments, on the CPU.
fn stratune(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stratune"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    stratune(arguments).output().unwrap()
}

/// Runs, and expects success; gives standard output.
fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

/// A short run of the starter on the example.
const SHORT: [&str; 18] = [
    "train",
    "--model",
    "starter",
    "--data",
    "example",
    "--device",
    "cpu",
    "--ist",
    "--ist-interval",
    "3",
    "--max-length",
    "64",
    "--batch-size",
    "2",
    "--rank",
    "2",
    "--sample-prompt",
    "The farmer was at the market at dawn.",
];
