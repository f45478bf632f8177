//! Runs that are killed, and go on.
#![cfg(unix)]

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
