//! One cache for all tools: what is fetched here is read by huggingface_hub, and the reverse.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use pollster::block_on;
use stratune_protocol::HubId;

use crate::Cache;
use crate::testing::{COMMIT, LoopbackHub, Repository, hub_without_token};

#[allow(missing_docs)]
#[path = "../../../tests/src/skipped.rs"]
mod skipped;

const WEIGHTS: &[u8] = b"weights";

fn repository() -> Repository {
    let files: [(&str, &[u8], bool); 4] = [
        ("config.json", b"{}", false),
        ("tokenizer.json", b"[]", false),
        ("model.safetensors", WEIGHTS, true),
        ("gguf/toy-Q8_0.gguf", b"gguf", true),
    ];
    Repository::new("owner/toy", COMMIT, &files)
}

/// Runs lines of Python with this hub and cache; gives what they print.
fn python(server: &LoopbackHub, cache: &Path, offline: bool, lines: &str) -> Option<String> {
    let Some(interpreter) = std::env::var_os("STRATUNE_PYTHON") else {
        skipped::skipped("STRATUNE_PYTHON names no Python with huggingface_hub");
        return None;
    };
    let mut command = Command::new(interpreter);
    command.args(["-c", lines]).env("HF_HUB_CACHE", cache).env("HF_ENDPOINT", server.base());
    command.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_OFFLINE", if offline { "1" } else { "0" });
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn fetch(server: &LoopbackHub, cache: &Cache, id: &str) {
    let (hub, id) = (hub_without_token(server), HubId::read(id).unwrap().unwrap());
    let mut watch = |_: &crate::Progress| ControlFlow::Continue(());
    let model = block_on(hub.model(&id, &|_, _| None, &mut watch)).unwrap();
    block_on(cache.fetch(&hub, &model.remote, &mut watch)).unwrap();
}

#[test]
fn python_reads_what_is_fetched_here() {
    let (server, dir) = (LoopbackHub::start(vec![repository()]), tempfile::tempdir().unwrap());
    let cache = Cache::new(dir.path());
    for id in ["owner/toy@refs/pr/1", "owner/toy:Q8_0"] {
        fetch(&server, &cache, id);
    }
    server.forget();
    let lines = r#"
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
for name, revision in [("config.json", "refs/pr/1"), ("model.safetensors", "refs/pr/1"), ("gguf/toy-Q8_0.gguf", None)]:
    path = hf_hub_download("owner/toy", name, revision=revision, local_files_only=True)
    print(open(path).read())
print(snapshot_download("owner/toy", local_files_only=True).rsplit("/", 1)[1])
found = scan_cache_dir()
assert not found.warnings, found.warnings
[repository] = found.repos
print(repository.repo_id, repository.nb_files, sorted(repository.refs))
"#;
    let Some(said) = python(&server, dir.path(), true, lines) else { return };
    assert_eq!(said, format!("{{}}\nweights\ngguf\n{COMMIT}\nowner/toy 4 ['main', 'refs/pr/1']\n"));
    assert!(server.take_log().is_empty());
}

#[test]
fn python_reads_rows_that_are_fetched_here() {
    let files: [(&str, &[u8], bool); 2] =
        [("default/train/0000.parquet", b"first", true), ("default/train/0001.parquet", b"second", true)];
    let branch = Some("refs/convert/parquet".to_string());
    let converted = Repository { branch, ..Repository::dataset("owner/rows", COMMIT, &files) };
    let own = Repository::dataset("owner/rows", &COMMIT.replace('0', "f"), &[("train.jsonl", b"{}", false)]);
    let (server, dir) = (LoopbackHub::start(vec![own, converted]), tempfile::tempdir().unwrap());
    let (hub, cache) = (hub_without_token(&server), Cache::new(dir.path()));
    let mut watch = |_: &crate::Progress| ControlFlow::Continue(());
    let rows = block_on(hub.dataset(&HubId::read_dataset("owner/rows").unwrap().unwrap(), &mut watch)).unwrap();
    block_on(cache.fetch(&hub, &rows.remote, &mut watch)).unwrap();
    server.forget();
    let lines = r#"
from huggingface_hub import hf_hub_download, scan_cache_dir
for name in ["default/train/0000.parquet", "default/train/0001.parquet"]:
    kept = dict(repo_type="dataset", revision="refs/convert/parquet", local_files_only=True)
    print(open(hf_hub_download("owner/rows", name, **kept)).read())
found = scan_cache_dir()
assert not found.warnings, found.warnings
[repository] = found.repos
print(repository.repo_id, repository.repo_type, sorted(repository.refs))
"#;
    let Some(said) = python(&server, dir.path(), true, lines) else { return };
    assert_eq!(said, "first\nsecond\nowner/rows dataset ['refs/convert/parquet']\n");
    assert!(server.take_log().is_empty());
}

#[test]
fn what_python_fetches_is_used_here() {
    let (server, dir) = (LoopbackHub::start(vec![repository()]), tempfile::tempdir().unwrap());
    let lines = r#"
from huggingface_hub import hf_hub_download
for name in ["config.json", "tokenizer.json", "model.safetensors"]:
    hf_hub_download("owner/toy", name)
"#;
    if python(&server, dir.path(), false, lines).is_none() {
        return;
    }
    let cache = Cache::new(dir.path());
    let kept = cache.kept(&HubId::read("owner/toy").unwrap().unwrap()).unwrap();
    assert_eq!(fs::read(kept.path.join("model.safetensors")).unwrap(), WEIGHTS);
    server.forget();
    fetch(&server, &cache, "owner/toy");
    let log = server.take_log();
    assert!(log.iter().all(|asked| asked.target.starts_with("/api/models/")), "no file comes twice: {log:?}");
}
