//! Conversations in the terminal, typed or from a pipe.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::{done, path, stratune};

/// What `chat` answers to lines of input, with what it says beside.
fn chat(arguments: &[&str], lines: &str) -> (Vec<String>, String) {
    let mut command = stratune(&[&["chat", "--device", "cpu", "--max-tokens", "12", "--json"], arguments].concat());
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    let (mut said, mut text) = (Vec::new(), String::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if event["event"] == "token" {
            text += event["text"].as_str().unwrap();
            if event["done"] == true {
                said.push(std::mem::take(&mut text).trim().to_string());
            }
        }
    }
    (said, error)
}

fn adapter(out: &Path) {
    let arguments = ["train", "--data", "example", "--device", "cpu", "--max-length", "48", "--batch-size", "2"];
    let own = ["--steps", "3", "--learning-rate", "0.05", "--validation-split", "0", "--system-prompt", "Be brief."];
    done(&[&arguments[..], &own, &["--out", path(out)]].concat());
}

const FIRST: &str = "The widow stood by the fire.";

#[test]
fn several_turns_are_answered_as_one_conversation() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("chats.jsonl");
    let lines = format!("{FIRST}\n\nWho came?\r\n/save {}\n/reset\n{FIRST}\n/nothing\n", path(&saved));
    let (said, beside) = chat(&[], &lines);
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[0], said[2], "what was said before is forgotten");
    assert!(beside.contains("no command /nothing"), "{beside}");
    let arguments = ["generate", "--as-instruction", "--prompt", FIRST, "--max-tokens", "12", "--device", "cpu"];
    assert_eq!(said[0], done(&arguments).trim());

    let row: Value = serde_json::from_str(&fs::read_to_string(&saved).unwrap()).unwrap();
    let told: Vec<&str> = row["messages"].as_array().unwrap().iter().filter_map(|m| m["content"].as_str()).collect();
    assert_eq!(told, [FIRST, &said[0], "Who came?", &said[1]]);
    assert!(done(&["inspect", path(&saved), "--json"]).contains("messages"), "it is a row of data");

    // The second answer follows both questions: it is that of the conversation, asked anew.
    let again = format!("{FIRST}\nWho came?\n/reset\n{FIRST}\nWho came?\n");
    let (again, _) = chat(&[], &again);
    assert_eq!([&again[..2], &again[2..]], [&said[..2], &said[..2]]);
}

#[test]
fn the_system_prompt_is_that_of_the_run_unless_another_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    adapter(&out);
    let tuned = ["--adapter", path(&out)];
    let (said, _) = chat(&tuned, &format!("{FIRST}\n/base\n/system\n{FIRST}\n/system Be brief.\n{FIRST}\n"));
    let with = |system: &'static str| chat(&[&tuned[..], &["--system", system]].concat(), FIRST).0[0].clone();
    assert_eq!([&said[0], &said[2], &said[3]], [&with("Be brief."), &with(""), &with("Be brief.")]);
    assert_ne!(said[0], said[2]);
    assert_eq!(said[1], chat(&["--system", "Be brief."], FIRST).0[0], "the base, without the adapter");
}

#[test]
fn a_question_that_cannot_be_answered_is_told_and_forgotten() {
    let long = "The dog ran and sat. ".repeat(80);
    let (said, beside) = chat(&[], &format!("{long}\n{FIRST}\n/base\n/save\n"));
    assert!(beside.contains("shorten the prompt") && beside.contains("name a file"), "{beside}");
    assert_eq!((said.len(), &said[0]), (2, &said[1]), "without an adapter the base is who answers");
    let output = stratune(&["chat", "--min-p", "2"]).stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("--min-p"), "{error}");
}

/// A signal while nothing is being written ends the chat.
#[cfg(unix)]
#[test]
fn a_signal_ends_a_chat_that_waits() {
    use std::io::{BufRead, BufReader};

    let mut command = stratune(&["chat", "--device", "cpu", "--max-tokens", "4"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{FIRST}").unwrap();
    let mut answered = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut answered).unwrap();
    assert!(!answered.trim().is_empty());
    // The line is out a moment before the answer counts as over, and a first signal in it would stop that.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
