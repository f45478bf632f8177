//! Models and datasets by their id, from a hub on the machine itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::loopback_hub::{Fault, LoopbackHub, Repository};
use crate::{path, stratune};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The starter, as a repository.
fn hub() -> LoopbackHub {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../session/assets/starter");
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    let files = names.map(|name| fs::read(assets.join(name)).unwrap());
    let files: Vec<_> =
        names.iter().zip(&files).map(|(name, bytes)| (*name, bytes.as_slice(), name.ends_with("tensors"))).collect();
    LoopbackHub::start(vec![Repository::new("toy/starter", COMMIT, &files)])
}

/// `stratune` that knows this hub, keeps its files in `home`, and runs there.
fn asking(server: &LoopbackHub, home: &Path, arguments: &[&str]) -> Command {
    let mut command = stratune(arguments);
    command.current_dir(home).env("HF_HOME", home.join("hf")).env("HF_ENDPOINT", server.base());
    for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.env_remove("TRANSFORMERS_OFFLINE");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const PROMPT: [&str; 6] = ["--prompt", "The", "--max-tokens", "2", "--device", "cpu"];

fn generate(model: &str) -> Vec<&str> {
    ["generate", "--model", model].into_iter().chain(PROMPT).collect()
}

#[test]
fn a_model_is_fetched_by_its_id_and_kept() {
    let (server, home) = (hub(), tempfile::tempdir().unwrap());
    let home = home.path();
    server.fault("/xet-bridge/", Fault::CutBody(1000));
    let output = asking(&server, home, &generate("toy/starter")).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for part in ["toy/starter at main (01234567)", "licence apache-2.0", "in 4 files from 127.0.0.1 into", "hf/hub"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let log = server.take_log();
    let resumed =
        log.iter().filter(|asked| asked.range.as_deref().is_some_and(|r| r.starts_with("bytes=1000-"))).count();
    assert_eq!(resumed, 2, "at the hub and at the server of large files: {log:?}");

    let again = asking(&server, home, &generate("toy/starter")).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(again.status.success() && said(&again).contains("taken from the cache"), "{}", said(&again));
    assert_eq!(again.stdout, output.stdout);
    assert!(server.take_log().is_empty(), "offline, nothing is asked");

    let out = home.join("run");
    let train =
        ["train", "--model", "toy/starter", "--data", "example", "--device", "cpu", "--steps", "1", "--rank", "2"];
    let more = ["--max-length", "32", "--batch-size", "1", "--eval-every", "0", "--out", path(&out)];
    let arguments: Vec<&str> = train.into_iter().chain(more).collect();
    let output = asking(&server, home, &arguments).output().unwrap();
    assert!(output.status.success() && said(&output).contains("all in the cache"), "{}", said(&output));
    let kept = fs::read_to_string(out.join("run.toml")).unwrap();
    assert!(kept.contains(&format!("model = \"toy/starter@{COMMIT}\"")), "{kept}");
    let adapter: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(adapter["base_model_name_or_path"], "toy/starter");
    assert_eq!(adapter["revision"], COMMIT);

    server.forget();
    server.fault_always("/api/", Fault::Status(404, vec![("X-Error-Code", "RevisionNotFound".into())]));
    let output = asking(&server, home, &generate("toy/starter@v9")).output().unwrap();
    assert!(said(&output).contains("toy/starter has no revision v9"), "{}", said(&output));
}

const CONVERTED: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// Rows, as they are and as the hub converts them.
fn rows() -> LoopbackHub {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/rows");
    let file = |name| fs::read(fixtures.join(name)).unwrap();
    let (snappy, gzip, plain, own) =
        (file("snappy.parquet"), file("gzip.parquet"), file("plain.parquet"), file("rows.jsonl"));
    let converted: [(&str, &[u8], bool); 3] = [
        ("default/train/0000.parquet", &snappy, true),
        ("default/train/0001.parquet", &gzip, true),
        ("default/test/0000.parquet", &plain, true),
    ];
    let converted = Repository::dataset("toy/rows", CONVERTED, &converted);
    let branch = Some("refs/convert/parquet".into());
    LoopbackHub::start(vec![
        Repository::dataset("toy/rows", COMMIT, &[("README.md", b"# rows", false), ("train.jsonl", &own, false)]),
        Repository { branch, ..converted },
    ])
}

#[test]
fn a_dataset_is_fetched_by_its_id_and_kept() {
    let (server, home) = (rows(), tempfile::tempdir().unwrap());
    let home = home.path();
    let count = |name: &str, offline: &str| {
        let mut command = asking(&server, home, &["inspect", name, "--json"]);
        let output = command.env("HF_HUB_OFFLINE", offline).output().unwrap();
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let found: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        (found["rows"].as_u64().unwrap(), lines)
    };
    server.fault("/xet-bridge/", Fault::CutBody(1000));
    let of = |rest: &str| format!("https://huggingface.co/datasets/toy/rows{rest}");
    let (test, _) = count(&of("/viewer/default/test"), "0");
    assert!(test > 10, "{test}");
    assert!(server.take_log().iter().any(|asked| asked.range.as_deref().is_some_and(|r| r.starts_with("bytes=1000-"))));
    let (train, told) = count(&of(""), "0");
    assert_eq!(train, 2 * test, "of several files");
    assert!(told.contains("rows default/train (others: default/test)"), "{told}");
    assert_eq!(count(&of("/blob/main/train.jsonl"), "0").0, test);

    server.forget();
    assert_eq!(count(&of("/viewer/default/train"), "1").0, train);
    let out = home.join("run");
    let train =
        ["train", "--model", "starter", "--data", "toy/rows", "--validation", "toy/rows:test", "--device", "cpu"];
    let more = ["--steps", "1", "--rank", "2", "--max-length", "32", "--batch-size", "1", "--out", path(&out)];
    let arguments: Vec<&str> = train.into_iter().chain(more).collect();
    let output = asking(&server, home, &arguments).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(output.status.success() && said(&output).contains("taken from the cache"), "{}", said(&output));
    assert!(server.take_log().is_empty(), "offline, nothing is asked");
    let kept = fs::read_to_string(out.join("run.toml")).unwrap();
    for name in ["default/train", "default/test"] {
        assert!(kept.contains(&format!("files = [\"toy/rows@{CONVERTED}:{name}\"]")), "{kept}");
    }

    let none = home.join("x");
    for (name, what) in [
        ("toy/rows:none", "no part none; there are default/test, default/train"),
        ("toy/none", "toy/none is not on the hub, or is private (and there is no file or folder"),
        ("toy/none.csv", "cannot read the file"),
    ] {
        let train = ["train", "--model", "starter", "--data", name, "--device", "cpu", "--out", path(&none)];
        let output = asking(&server, home, &train).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(said(&output).contains(what), "{name}: {}", said(&output));
    }
}

#[test]
fn nothing_is_asked_without_an_id() {
    let (server, home) = (hub(), tempfile::tempdir().unwrap());
    let home = home.path();
    fs::create_dir_all(home.join("toy/starter")).unwrap();
    for (model, what) in [
        ("toy/starter", "config.json is missing"),
        ("none", "there is no such file or folder, and it is no model's id"),
        ("./toy/none", "there is no such file or folder, and it is no model's id"),
        ("toy/none.gguf", "there is no such file or folder, and it is no model's id"),
        ("toy/no--ne", "is not the name of a repository on the hub"),
    ] {
        let output = asking(&server, home, &generate(model)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{model}");
        assert!(said(&output).contains(what), "{model}: {}", said(&output));
    }
    assert!(asking(&server, home, &generate("starter")).output().unwrap().status.success());
    assert!(server.take_log().is_empty(), "nothing is asked");
    let output = asking(&server, home, &generate("toy/none")).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("toy/none is not on the hub, or is private (and there is no file or folder"), "{text}");
}
