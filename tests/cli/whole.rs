//! From data to an adapter and on to text, marks and a merged model.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::skipped::skipped;
use crate::{SHORT, done, path, stratune};

#[test]
fn a_run_and_what_is_done_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (out, merged) = (dir.path().join("run"), dir.path().join("merged"));
    let mut arguments = SHORT.to_vec();
    arguments.extend(["--steps", "8", "--eval-every", "4", "--evaluation-share", "1", "--out", path(&out), "--json"]);
    let events: Vec<Value> = done(&arguments).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let count = |name: &str| events.iter().filter(|e| e["event"] == name).count();
    assert_eq!((count("ready"), count("model"), count("data"), count("begun"), count("ended")), (1, 1, 1, 1, 1));
    assert_eq!((count("step"), count("importance"), count("validation")), (8, 2, 3));
    assert!(count("sample") >= 4, "log-spaced samples");
    assert!(events.iter().filter(|e| e["event"] == "sample").all(|e| e["prompt"] == SHORT[SHORT.len() - 1]));
    for step in events.iter().filter(|e| e["event"] == "step") {
        assert!(step["loss"].as_f64().unwrap() > 0.0 && step["learning_rate"].as_f64().unwrap() > 0.0);
        assert!(step["tokens_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(step["sampled"].as_array().unwrap().len(), 2);
    }
    for file in
        ["adapter_config.json", "adapter_model.safetensors", "run.toml", "metrics.jsonl", "checkpoint.safetensors"]
    {
        assert!(out.join(file).exists(), "{file}");
    }
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().filter(|l| l.contains("\"event\":\"step\"")).count(), 8);

    // The same configuration from its file gives the same adapter, byte for byte.
    let again = dir.path().join("again");
    done(&["train", "--config", path(&out.join("run.toml")), "--out", path(&again)]);
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(again.join(file)).unwrap(), "{file}");
    }

    let prompt = [
        "--prompt",
        "The widow stood by the fire at dawn.",
        "--as-instruction",
        "--max-tokens",
        "12",
        "--device",
        "cpu",
    ];
    let tuned = done(&[&["generate", "--adapter", path(&out)], &prompt[..]].concat());
    done(&["merge", "--model", "starter", "--adapter", path(&out), "--out", path(&merged)]);
    assert_eq!(done(&[&["generate", "--model", path(&merged)], &prompt[..]].concat()), tuned, "merged says the same");

    let rows = dir.path().join("rows.jsonl");
    fs::write(&rows, "{\"prompt\": \"Tom came to the mill at dawn.\", \"completion\": \"{}\"}\n".repeat(3)).unwrap();
    let eval = ["eval", "--adapter", path(&out), "--data", path(&rows), "--device", "cpu", "--json"];
    let marks: Value = serde_json::from_str(done(&eval).lines().last().unwrap()).unwrap();
    assert_eq!((marks["rows"].as_u64(), marks["questions"].as_u64()), (Some(3), Some(3)));
    assert!(marks["loss"].as_f64().unwrap() > 0.0);

    // On a base of 8 bits: the run says so, goes on from its file, and its adapter answers on either base.
    let few = dir.path().join("few");
    done(&[&SHORT[..], &["--steps", "2", "--base-dtype", "int8", "--packing", "false", "--out", path(&few)]].concat());
    let config = fs::read_to_string(few.join("run.toml")).unwrap();
    assert!(config.contains("base_dtype = \"int8\"") && config.contains("packing = false"), "{config}");
    for dtype in ["int8", "f32"] {
        let answer = done(&[&["generate", "--adapter", path(&few), "--base-dtype", dtype], &prompt[..]].concat());
        assert!(!answer.trim().is_empty(), "{dtype}");
    }

    for (what, kind) in
        [(path(&merged), "model"), (path(&out), "adapter"), ("example", "dataset"), ("starter", "model")]
    {
        let found: Value = serde_json::from_str(&done(&["inspect", what, "--json"])).unwrap();
        assert_eq!(found["kind"], kind, "{what}");
    }
    let checkpoint = out.join("checkpoint.safetensors");
    let found: Value = serde_json::from_str(&done(&["inspect", path(&checkpoint), "--json"])).unwrap();
    assert_eq!((found["kind"].as_str(), found["step"].as_u64()), (Some("checkpoint"), Some(8)));
}

/// Measuring takes a tenth of the time at most unless more is asked for, which is told; and every phase that takes long says so.
#[test]
fn a_short_run_is_not_spent_on_measuring() {
    let dir = tempfile::tempdir().unwrap();
    let events = |more: &[&str]| -> Vec<Value> {
        let out = dir.path().join(more.len().to_string());
        let told = done(&[&SHORT[..], &["--steps", "20", "--json", "--out", path(&out)], more].concat());
        told.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    let notices = |events: &[Value]| -> Vec<String> {
        let notices = events.iter().filter(|e| e["event"] == "notice");
        notices.map(|e| e["text"].as_str().unwrap().to_string()).filter(|text| text.contains("held-out")).collect()
    };
    // 20 steps of 2 rows are worth 80 forward passes of a row: a ninth of these, of which two thirds, for two validations: 3 rows.
    let few = events(&[]);
    let told = notices(&few).remove(0);
    let measured = told.strip_prefix("validations measure ").and_then(|rest| rest.split_once(" of 48 held-out rows"));
    assert!(matches!(measured.and_then(|m| m.0.parse().ok()), Some(2..=4)), "{told}");
    let phases: BTreeSet<&str> =
        few.iter().filter(|e| e["event"] == "progress").map(|e| e["what"].as_str().unwrap()).collect();
    for phase in [
        "attaching LoRA r2",
        "testing the device at the sizes of the run",
        "measuring held-out rows",
        "continuing prompts",
        "learning which layers matter",
    ] {
        assert!(phases.contains(phase), "{phase}: {phases:?}");
    }
    assert!(notices(&events(&["--evaluation-share", "1"])).is_empty());
}

/// What a run would need is told before it begins, with what would help if it does not fit, and how long it would take.
#[test]
fn a_run_is_forecast() {
    let found = |arguments: &[&str]| -> Value {
        let arguments = [&["inspect"], arguments, &["--device", "cpu", "--json"]].concat();
        serde_json::from_str::<Value>(&done(&arguments)).unwrap()["forecast"].take()
    };
    let forecast = found(&["starter", "--data", "example", "--batch-size", "2", "--steps", "6", "--trial"]);
    let parts: u64 = ["weights", "values", "optimiser", "graphs", "inputs", "work", "checkpoint"]
        .iter()
        .map(|part| forecast["parts"][part].as_u64().unwrap())
        .sum();
    assert_eq!(forecast["bytes"].as_u64(), Some(parts));
    assert_eq!((forecast["rows"].as_u64(), forecast["pace"]["steps"].as_u64()), (Some(2), Some(6)));
    assert!(forecast["positions"].as_u64().unwrap() < 256, "the example's rows are short: {forecast}");
    assert!(forecast["seconds"].as_f64().unwrap() > 6.0 * forecast["pace"]["step"].as_f64().unwrap());

    // Without data rows are as long as they may be; a quarter of a million million positions fit into no machine.
    let large = found(&["--model", "starter", "--batch-size", "1000000000", "--max-length", "512"]);
    assert!(large["pace"].is_null() && large["positions"] == 256, "{large}");
    if large["limits"]["memory"].is_null() {
        assert_eq!(large["verdict"], "unknown");
    } else {
        assert_eq!(large["verdict"], "wont_fit");
        let remedy = &large["remedies"][0];
        assert!(remedy["settings"].as_str().unwrap().starts_with("batch_size "), "{large}");
        assert!(remedy["bytes"].as_u64() < large["bytes"].as_u64());
    }
    let told = done(&["inspect", "starter", "--method", "full", "--device", "cpu"]);
    assert!(told.contains("fingerprint") && told.contains("gradients and moments"), "{told}");
    assert!(["\nFits: ", "\nTight: ", "\nWon't fit: ", "\nNeeds "].iter().any(|v| told.contains(v)), "{told}");
}

/// Looking for a GPU where there is no display writes nothing on standard error: what is there is what we say.
#[test]
fn a_machine_without_a_display_is_no_error() {
    let mut command = stratune(&["inspect", "starter", "--data", "example"]);
    for name in ["XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY", "NODEVICE_SELECT"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn bench_measures_modes_side_by_side() {
    let geometry = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tiny-llama/config.json");
    let arguments = [
        "bench",
        "--geometry",
        geometry,
        "--batch",
        "2",
        "--seq",
        "16",
        "--steps",
        "3",
        "--ist=faithful,practical",
        "--device",
        "cpu",
        "--json",
    ];
    let reports: Vec<Value> = done(&arguments).lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect();
    let modes: Vec<&str> = reports.iter().map(|r| r["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["all", "faithful", "practical"]);
    for report in &reports {
        for number in [
            "tokens_per_second",
            "step_seconds",
            "peak_bytes",
            "average_bytes",
            "time_ratio",
            "step_flops",
            "flops_share",
            "bytes_share",
        ] {
            assert!(report[number].as_f64().unwrap() > 0.0, "{number}: {report}");
        }
    }
    assert_eq!(reports[0]["time_ratio"].as_f64(), Some(1.0));
}

#[test]
fn bench_says_how_cost_grows_with_length() {
    let geometry = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tiny-llama/config.json");
    let bench = ["bench", "--geometry", geometry, "--steps", "2", "--device", "cpu", "--json", "--seq"];
    let rows: Vec<Value> =
        done(&[&bench[..], &["8,128"]].concat()).lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect();
    let of = |row: usize, name: &str| rows[row][name].as_f64().unwrap();
    assert_eq!((of(0, "seq"), of(1, "seq"), of(1, "tokens")), (8.0, 128.0, 256.0));
    assert_eq!((of(0, "seconds_ratio"), of(0, "bytes_ratio")), (1.0, 1.0));
    assert!(of(1, "flops_ratio") > 1.0, "attention compares more: {}", rows[1]);
    assert!(of(1, "peak_bytes") > of(0, "peak_bytes"), "{rows:?}");
}

#[test]
fn bench_says_what_time_is_spent_on() {
    let geometry = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tiny-llama/config.json");
    let bench = ["bench", "--geometry", geometry, "--steps", "1", "--device", "cpu", "--json", "--profile"];
    let report: Value = serde_json::from_str(done(&bench).lines().nth(1).unwrap()).unwrap();
    let shares = report["profile"].as_array().unwrap();
    let calls = |name: &str| shares.iter().find(|s| s["name"] == name).unwrap()["calls"].as_f64().unwrap();
    // Three blocks, each run twice and gone back through once.
    assert_eq!((calls("attention, forward"), calls("attention, backward"), calls("optimiser")), (6.0, 3.0, 1.0));
    assert!(shares.iter().all(|s| s["seconds"].as_f64().unwrap() >= 0.0), "{report}");
    let sum: f64 = shares.iter().map(|s| s["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{report}");

    // An encoder learns labels, and predicts nothing over its vocabulary.
    let geometry = geometry.replace("tiny-llama", "tiny-bert");
    let bench =
        ["bench", "--geometry", &geometry, "--seq", "16", "--steps", "1", "--device", "cpu", "--json", "--profile"];
    let report: Value = serde_json::from_str(done(&bench).lines().nth(1).unwrap()).unwrap();
    let spent = |name: &str| report["profile"].as_array().unwrap().iter().any(|s| s["name"] == name);
    assert!(spent("attention, backward") && !spent("output layer and loss"), "{report}");
}

/// Forward, backward and update of a block, whatever its base is kept in. Adapters that bind few buffers gather gradients in
/// one more.
#[test]
fn a_block_takes_few_dispatches() {
    let geometry = concat!(env!("CARGO_MANIFEST_DIR"), "/../session/assets/starter/recipe/config.json");
    // The same with norms of heads.
    let folder = tempfile::tempdir().unwrap();
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(geometry).unwrap()).unwrap();
    config["model_type"] = "qwen3".into();
    let normed = folder.path().join("config.json").to_string_lossy().into_owned();
    std::fs::write(&normed, config.to_string()).unwrap();
    // What a GPU is given to do, which any adapter does when it is told to, and what a software adapter is.
    for (adapter, geometry, what, most) in [
        ("gpu", geometry, &[][..], 20),
        ("gpu", geometry, &["--base-dtype", "int4"], 20),
        ("gpu", geometry, &["--targets", "q_proj,v_proj"], 17),
        ("gpu", geometry, &["--method", "bitfit"], 23),
        ("gpu", &normed, &[], 23),
        ("its own", geometry, &[], 34),
        ("its own", geometry, &["--base-dtype", "int4"], 34),
        ("its own", &normed, &[], 34),
    ] {
        let of = ["bench", "--geometry", geometry, "--batch", "2", "--seq", "64", "--keep-graphs", "8", "--steps", "1"];
        let arguments = [&of[..], what, &["--device", "wgpu", "--json"]].concat();
        let output = stratune(&arguments).env("STRATUNE_ADAPTER", adapter).output().unwrap();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains("no usable GPU"), "{error}");
            skipped(error.trim());
            return;
        }
        let report = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(report.lines().nth(1).unwrap()).unwrap();
        let dispatches = report["traffic"]["dispatches_a_block"].as_u64().unwrap();
        println!("{adapter}, {what:?}: {dispatches} dispatches a block");
        assert!((10..=most).contains(&dispatches), "{adapter}, {what:?}: {dispatches}");
    }
}

#[test]
fn bench_sets_the_end_of_a_long_run_beside_its_beginning() {
    let geometry = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tiny-llama/config.json");
    let bench = ["bench", "--geometry", geometry, "--seq", "8", "--steps", "50", "--device", "cpu", "--json"];
    let report: Value = serde_json::from_str(done(&bench).lines().nth(1).unwrap()).unwrap();
    let long = &report["long_run"];
    let [first, last] = [0, 1].map(|i| long["step_seconds"][i].as_f64().unwrap());
    assert!((long["slowdown"].as_f64().unwrap() - (1.0 - first / last)).abs() < 1e-9, "{long}");
    // A CPU's tensors are heap: after 50 steps no more than after 5, but for a buffer of 1 MiB that the product library takes
    // for a core when the core first has work.
    let [then, now] = [0, 1].map(|i| long["device_bytes"][i].as_f64().unwrap());
    assert!(then > 0.0 && now < then + 1.1 * f64::from(1 << 20), "{long}");
}

/// A model made from text alone loads, speaks, and its bits a byte are measured.
#[test]
fn a_model_from_text_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, out, text) = (dir.path().join("recipe"), dir.path().join("out"), dir.path().join("text.txt"));
    fs::create_dir(&recipe).unwrap();
    let config = serde_json::json!({"model_type": "llama", "vocab_size": 280, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": true});
    fs::write(recipe.join("config.json"), config.to_string()).unwrap();
    fs::write(
        recipe.join("run.toml"),
        "[data]\nmax_length = 32\n[train]\nsteps = 30\nbatch_size = 8\nlearning_rate = 0.01\n",
    )
    .unwrap();
    fs::write(&text, "The rain falls on the hill, and the river runs to the sea. ".repeat(200)).unwrap();
    done(&["pretrain", "--config", path(&recipe), "--data", path(&text), "--out", path(&out), "--device", "cpu"]);
    let record: Value = serde_json::from_slice(&fs::read(out.join("pretrain.json")).unwrap()).unwrap();
    // The sentence repeats: 8 bits a byte before, far less after a few steps.
    assert!(record["bits_per_byte"].as_f64().unwrap() < 2.0, "{record}");
    let told = done(&[
        "generate",
        "--model",
        path(&out),
        "--prompt",
        "The rain falls",
        "--max-tokens",
        "5",
        "--device",
        "cpu",
    ]);
    assert!(!told.trim().is_empty());
}
