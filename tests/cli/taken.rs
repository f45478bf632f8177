//! What a tuned model is taken away as: GGUF models and adapters, with what is written beside them.

use std::fs;
use std::path::Path;

use crate::{SHORT, done, path, run};

const PROMPT: [&str; 7] =
    ["--prompt", "The widow stood by the fire.", "--as-instruction", "--max-tokens", "10", "--device", "cpu"];

fn trained(out: &Path, method: &str) {
    done(&[&SHORT[..], &["--steps", "4", "--learning-rate", "0.05", "--method", method, "--out", path(out)]].concat());
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_gguf_model_says_what_the_tuned_model_does_and_a_card_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| dir.path().join(name);
    trained(&out("run"), "lora");
    let run_dir = out("run");
    let say = |model: &Path, more: &[&str]| done(&[&["generate", "--model", path(model)], &PROMPT[..], more].concat());
    let tuned = done(&[&["generate", "--adapter", path(&run_dir)], &PROMPT[..]].concat());
    let merge = |format: &[&str], to: &str| {
        let arguments = ["merge", "--model", "starter", "--adapter", path(&run_dir), "--out"];
        run(&[&arguments[..], &[path(&out(to))], format].concat())
    };
    let output = merge(&["--format", "gguf", "--quant", "f32"], "f32");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("ollama create f32 -f Modelfile"), "{told}");
    assert_eq!(names(&out("f32")), ["Modelfile", "README.md", "model.gguf"]);
    assert_eq!(say(&out("f32").join("model.gguf"), &[]), tuned);

    let card = fs::read_to_string(out("f32").join("README.md")).unwrap();
    for part in
        ["base_model: \"starter\"", "| Method | LoRA r2 |", "| Steps | 4 of 4 |", "fingerprint `", "GGUF, merged, F32"]
    {
        assert!(card.contains(part), "{part}: {card}");
    }
    // Nothing of the rows, and no path.
    assert!(!card.contains("farmer") && !card.contains(path(dir.path())), "{card}");
    let modelfile = fs::read_to_string(out("f32").join("Modelfile")).unwrap();
    assert!(
        modelfile.starts_with("FROM ./model.gguf\n") && modelfile.contains("PARAMETER stop \"<|endoftext|>\""),
        "{modelfile}"
    );
    assert!(modelfile.contains("{{ .Prompt }}"), "there is no chat template: {modelfile}");

    // Fewer bits, and from such a file once more.
    let mut sizes = Vec::new();
    for quant in ["f16", "q8_0", "q4_0", "q4_k_m"] {
        let output = merge(&["--format", "gguf", "--quant", quant], quant);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = out(quant).join("model.gguf");
        sizes.push(fs::metadata(&file).unwrap().len());
        assert!(!say(&file, &[]).trim().is_empty(), "{quant}");
    }
    assert!(
        sizes.is_sorted_by(|a, b| a > b) || sizes[2] <= sizes[3] && sizes[0] > sizes[1] && sizes[1] > sizes[2],
        "{sizes:?}"
    );
    let file = out("q8_0").join("model.gguf");
    done(&["merge", "--model", path(&file), "--format", "gguf", "--quant", "q8_0", "--out", path(&out("again"))]);
    let [first, second] = [&file, &out("again").join("model.gguf")].map(|file| fs::read(file).unwrap());
    assert_eq!(first.len(), second.len());
    assert_eq!(say(&file, &[]), say(&out("again").join("model.gguf"), &[]));

    // What is there stays, unless it is to be replaced.
    let refused = merge(&["--format", "gguf"], "f32");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && error.contains("exists already"), "{error}");
    assert_eq!(names(&out("f32")), ["Modelfile", "README.md", "model.gguf"]);
    assert!(merge(&["--format", "gguf", "--overwrite"], "f32").status.success());
}

#[test]
fn an_adapter_in_gguf_lies_beside_what_puts_it_on_its_base() {
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| dir.path().join(name);
    trained(&out("lora"), "lora");
    trained(&out("dora"), "dora");
    let merge = |adapter: &str, to: &str, more: &[&str]| {
        let (adapter, to) = (out(adapter), out(to));
        let arguments = ["merge", "--model", "starter", "--adapter", path(&adapter), "--out", path(&to)];
        run(&[&arguments[..], more].concat())
    };
    assert!(merge("lora", "taken", &["--format", "gguf-adapter"]).status.success());
    assert_eq!(names(&out("taken")), ["Modelfile", "README.md", "adapter.gguf"]);
    let modelfile = fs::read_to_string(out("taken").join("Modelfile")).unwrap();
    assert!(modelfile.contains("ADAPTER ./adapter.gguf"), "{modelfile}");
    let card = fs::read_to_string(out("taken").join("README.md")).unwrap();
    assert!(card.contains("stratune merge --model BASE --format gguf --out base"), "{card}");
    assert!(card.contains("--lora adapter.gguf") && card.contains("base_model_relation: adapter"), "{card}");
    for (adapter, more, named) in [
        ("dora", &["--format", "gguf-adapter"][..], "is no LoRA in the end"),
        ("lora", &["--format", "gguf-adapter", "--quant", "q8_0"], "--quant"),
        ("lora", &["--format", "gguf", "--quant", "q2_k"], "q2_k"),
        ("lora", &["--format", "gguf", "--dtype", "f16"], "--dtype"),
        ("lora", &["--quant", "f16"], "--quant"),
        ("lora", &["--format", "gguf-adapter", "--weights", "0.5"], "without weights"),
    ] {
        let output = merge(adapter, "no", more);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(named), "{more:?}: {error}");
        assert!(!out("no").exists(), "{more:?}: nothing is written");
    }
}
