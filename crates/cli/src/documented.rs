//! The commands that documentation prints, held against the command line: each is complete, and the files it names are there.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use clap::Parser;

use crate::Cli;

/// Pages with commands, from the repository's root.
const PAGES: [&str; 8] = [
    "README.md",
    "CONTRIBUTING.md",
    "crates/cli/README.md",
    "crates/peft/README.md",
    "crates/search/README.md",
    "crates/session/assets/starter/README.md",
    "shaders/README.md",
    "tests/README.md",
];

/// Flags that name files of the repository.
const OF_FILES: [&str; 2] = ["--geometry", "--config"];

#[test]
fn documented_commands_are_complete() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut checked = 0;
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("stratune ")) {
            let words = words(line);
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{page}: {line}\n{error}");
            }
            for flag in words.windows(2).filter(|pair| OF_FILES.contains(&pair[0].as_str())) {
                assert!(root.join(&flag[1]).exists(), "{page} names {}, which is not there", flag[1]);
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} commands were found");
}

/// The words of a line of shell, without a comment behind it.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or(line);
    let quoted = line.split('"').enumerate();
    let parts = quoted.flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().map(String::from).collect(),
        _ => vec![part.to_string()],
    });
    parts.collect()
}

#[test]
fn words_of_a_line() {
    assert_eq!(words("stratune a --b \"c  d\" e   # why"), ["stratune", "a", "--b", "c  d", "e"]);
}
