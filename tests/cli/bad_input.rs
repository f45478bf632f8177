//! Wrong input: a clear error that names file, row or field and the next step, exit code 2 or 3, nothing written, no panic.

use std::fs;
use std::path::Path;

use crate::{path, run};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tiny-llama");
/// A tokenizer of three words.
const WORDS: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": null, "decoder": null, "truncation": null, "padding": null,
    "model": {"type": "WordLevel", "vocab": {"?": 0, "the": 1, "mill": 2}, "unk_token": "?"}}"#;

/// A tokenizer of more words than the model knows.
const TOKENIZER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tokenizer/tokenizer.json");

/// A copy of a whole small model, spoiled by `spoil`.
fn model(dir: &Path, name: &str, spoil: impl Fn(&Path)) -> String {
    let to = dir.join(name);
    fs::create_dir(&to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(Path::new(TINY).join(file), to.join(file)).unwrap();
    }
    fs::write(to.join("tokenizer.json"), WORDS).unwrap();
    spoil(&to);
    path(&to).to_string()
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is in {}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Writes NaN into the last four bytes: the last entry of the last tensor.
fn poison(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(file, bytes).unwrap();
}

#[test]
fn wrong_models() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let spoiled = [
        (model(at, "missing", |m| fs::remove_file(m.join("model.safetensors")).unwrap()), "model.safetensors"),
        (model(at, "no-config", |m| fs::remove_file(m.join("config.json")).unwrap()), "config.json"),
        (model(at, "no-tokenizer", |m| fs::remove_file(m.join("tokenizer.json")).unwrap()), "tokenizer.json"),
        (
            model(at, "truncated", |m| {
                let file = m.join("model.safetensors");
                let bytes = fs::read(&file).unwrap();
                fs::write(file, &bytes[..bytes.len() - 100]).unwrap();
            }),
            "bytes",
        ),
        (
            model(at, "shapes", |m| {
                edit(&m.join("config.json"), "\"intermediate_size\": 48", "\"intermediate_size\": 64")
            }),
            "mlp.",
        ),
        (model(at, "nan", |m| poison(&m.join("model.safetensors"))), "NaN"),
        (
            model(at, "mamba", |m| {
                edit(&m.join("config.json"), "\"model_type\": \"llama\"", "\"model_type\": \"mamba\"")
            }),
            "mamba",
        ),
        (model(at, "vocabulary", |m| assert!(fs::copy(TOKENIZER, m.join("tokenizer.json")).is_ok())), "320 tokens"),
        (
            model(at, "few-bits", |m| {
                let bits = "\"quantization_config\": {\"quant_method\": \"bitsandbytes\"},\n\"model_type\"";
                edit(&m.join("config.json"), "\"model_type\"", bits)
            }),
            "bitsandbytes",
        ),
        (
            model(at, "no-ends", |m| fs::write(m.join("generation_config.json"), "{\"eos_token_id\": \"a\"}").unwrap()),
            "generation_config.json",
        ),
        (model(at, "not-json", |m| fs::write(m.join("config.json"), "{").unwrap()), "config.json"),
        (path(&at.join("nowhere")).to_string(), "nowhere"),
    ];
    let out = at.join("out");
    for (folder, names) in &spoiled {
        refused(&["train", "--model", folder, "--data", "example", "--device", "cpu", "--out", path(&out)], names);
        assert!(!out.join("run.toml").exists(), "{folder}: nothing is written");
    }
    let climbing = model(at, "climbing", |m| {
        fs::remove_file(m.join("model.safetensors")).unwrap();
        fs::write(
            m.join("model.safetensors.index.json"),
            r#"{"weight_map": {"model.norm.weight": "../tiny/x.safetensors"}}"#,
        )
        .unwrap();
    });
    refused(&["generate", "--model", &climbing, "--prompt", "a", "--device", "cpu"], "climb");
}

#[test]
fn wrong_data() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        path(&file).to_string()
    };
    let out = dir.path().join("out");
    for (data, extra, names) in [
        (file("bad.jsonl", b"{\"prompt\": \"a\", \"completion\": \"b\"}\nnot json\n{\n"), vec![], "line 2"),
        (file("empty.jsonl", b""), vec![], "empty"),
        (file("table.csv", b"question_text,reply\na,b\n"), vec!["--prompt-column", "question"], "question_text"),
        (file("bytes.jsonl", b"\xff\xfe\x00"), vec![], "UTF-8"),
        (file("short.json", b"[{\"prompt\": \"a\""), vec![], "short.json"),
        (path(&dir.path().join("nowhere.jsonl")).to_string(), vec![], "nowhere.jsonl"),
    ] {
        let mut arguments = vec!["train", "--data", &data, "--device", "cpu", "--out", path(&out)];
        arguments.extend(extra);
        refused(&arguments, names);
        assert!(!out.join("run.toml").exists(), "{data}: nothing is written");
    }
}

#[test]
fn wrong_settings() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let config = dir.path().join("run.toml");
    fs::write(&config, "[train]\nlerning_rate = 1\n").unwrap();
    for (setting, names) in [
        (vec!["--rank", "0"], "rank"),
        (vec!["--rank", "4000"], "q_proj"),
        (vec!["--targets", "q_proj,x_proj"], "x_proj"),
        (vec!["--learning-rate", "0"], "learning rate"),
        (vec!["--learning-rate=-1"], "learning rate"),
        (vec!["--batch-size", "0"], "batch size"),
        (vec!["--epochs", "0"], "epochs"),
        (vec!["--ist=sometimes"], "sometimes"),
        (vec!["--device", "abacus"], "abacus"),
        (vec!["--device", "cuda:0"], "cuda"),
        (vec!["--config", path(&config)], "lerning_rate"),
        (vec!["--max-length", "1"], "max_length"),
        (vec!["--method", "lara"], "lara"),
        (vec!["--method", "bitfit", "--rank", "4"], "--rank"),
        (vec!["--method", "pafi", "--share", "1e-8"], "share"),
        (vec!["--method", "fish", "--samples", "0"], "samples"),
        (vec!["--method", "qlora", "--bits", "3"], "bits"),
        (vec!["--method", "adalora", "--initial-rank", "2"], "initial_rank"),
        (vec!["--method", "galore", "--rank", "4000"], "q_proj"),
        (vec!["--method", "ladder", "--reduction", "4000"], "narrower"),
        (vec!["--method", "compacter", "--width", "6"], "multiple of 4"),
        (vec!["--method", "lisa", "--ist"], "ist.mode"),
        (vec!["--method", "lisa", "--layers", "1"], "layers"),
        (vec!["--method", "full,galore"], "galore"),
        (vec!["--method", "qlora,fish"], "few bits"),
        (vec!["--base-dtype", "int3"], "int4"),
        (vec!["--method", "full", "--base-dtype", "int8"], "base_dtype"),
        (vec!["--method", "qlora", "--base-dtype", "int4"], "base_dtype"),
        (vec!["--compute-dtype", "int8"], "bf16"),
        (vec!["--compute-dtype", "f16"], "does not multiply in f16"),
        (vec!["--method", "ladder,lora"], "ladder"),
        (vec!["--method", "galore", "--optimiser", "mezo"], "mezo"),
        (vec!["--optimiser", "sgd"], "sgd"),
    ] {
        let mut arguments = vec!["train", "--data", "example", "--out", path(&out)];
        if !setting.contains(&"--device") {
            arguments.extend(["--device", "cpu"]);
        }
        arguments.extend(setting);
        refused(&arguments, names);
        assert!(!out.join("adapter_model.safetensors").exists());
    }
    refused(&["train", "--out", path(&out), "--device", "cpu"], "--data");
    refused(&["inspect", path(dir.path())], "config.json");
    refused(&["inspect"], "nothing is named");
    refused(&["inspect", "example", "--trial"], "only a model");
    refused(&["inspect", "starter", "--trial", "--device", "cpu"], "--trial");
    refused(&["inspect", "starter", "--model", "starter"], "--model");
    refused(&["inspect", "starter", "--batch-size", "0"], "batch size");
    refused(&["generate", "--prompt", "", "--device", "cpu"], "prompt");
}

/// Fails with exit code 2 or 3, says `names`, and does not panic.
fn refused(arguments: &[&str], names: &str) {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(code == Some(2) || code == Some(3), "{arguments:?} ends with {code:?}\n{error}");
    assert!(error.contains(names), "{arguments:?} does not name {names}\n{error}");
    assert!(!error.contains("panicked"), "{error}");
}
