//! Several adapters at once, and several runs beside each other.

use std::fs;

use serde_json::Value;

use crate::{done, path, run};

const PROMPT: [&str; 7] =
    ["--prompt", "The widow stood by the fire.", "--as-instruction", "--max-tokens", "10", "--device", "cpu"];

#[test]
fn adapters_answer_each_by_itself_in_one_batch_or_weighted_together() {
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| dir.path().join(name);
    for (method, name) in [("lora", "one"), ("ia3", "other"), ("prefix", "third")] {
        let arguments = ["train", "--data", "example", "--device", "cpu", "--max-length", "48", "--batch-size", "2"];
        let own = ["--method", method, "--steps", "3", "--learning-rate", "0.05", "--validation-split", "0", "--out"];
        done(&[&arguments[..], &own, &[path(&out(name))]].concat());
    }
    let (one, other, third) = (out("one"), out("other"), out("third"));
    let said = |adapters: &[&str], more: &[&str]| {
        done(&[&["generate"], &PROMPT[..], adapters, more].concat()).trim().to_string()
    };
    let both = ["--adapter", path(&one), path(&other)];
    let each = said(&both, &["--each", "--json"]);
    let texts: Vec<Value> = each.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let texts: Vec<&str> = texts.iter().filter_map(|l| l["text"].as_str()).map(str::trim).collect();
    let alone = [said(&[], &[]), said(&["--adapter", path(&one)], &[]), said(&["--adapter", path(&other)], &[])];
    assert_eq!(texts, alone);
    assert_eq!(said(&both, &["--weights", "1,0"]), alone[1]);

    let merged = out("merged");
    done(&[&["merge", "--model", "starter", "--out", path(&merged), "--weights", "0.5,0.5"], &both[..]].concat());
    assert_eq!(said(&["--model", path(&merged)], &[]), said(&both, &["--weights", "0.5,0.5"]));

    for (arguments, names) in [
        ([&both[..], &["--weights", "1"]].concat(), "2 adapters and 1 weights"),
        ([&both[..], &["--weights", "1,NaN"]].concat(), "weight"),
        (vec!["--adapter", path(&one), path(&third)], "adapter 2"),
        (vec!["--each"], "--adapter"),
    ] {
        let output = run(&[&["generate"], &PROMPT[..], &arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(names), "{arguments:?}: {error}");
    }
    let refused = run(&["merge", "--model", "starter", "--adapter", path(&third), "--out", path(&out("no"))]);
    assert!(
        refused.status.code() == Some(2) && !out("no").exists(),
        "a prefix cannot be merged, and nothing is written"
    );
}

#[test]
fn a_lower_rank_is_cut_out_of_what_dylora_has_trained() {
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| dir.path().join(name);
    for method in ["dylora", "lora"] {
        let arguments = ["train", "--data", "example", "--device", "cpu", "--max-length", "48", "--batch-size", "2"];
        let own = ["--method", method, "--rank", "4", "--steps", "2", "--validation-split", "0", "--out"];
        done(&[&arguments[..], &own, &[path(&out(method))]].concat());
    }
    let slice = |from: &str, rank: &str, to: &str| {
        run(&["slice", "--adapter", path(&out(from)), "--rank", rank, "--out", path(&out(to))])
    };
    assert_eq!(slice("dylora", "3", "cut").status.code(), Some(0));
    let config: Value = serde_json::from_slice(&fs::read(out("cut").join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(
        (config["r"].as_u64(), config["lora_alpha"].as_u64(), config["peft_type"].as_str()),
        (Some(3), Some(16), Some("LORA"))
    );
    done(&[&["generate"], &PROMPT[..], &["--adapter", path(&out("cut"))]].concat());
    for (from, rank, to, names) in [
        ("dylora", "5", "no", "own is 4"),
        ("dylora", "0", "no", "the rank asked for is 0"),
        ("dylora", "2", "cut", "exists"),
        ("lora", "2", "no", "lora has trained this adapter at its own rank"),
    ] {
        let output = slice(from, rank, to);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(names), "{from} {rank}: {error}");
        assert!(!out("no").exists());
    }
}

#[test]
fn the_settings_of_a_paper_are_asked_for_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["train", "--data", "example", "--device", "cpu", "--max-length", "48", "--batch-size", "2"];
    let own =
        ["--method", "vera", "--preset", "paper", "--targets", "v_proj", "--steps", "1", "--validation-split", "0"];
    done(&[&arguments[..], &own, &["--out", path(dir.path())], &["--overwrite"]].concat());
    let written = fs::read_to_string(dir.path().join("run.toml")).unwrap();
    assert!(written.contains("rank = 256") && written.contains("targets = [\"v_proj\"]"), "{written}");
    let alone = run(&["train", "--data", "example", "--preset", "paper", "--out", path(dir.path())]);
    assert_eq!(alone.status.code(), Some(2), "the paper of which method?");
}

#[test]
fn the_intrinsic_dimension_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let rows = dir.path().join("rows.jsonl");
    fs::write(&rows, "{\"prompt\": \"Tom came to the mill at dawn.\", \"completion\": \"{}\"}\n".repeat(8)).unwrap();
    let told = done(&[
        "intrinsic",
        "--data",
        path(&rows),
        "--held-out",
        path(&rows),
        "--dimensions",
        "60,400",
        "--steps",
        "6",
        "--batch-size",
        "4",
        "--validation-split",
        "0",
        "--device",
        "cpu",
        "--json",
    ]);
    let lines: Vec<Value> = told.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let points: Vec<&Value> = lines.iter().filter(|l| l["held_out_loss"].is_number()).collect();
    let seen: Vec<_> = points.iter().map(|p| (p["method"].as_str().unwrap(), p["dimension"].as_u64())).collect();
    assert_eq!(seen, [("full", None), ("did", Some(60)), ("did", Some(400)), ("said", Some(60)), ("said", Some(400))]);
    assert_eq!(points[0]["gain"].as_f64(), Some(1.0));
    assert_eq!(lines.iter().filter(|l| l.get("d90").is_some()).count(), 2);
    let refused = run(&["intrinsic", "--dimensions", "0", "--device", "cpu"]);
    assert_eq!(refused.status.code(), Some(2));
}
