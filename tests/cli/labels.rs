//! A classifier of a real encoder, from rows with labels to labels of other texts; and rows that no classifier can learn.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{done, path, run, skipped::skipped};

/// MiniLM's folder, if there is one here.
fn minilm() -> Option<PathBuf> {
    match std::env::var_os("STRATUNE_DATA") {
        Some(data) => Some(Path::new(&data).join("models/all-MiniLM-L6-v2")),
        None => {
            skipped("STRATUNE_DATA is not set");
            None
        }
    }
}

/// Opinions in a few words, and how they are meant.
fn opinions(rows: usize) -> String {
    let things = ["film", "soup", "hotel", "song", "teacher", "journey", "garden"];
    let good = ["wonderful", "a delight", "better than I hoped", "lovely"];
    let bad = ["awful", "a waste of time", "worse than I feared", "dreadful"];
    let row = |r: usize| {
        let (label, words) = if r.is_multiple_of(2) { ("good", good) } else { ("bad", bad) };
        format!("\"The {} was {}, all of it.\",{label}\n", things[r / 2 % 7], words[r / 3 % 4])
    };
    format!("text,label\n{}", (0..rows).map(row).collect::<String>())
}

#[test]
fn a_classifier_from_rows_to_labels() {
    let Some(model) = minilm() else { return };
    let dir = tempfile::tempdir().unwrap();
    let [rows, out, merged] = ["rows.csv", "run", "merged"].map(|name| dir.path().join(name));
    fs::write(&rows, opinions(96)).unwrap();
    let of_model = ["--model", path(&model), "--device", "cpu"];
    let trained = [
        "train",
        "--json",
        "--data",
        path(&rows),
        "--out",
        path(&out),
        "--steps",
        "12",
        "--batch-size",
        "8",
        "--learning-rate",
        "3e-3",
        "--class-weights",
        "balanced",
        "--evaluation-share",
        "1",
    ];
    let events: Vec<Value> =
        done(&[&trained[..], &of_model].concat()).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let data = events.iter().find(|event| event["event"] == "data").unwrap();
    assert_eq!(data["classes"], serde_json::json!([["bad", 48], ["good", 48]]));
    let last = events.iter().rfind(|event| event["event"] == "validation").unwrap();
    let confusion = &last["labels"]["classes"];
    assert_eq!(confusion["labels"], serde_json::json!(["bad", "good"]));
    let [a, b, c, d] = [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[r, s]| confusion["rows"][r][s].as_u64().unwrap());
    assert!(a + b + c + d == 10 && a + d >= 9, "{last}");

    // PEFT reads the folder as its own kind of task, with the classifier beside the adapter.
    let config: Value = serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(
        (&config["task_type"], &config["modules_to_save"]),
        (&"SEQ_CLS".into(), &serde_json::json!(["classifier"]))
    );

    let texts = ["What a lovely evening.", "A dreadful mistake."];
    let asked = [&["classify", "--json", "--adapter", path(&out)], &of_model[..], &texts].concat();
    let said = done(&asked);
    let labels: Vec<String> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["text"].is_string())
        .map(|line| line["labels"][0][0].as_str().unwrap().to_string())
        .collect();
    assert_eq!(labels, ["good", "bad"]);

    let measured = [&["eval", "--json", "--adapter", path(&out), "--data", path(&rows)], &of_model[..]].concat();
    let measured: Value = serde_json::from_str(done(&measured).lines().last().unwrap()).unwrap();
    assert_eq!(measured["rows"], 96);
    let right: u64 = (0..2).map(|class| measured["classes"]["rows"][class][class].as_u64().unwrap()).sum();
    assert!(right >= 90, "{measured}");

    // Merged it is a folder that classifies by itself.
    done(&["merge", "--model", path(&model), "--adapter", path(&out), "--out", path(&merged)]);
    let again = [&["classify", "--json", "--device", "cpu", "--model", path(&merged)], &texts[..]].concat();
    let by_itself: Vec<String> =
        done(&again).lines().filter(|line| line.contains("\"text\"")).map(str::to_owned).collect();
    let share = |line: &str| serde_json::from_str::<Value>(line).unwrap()["labels"][0][1].as_f64().unwrap();
    for (one, other) in by_itself.iter().zip(said.lines().filter(|line| line.contains("\"text\""))) {
        assert!((share(one) - share(other)).abs() < 1e-4, "{one} {other}");
    }
    let config: Value = serde_json::from_slice(&fs::read(merged.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["id2label"], serde_json::json!({"0": "bad", "1": "good"}));
    let card = fs::read_to_string(merged.join("README.md")).unwrap();
    assert!(card.contains("text-classification") && !merged.join("Modelfile").exists(), "{card}");
}

/// A linear probe: no method, and the classifier alone trains, is kept, and is merged.
#[test]
fn a_classifier_trains_alone() {
    let Some(model) = minilm() else { return };
    let dir = tempfile::tempdir().unwrap();
    let [rows, out, merged] = ["rows.csv", "run", "merged"].map(|name| dir.path().join(name));
    fs::write(&rows, opinions(96)).unwrap();
    let of_model = ["--model", path(&model), "--device", "cpu"];
    let trained = ["train", "--json", "--data", path(&rows), "--out", path(&out), "--method", "none", "--steps", "24"];
    let events = done(
        &[&trained[..], &of_model, &["--warmup-steps", "2", "--batch-size", "8", "--learning-rate", "1e-2"]].concat(),
    );
    let begun: Value = events.lines().find(|line| line.contains("\"begun\"")).unwrap().parse().unwrap();
    // Two labels of 384 numbers and a bias; the pooler before them stays.
    assert_eq!(begun["trainable"], 2 * 385, "{begun}");
    let measured = [&["eval", "--json", "--adapter", path(&out), "--data", path(&rows)], &of_model[..]].concat();
    let of =
        |said: &str| serde_json::from_str::<Value>(said.lines().last().unwrap()).unwrap()["loss"].as_f64().unwrap();
    let loss = of(&done(&measured));
    assert!(loss < 0.6, "half of the rows are of either label: {loss}");
    done(&["merge", "--model", path(&model), "--adapter", path(&out), "--out", path(&merged)]);
    let again = of(&done(&["eval", "--json", "--model", path(&merged), "--device", "cpu", "--data", path(&rows)]));
    assert!((again - loss).abs() < 1e-5, "{again} {loss}");

    let refused = run(&[
        "train",
        "--data",
        "example",
        "--method",
        "none",
        "--device",
        "cpu",
        "--out",
        path(&dir.path().join("no")),
    ]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("no method is named"), "{error}");
}

/// What cannot be learned is told before anything is written.
#[test]
fn what_is_no_classification_is_refused() {
    let Some(model) = minilm() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str], &str); 8] = [
        ("text,label\na,x\nb,y\nc,z\n", &["--label-names", "x", "y"], "'z'"),
        ("text,label\na,x\nb,x\nc,x\n", &[], "one class"),
        ("text,label\na,x\nb,y\n", &["--label-column", "kind"], "no column 'kind'"),
        ("text,label\na,x\nb,y\n", &["--objective", "regression"], "'x'"),
        ("text,label\na,x\nb,y\n", &["--objective", "next_token"], "encoder"),
        ("a,b,c\n1,2,3\n4,5,6\n", &[], "column"),
        ("text,label\na,x\nb,y\n", &["--method", "prompt", "--length", "600"], "context"),
        ("text,label\na,x\nb,y\n", &["--objective", "regression", "--class-weights", "balanced"], "weights"),
    ];
    for (n, (rows, flags, told)) in cases.into_iter().enumerate() {
        let (file, out) = (dir.path().join(format!("{n}.csv")), dir.path().join(format!("out{n}")));
        fs::write(&file, rows).unwrap();
        let arguments =
            ["train", "--model", path(&model), "--device", "cpu", "--data", path(&file), "--out", path(&out)];
        let output = run(&[&arguments[..], flags].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(told), "{flags:?}: {error}");
        assert!(!out.exists(), "{flags:?} left something");
    }
    let output = run(&["generate", "--model", path(&model), "--device", "cpu", "--prompt", "Hello"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("labels texts, and writes none"));
    let output = run(&["classify", "--model", "starter", "--device", "cpu", "Hello"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("labels no texts"));
}

/// A model that writes learns labels where it is told to: its classifier reads the last token.
#[test]
fn a_decoder_learns_labels() {
    let dir = tempfile::tempdir().unwrap();
    let [rows, out] = ["rows.csv", "run"].map(|name| dir.path().join(name));
    fs::write(&rows, opinions(48)).unwrap();
    let of_model = ["--model", "starter", "--device", "cpu"];
    let trained = [
        "train",
        "--json",
        "--data",
        path(&rows),
        "--out",
        path(&out),
        "--objective",
        "classification",
        "--steps",
        "30",
        "--batch-size",
        "8",
        "--learning-rate",
        "1e-2",
        "--ist",
    ];
    let events: Vec<Value> =
        done(&[&trained[..], &of_model].concat()).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let losses: Vec<f64> =
        events.iter().filter(|e| e["event"] == "validation").filter_map(|e| e["loss"].as_f64()).collect();
    assert!(losses.last() < losses.first(), "{losses:?}");
    let config: Value = serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["task_type"], &config["modules_to_save"]), (&"SEQ_CLS".into(), &serde_json::json!(["score"])));
    let said =
        done(&[&["classify", "--json", "--adapter", path(&out), "The soup was dreadful."], &of_model[..]].concat());
    let labels: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(labels["labels"].as_array().unwrap().len(), 2, "{labels}");
    // What was trained on labels writes no text.
    let output = run(&[&["generate", "--adapter", path(&out), "--prompt", "Hello"], &of_model[..]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("labels texts"));
}
