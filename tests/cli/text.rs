//! Texts and the folders they come with: rows that cannot be used, line ends, what a merged folder keeps.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{done, path, run};

const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../session/assets/starter");

/// A copy of the starter in a folder.
fn starter(to: &Path) -> PathBuf {
    fs::create_dir(to).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(Path::new(STARTER).join(file), to.join(file)).unwrap();
    }
    to.into()
}

/// An adapter that has learned a little.
fn adapter(model: &str, out: &Path) {
    let arguments =
        ["train", "--model", model, "--data", "example", "--device", "cpu", "--steps", "2", "--batch-size", "2"];
    let few = ["--max-length", "48", "--eval-every", "0", "--sample-prompt", "Tom", "--out", path(out)];
    done(&[&arguments[..], &few].concat());
}

/// Template, ends of a text, special tokens and licence stay; of `config.json` what the merge does not change.
#[test]
fn a_merged_folder_holds_what_its_model_did() {
    let dir = tempfile::tempdir().unwrap();
    let model = starter(&dir.path().join("model"));
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>\n{% endfor %}\
        {% if add_generation_prompt %}assistant: {% endif %}";
    let beside = [
        ("chat_template.jinja", template),
        ("generation_config.json", r#"{"eos_token_id": [0, 7], "temperature": 0.6}"#),
        ("special_tokens_map.json", r#"{"eos_token": "<|endoftext|>"}"#),
        ("LICENSE", "Do as you like."),
    ];
    beside.iter().for_each(|(name, text)| fs::write(model.join(name), text).unwrap());
    fs::write(model.join("README.md"), "another model").unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(model.join("config.json")).unwrap()).unwrap();
    config["eos_token_id"] = serde_json::json!([0]);
    fs::write(model.join("config.json"), config.to_string()).unwrap();

    let (out, merged) = (dir.path().join("run"), dir.path().join("merged"));
    adapter(path(&model), &out);
    done(&["merge", "--model", path(&model), "--adapter", path(&out), "--out", path(&merged)]);
    for name in beside.map(|(name, _)| name).into_iter().chain(["tokenizer.json", "tokenizer_config.json"]) {
        assert_eq!(fs::read(merged.join(name)).unwrap(), fs::read(model.join(name)).unwrap(), "{name}");
    }
    let card = fs::read_to_string(merged.join("README.md")).unwrap();
    assert!(!card.contains("another model") && card.contains("library_name: transformers"), "{card}");
    let mut kept: Value = serde_json::from_slice(&fs::read(merged.join("config.json")).unwrap()).unwrap();
    for key in ["dtype", "torch_dtype"] {
        config[key] = "float32".into();
        assert_eq!(kept[key].take(), config[key].take(), "{key}");
    }
    assert_eq!(kept, config);
    let say = |model: &Path, more: &[&str]| {
        let arguments = ["generate", "--model", path(model), "--prompt", "Tom", "--as-instruction", "--device", "cpu"];
        done(&[&arguments[..], &["--max-tokens", "24"], more].concat())
    };
    assert_eq!(say(&merged, &[]), say(&model, &["--adapter", path(&out)]));
}

/// A row whose prompt fills the context is left out and told, wherever rows are read; the others are evaluated and
/// trained on.
#[test]
fn a_row_that_cannot_be_used_does_not_end_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let row = |prompt: &str| format!("{{\"prompt\":\"{prompt}\",\"completion\":\"He sat.\"}}\n");
    let short: String = ["Tom ran.", "Ann ran.", "Sam ran.", "Pat ran."].map(row).concat();
    let (few, all) = (dir.path().join("few.jsonl"), dir.path().join("all.jsonl"));
    fs::write(&few, &short).unwrap();
    fs::write(&all, format!("{short}{}", row(&"The dog ran and sat. ".repeat(40)))).unwrap();
    let eval = |data: &Path| run(&["eval", "--data", path(data), "--device", "cpu", "--max-length", "48"]);
    let (one, other) = (eval(&few), eval(&all));
    let told = String::from_utf8(other.stderr).unwrap();
    assert!(other.status.success(), "{told}");
    assert_eq!(other.stdout, one.stdout);
    assert!(told.contains("1 rows left out") && told.contains("line 5: nothing is left to learn"), "{told}");

    let long = "The dog ran and sat. ".repeat(80);
    let train =
        ["train", "--data", path(&all), "--device", "cpu", "--max-length", "48", "--steps", "2", "--batch-size", "2"];
    let out = dir.path().join("run");
    let more = ["--sample-prompt", &long, "--out", path(&out), "--method", "prefix", "--length", "230"];
    let output = run(&[&train[..], &more].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 rows left out") && told.contains("is not continued"), "{told}");
    let held = ["compare", "--methods", "bitfit", "--seeds", "1", "--held-out", path(&all), "--data", path(&few)];
    done(&[&held[..], &["--steps", "2", "--max-length", "48", "--batch-size", "2"]].concat());
}

/// Fields that carry meaning reach the model, or are told.
#[test]
fn nothing_in_a_row_is_dropped_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |name: &str, system: &str, thought: &str| {
        let file = dir.path().join(name);
        let row = format!(
            "{{{system}\"messages\":[{{\"role\":\"user\",\"content\":\"Tom ran.\"}},\
             {{\"role\":\"assistant\",{thought}\"content\":\"He sat.\"}}]}}\r\n"
        );
        fs::write(&file, row.repeat(4)).unwrap();
        let output = run(&["eval", "--data", path(&file), "--device", "cpu"]);
        assert!(output.status.success());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let plain = rows("plain.jsonl", "", "");
    assert_ne!(rows("system.jsonl", "\"system\":\"Be short.\",", "").0, plain.0);
    let (marks, told) = rows("thought.jsonl", "", "\"reasoning\":\"hm\",");
    assert_eq!(marks, plain.0);
    assert!(told.contains("not read: messages.reasoning"), "{told}");
}

/// Files that are held out are measured on, and what flags say of columns reaches the run's configuration.
#[test]
fn rows_to_measure_on_may_be_files_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (rows, apart, out) = (dir.path().join("rows.csv"), dir.path().join("apart.csv"), dir.path().join("run"));
    fs::write(&rows, format!("who,what,said\n{}", "Tom,ran,He sat.\n".repeat(6))).unwrap();
    fs::write(&apart, "who,what,said\nAnn,ran,She sat.\n").unwrap();
    let columns = ["--prompt-template", "{who} {what}.", "--completion-column", "said", "--labels", "last"];
    let train = ["train", "--data", path(&rows), "--validation", path(&apart), "--device", "cpu", "--steps", "1"];
    let told = run(&[&train[..], &columns, &["--out", path(&out)]].concat());
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("6 rows to train on, 1 held out"), "{told}");
    let config = fs::read_to_string(out.join("run.toml")).unwrap();
    assert!(config.contains("validation_files") && config.contains("{who} {what}."), "{config}");
    let told = run(&["train", "--data", path(&rows), "--validation", path(&rows), "--out", path(&out), "--overwrite"]);
    assert!(String::from_utf8(told.stderr).unwrap().contains("leave it out of one of the two"));
}

/// A report's frame does not break a name over two lines: it can be copied and searched for.
#[test]
fn names_in_reports_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let shard = "model-00002-of-00002.safetensors";
    let folder =
        dir.path().join("a folder with a name that is longer than what a line of eighty characters could ever hold");
    let model = starter(&folder);
    fs::remove_file(model.join("model.safetensors")).unwrap();
    let index = format!("{{\"weight_map\": {{\"model.norm.weight\": \"{shard}\"}}}}");
    fs::write(model.join("model.safetensors.index.json"), index).unwrap();
    let output = run(&["generate", "--model", path(&model), "--prompt", "Tom", "--device", "cpu"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(told.contains(path(&model)) && told.contains(&format!("{shard} is missing")), "{told}");
}
