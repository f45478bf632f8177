//! What holds of the files in the repository: none is large, the README is short, and links between pages lead
//! somewhere.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::places::Places;
use crate::{shell, skipped};

/// Bytes that a file may have. The starter's weights and tokenizer are what a person trains first.
const LARGEST: u64 = 1_000_000;
const LARGE: &str = "crates/session/assets/starter/";

/// Lines that the README may have.
const README_LINES: usize = 150;

/// Lines that a file of code may have: a longer one answers a second question.
const CODE_LINES: usize = 400;

/// The files that git tracks; none, with a word, where there is no git or no checkout of it.
fn tracked(root: &Path) -> Vec<PathBuf> {
    let list = shell::output(Command::new("git").current_dir(root).args(["ls-files", "-z"])).unwrap_or_default();
    if list.is_empty() {
        skipped::skipped("git tells no files here");
    }
    list.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

#[test]
fn no_tracked_file_is_large() {
    let root = Places::find().unwrap().root;
    // A file that is tracked and not there is about to be removed.
    let size = |name: &PathBuf| fs::metadata(root.join(name)).map_or(0, |meta| meta.len());
    let large: Vec<_> = tracked(&root).into_iter().filter(|name| size(name) > LARGEST).collect();
    let others: Vec<_> = large.iter().filter(|name| !name.starts_with(LARGE)).collect();
    assert!(others.is_empty(), "larger than {LARGEST} bytes: {others:?}");
}

#[test]
fn a_file_of_code_answers_one_question() {
    let root = Places::find().unwrap().root;
    let is_code =
        |name: &PathBuf| name.extension().is_some_and(|e| ["rs", "wgsl", "css"].iter().any(|code| e == *code));
    for name in tracked(&root).into_iter().filter(is_code) {
        let lines = fs::read_to_string(root.join(&name)).map_or(0, |text| text.lines().count());
        assert!(lines <= CODE_LINES, "{name:?} has {lines} lines: what second thing does it do?");
    }
}

#[test]
fn skipping_is_told_by_one_helper() {
    let root = Places::find().unwrap().root;
    let tells = ["println!", "console_log!", "writeln!"].map(|macro_| format!("{macro_}(\"skipped"));
    for name in tracked(&root).into_iter().filter(|name| name.extension().is_some_and(|e| e == "rs")) {
        let Ok(text) = fs::read_to_string(root.join(&name)) else { continue };
        assert!(!tells.iter().any(|tell| text.contains(tell)), "{name:?}: use tests/src/skipped.rs");
    }
}

/// Where methods may be named beside their own files: what relatives share, lists, hooks of the loop that are one
/// method's, and an experiment with three of them.
const NAMES_METHODS: [&str; 10] = [
    "crates/peft/src/methods/",
    "crates/peft/src/combination.rs",
    "crates/peft/src/form/lora.rs",
    "crates/peft/src/low_rank.rs",
    "crates/peft/src/sparse.rs",
    "crates/peft/examples/",
    "crates/train/src/hooks/",
    "crates/ist/src/lisa.rs",
    "crates/cli/src/commands/intrinsic.rs",
    "crates/xtask/",
];

/// What is known of a method is known in its file: a name elsewhere would be a place that a new method forgets.
#[test]
fn a_method_is_named_in_its_file_and_in_lists() {
    let root = Places::find().unwrap().root;
    let named = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '{') && !rest.starts_with("ALL");
    for name in tracked(&root).into_iter().filter(|name| name.extension().is_some_and(|e| e == "rs")) {
        let elsewhere =
            name.starts_with("tests") || NAMES_METHODS.iter().any(|at| name.to_string_lossy().starts_with(at));
        let Ok(text) = fs::read_to_string(root.join(&name)) else { continue };
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let line = code.lines().position(|line| line.split("MethodKind::").skip(1).any(named));
        assert!(elsewhere || line.is_none(), "{name:?}, line {}: make it a fact of the method", line.unwrap_or(0) + 1);
    }
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(Places::find().unwrap().root.join("README.md")).unwrap().lines().count();
    assert!(lines <= README_LINES, "{lines} lines");
}

/// Files that are linked to are there, and so are the headings.
#[test]
fn links_lead_somewhere() {
    let root = Places::find().unwrap().root;
    let mut checked = 0;
    for page in tracked(&root).into_iter().filter(|name| name.extension().is_some_and(|e| e == "md")) {
        let Ok(text) = fs::read_to_string(root.join(&page)) else { continue };
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let linked = if file.is_empty() { root.join(&page) } else { root.join(&page).parent().unwrap().join(file) };
            assert!(linked.exists(), "{page:?} links to {link}, which is not there");
            if !heading.is_empty() {
                let text = fs::read_to_string(&linked).unwrap();
                assert!(headings(&text).any(|h| h == heading), "{page:?} links to {link}, which has no such heading");
            }
            checked += 1;
        }
    }
    assert!(checked > 10 || tracked(&root).is_empty(), "only {checked} links were found");
}

/// The targets of `[…](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

/// Headings as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    titles.map(|title| {
        let kept = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || "-_".contains(c) => Some(c.to_ascii_lowercase()),
            _ => None,
        };
        title.chars().filter_map(kept).collect()
    })
}

#[test]
fn links_and_headings_are_found() {
    assert_eq!(
        links("[a](b.md#c), ![d](e.png) and [f](https://g)").collect::<Vec<_>>(),
        ["b.md#c", "e.png", "https://g"]
    );
    assert_eq!(headings("# A `b`, c\ntext\n## D's").collect::<Vec<_>>(), ["a-b-c", "ds"]);
}
