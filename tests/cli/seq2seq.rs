//! A model that reads a prompt and writes another text: asked, searched, trained and measured.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{done, path, run};

const CONFIG: &[u8] = include_bytes!("../fixtures/tiny-t5/config.json");
const WEIGHTS: &[u8] = include_bytes!("../fixtures/tiny-t5/model.safetensors");
const SAID: &[u8] = include_bytes!("../fixtures/tiny-t5/logits.json");

/// T5 with a word for each token.
fn write_model(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("config.json"), CONFIG).unwrap();
    fs::write(dir.join("model.safetensors"), WEIGHTS).unwrap();
    let vocabulary: serde_json::Map<String, Value> = (0..96).map(|id| (word(id), id.into())).collect();
    let tokenizer = json!({
        "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<pad>"},
    });
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(dir.join("tokenizer_config.json"), json!({"eos_token": "</s>", "pad_token": "<pad>"}).to_string())
        .unwrap();
}

fn word(id: u64) -> String {
    match id {
        0 => "<pad>".into(),
        1 => "</s>".into(),
        id => format!("w{id}"),
    }
}

/// Without the end.
fn text(ids: &Value) -> String {
    let ids = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).filter(|id| *id != 1);
    ids.map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_model_of_two_stacks_is_asked_searched_trained_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out, rows) = (dir.path().join("t5"), dir.path().join("run"), dir.path().join("rows.jsonl"));
    write_model(&model);
    let said: Value = serde_json::from_slice(SAID).unwrap();
    let asked = ["--model", path(&model), "--device", "cpu"];
    for row in said["rows"].as_array().unwrap() {
        let prompt = text(&row["ids"]);
        let ask = [&["generate", "--prompt", &prompt, "--max-tokens", "16"], &asked[..]].concat();
        assert_eq!(done(&ask).trim(), text(&row["greedy"]));
        let found = done(&[&ask[..], &["--num-beams", "3"]].concat());
        assert_eq!(found.trim(), text(&row["beams"][0]["ids"]));
    }

    // What transformers says of these rows is what is measured.
    let of_row = |row: &Value| json!({"prompt": text(&row["ids"]), "completion": text(&row["labels"])}).to_string();
    let all: Vec<String> = said["rows"].as_array().unwrap().iter().map(of_row).collect();
    fs::write(&rows, all.join("\n")).unwrap();
    let eval = [&["eval", "--data", path(&rows), "--json"], &asked[..]].concat();
    let loss = |arguments: &[&str]| {
        let marks: Value = serde_json::from_str(done(arguments).lines().last().unwrap()).unwrap();
        marks["loss"].as_f64().unwrap()
    };
    let before = loss(&eval);
    assert!((before - said["loss"].as_f64().unwrap()).abs() < 1e-4, "{before} for {}", said["loss"]);
    let train = ["train", "--data", path(&rows), "--validation-split", "0", "--steps", "12", "--batch-size", "2"];
    let with = ["--targets", "all-linear", "--learning-rate", "0.01", "--ist", "--out", path(&out)];
    done(&[&train[..], &with, &asked].concat());
    let config: Value = serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((config["peft_type"].as_str(), config["task_type"].as_str()), (Some("LORA"), Some("SEQ_2_SEQ_LM")));
    let after = loss(&[&eval[..], &["--adapter", path(&out)]].concat());
    assert!(after < before - 0.05, "from {before} to {after}");

    // What it says with its adapter it says when that is merged.
    let merged = dir.path().join("merged");
    done(&["merge", "--model", path(&model), "--adapter", path(&out), "--out", path(&merged)]);
    let of_merged = loss(&["eval", "--data", path(&rows), "--json", "--model", path(&merged), "--device", "cpu"]);
    assert!((of_merged - after).abs() < 1e-4, "{of_merged} merged, {after} beside it");

    // What has no home in two stacks, and rows with nothing to read: named, and nothing is written.
    let none = dir.path().join("none");
    for (more, named) in [(["--method", "prompt"], "prompt"), (["--method", "ladder"], "ladder")] {
        let refused = [&train[..], &more, &["--out", path(&none)], &asked].concat();
        let output = run(&refused);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(named) && told.contains("encoder"), "{told}");
        assert!(!none.exists());
    }
    let story = dir.path().join("story.txt");
    fs::write(&story, "w7 w8 w9").unwrap();
    let output = run(&[&["train", "--data", path(&story), "--out", path(&none)], &asked[..]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("text alone"), "{told}");
}
