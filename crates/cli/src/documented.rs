//! The commands that documentation prints, held against the command line: each is complete, and the files it names are there.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use clap::Parser;
use stratune_protocol::SearchConfig;
use stratune_train::RunConfig;

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

/// Every field of a configuration has its line in the reference, under its section, with its default where it is a number.
#[test]
fn every_field_is_in_the_reference() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("crates/cli/README.md")).unwrap();
    let search = Some(SearchConfig::default());
    let config = serde_json::to_value(RunConfig { search, ..RunConfig::default() }).unwrap();
    for section in ["data", "ist", "search", "train"] {
        let head = format!("| **`[{section}]`");
        let of_section: Vec<&str> = page
            .lines()
            .skip_while(|line| !line.starts_with(&head))
            .skip(1)
            .take_while(|line| line.starts_with("| `"))
            .collect();
        for (name, value) in config[section].as_object().unwrap() {
            let line = of_section
                .iter()
                .find(|line| line.split('|').nth(1).unwrap_or_default().contains(&format!("`{name}`")));
            let line = line.unwrap_or_else(|| panic!("[{section}] {name} is not in the reference"));
            if let Some(number) = value.as_f64() {
                let told: f64 = line.split('`').nth(3).unwrap().parse().unwrap();
                assert!((told - number).abs() < 1e-6, "{line}: it is {number}");
            }
        }
    }
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
