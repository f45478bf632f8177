//! Runs that are killed, and go on.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::{SHORT, done, path, run, stratune};

fn begin(out: &Path) -> Child {
    let mut command = stratune(&SHORT);
    command.args(["--steps", "12", "--checkpoint-every", "2", "--eval-every", "5", "--out", path(out), "--json"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until a checkpoint is there and a little later, in the middle of the steps.
fn wait_for_checkpoint(out: &Path, child: &mut Child) {
    let began = Instant::now();
    while !out.join("checkpoint.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it wrote a checkpoint");
        assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint in two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(150));
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Killed without warning, or asked to stop: the adapter in the end is the uninterrupted run's, byte for byte, and
/// metrics.jsonl has every step once.
#[test]
fn a_killed_run_goes_on_to_the_same_end() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    assert!(begin(&whole).wait().unwrap().success());
    let expected = fs::read(whole.join("adapter_model.safetensors")).unwrap();

    for (name, code) in [("-KILL", None), ("-TERM", Some(130)), ("-INT", Some(130))] {
        let out = dir.path().join(name);
        let mut child = begin(&out);
        wait_for_checkpoint(&out, &mut child);
        signal(&child, name);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), code, "{name}");
        // Device and what it multiplies in may change, where the device can.
        let refused = run(&["train", "--resume", "--compute-dtype", "f16", "--out", path(&out)]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("does not multiply in f16"), "{name}");
        done(&["train", "--resume", "--out", path(&out)]);
        assert!(fs::read(out.join("adapter_model.safetensors")).unwrap() == expected, "{name}: another adapter");
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let steps: Vec<u64> = metrics
            .lines()
            .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
            .filter(|e| e["event"] == "step")
            .map(|e| e["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, (1..=12).collect::<Vec<_>>(), "{name}");
    }
}

/// A folder that holds a run is not written over by accident.
#[test]
fn a_run_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("adapter_model.safetensors"), "precious").unwrap();
    let mut arguments = SHORT.to_vec();
    arguments.extend(["--steps", "1", "--out", path(dir.path())]);
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--overwrite"));
    assert_eq!(fs::read(dir.path().join("adapter_model.safetensors")).unwrap(), b"precious");
    assert_eq!(run(&["train", "--resume", "--out", path(dir.path())]).status.code(), Some(2), "no checkpoint");
}

/// Everything in a folder.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |e: std::io::Result<fs::DirEntry>| {
        let e = e.unwrap();
        (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())
    };
    fs::read_dir(dir).unwrap().map(entry).collect()
}

/// Told to replace a run, one that does not start, or that comes to nothing before its first checkpoint, leaves every file as it
/// was; and one that comes to an end has replaced them all.
#[test]
fn a_run_is_replaced_when_another_is_safe_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let (out, data) = (dir.path().join("run"), dir.path().join("rows.jsonl"));
    done(&[&SHORT[..], &["--steps", "2", "--out", path(&out)]].concat());
    let before = files(&out);
    assert!(before.contains_key("checkpoint.safetensors") && before.contains_key("adapter_model.safetensors"));
    fs::write(&data, "{}\n").unwrap();

    let again = |more: &[&str]| run(&[&SHORT[..], more, &["--out", path(&out), "--overwrite"]].concat());
    for (more, code) in [
        (&["--data", "nowhere.jsonl"][..], 2),
        (&["--data", path(&data)], 2),
        (&["--layers", "99"], 2),
        (&["--compute-dtype", "f16"], 2),
        // Its loss is no number before it comes to a checkpoint.
        (&["--learning-rate", "1e30", "--clip-norm", "0", "--warmup-steps", "0", "--steps", "9"], 3),
    ] {
        let output = again(more);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(files(&out) == before, "{more:?} has touched {:?}", files(&out).keys());
    }

    let model = ["train", "--model", "nowhere", "--data", "example", "--out", path(&out), "--overwrite"];
    assert_eq!(run(&model).status.code(), Some(2));
    assert!(files(&out) == before);

    // Killed before its first checkpoint, it leaves at most what is its own.
    let mut child = stratune(&SHORT);
    child.args(["--steps", "900", "--checkpoint-every", "0", "--out", path(&out), "--overwrite", "--json"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let told = std::io::BufReader::new(child.stdout.take().unwrap());
    let step = std::io::BufRead::lines(told).map_while(Result::ok).find(|line| line.contains("\"event\":\"step\""));
    assert!(step.is_some(), "a step was taken");
    signal(&child, "-KILL");
    child.wait().unwrap();
    let after = files(&out);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)), "{:?}", after.keys());

    assert!(again(&["--steps", "3"]).status.success());
    let after = files(&out);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "nothing else is left");
    let metrics = String::from_utf8_lossy(&after["metrics.jsonl"]).into_owned();
    assert_eq!(metrics.lines().filter(|l| l.contains("\"event\":\"step\"")).count(), 3);
    for name in ["checkpoint.safetensors", "adapter_model.safetensors", "run.toml"] {
        assert!(after[name] != before[name], "{name}");
    }
}

/// The same of a model that is made anew: its tokenizer goes with it and not before.
#[test]
fn a_model_is_replaced_when_another_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, out) = (dir.path().join("recipe"), dir.path().join("out"));
    fs::create_dir(&recipe).unwrap();
    let config = serde_json::json!({"model_type": "llama", "vocab_size": 270, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32, "tie_word_embeddings": true});
    fs::write(recipe.join("config.json"), config.to_string()).unwrap();
    let texts = ["The rain falls on the hill. ", "A quick brown fox jumps over it. "].map(|text| text.repeat(100));
    let data = ["0.txt", "1.txt"].map(|name| dir.path().join(name));
    (0..2).for_each(|i| fs::write(&data[i], &texts[i]).unwrap());
    let make = |text: usize, rate: &str, more: &[&str]| {
        let toml = format!("[data]\nmax_length = 16\n[train]\nsteps = 4\nlearning_rate = {rate}\n");
        fs::write(recipe.join("run.toml"), toml + "clip_norm = 0.0\nwarmup_steps = 0\n").unwrap();
        let arguments = ["pretrain", "--config", path(&recipe), "--data", path(&data[text]), "--out", path(&out)];
        run(&[&arguments[..], &["--device", "cpu"], more].concat())
    };
    assert!(make(0, "0.01", &[]).status.success());
    let before = files(&out);
    let failed = make(1, "1e30", &["--overwrite"]);
    assert_eq!(failed.status.code(), Some(3), "{}", String::from_utf8_lossy(&failed.stderr));
    assert!(files(&out) == before, "a run that came to nothing has touched the model");
    assert!(make(1, "0.01", &["--overwrite"]).status.success());
    let after = files(&out);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(
        after["tokenizer.json"] != before["tokenizer.json"]
            && after["model.safetensors"] != before["model.safetensors"]
    );
    // What goes on takes its tokenizer from the checkpoint.
    fs::remove_file(out.join("tokenizer.json")).unwrap();
    let resumed = make(1, "0.01", &["--resume", "--steps", "6"]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert!(files(&out)["tokenizer.json"] == after["tokenizer.json"]);
}

/// A disk that takes no more: the run says so and names the file, nothing half-written is left, and the checkpoint from
/// before still goes on to the end. A limit on the size of files stands in for the full disk.
#[test]
fn a_full_disk_costs_nothing_that_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut child = begin(&out);
    wait_for_checkpoint(&out, &mut child);
    signal(&child, "-KILL");
    child.wait().unwrap();
    let before = fs::read(out.join("checkpoint.safetensors")).unwrap();

    let words = "trap '' XFSZ; ulimit -f 100; exec \"$0\" train --resume --out \"$1\"";
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["-c", words, env!("CARGO_BIN_EXE_stratune"), path(&out)]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("checkpoint.safetensors") && error.contains("File too large"), "{error}");
    assert!(fs::read(out.join("checkpoint.safetensors")).unwrap() == before, "the checkpoint was touched");
    let names: Vec<String> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|n| !n.contains("tmp") && !n.contains("adapter")), "{names:?}");

    done(&["train", "--resume", "--out", path(&out)]);
    assert!(out.join("adapter_model.safetensors").exists());
}
