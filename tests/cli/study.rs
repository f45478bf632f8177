//! A task's judgement, and studies: whole, interrupted, and wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{done, path, run};

/// A folder with a task's file: questions of the kind that the starter's stories answer.
fn task_folder(dir: &Path) {
    let row = |question: &str, answer: &str| {
        let instruction = format!(
            "Please choose the correct answer to the question: {question}\n\nAnswer1: the fire Answer2: zqxj vwkp\n\nAnswer format: answer1/answer2"
        );
        json!({ "instruction": instruction, "input": "", "output": format!("the correct answer is {answer}"), "answer": answer })
    };
    let rows: Vec<Value> =
        (0..6).map(|i| row(&format!("The widow sat by {i}"), ["answer1", "answer2"][i / 4])).collect();
    fs::create_dir_all(dir.join("openbookqa")).unwrap();
    fs::write(dir.join("openbookqa/test.json"), serde_json::to_vec(&rows).unwrap()).unwrap();
}

#[test]
fn a_task_is_judged_by_likelihood_and_by_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    task_folder(dir.path());
    let answers = dir.path().join("answers.jsonl");
    let eval = ["eval", "--task", "openbookqa", "--data", path(dir.path()), "--device", "cpu", "--json"];
    let report = |more: &[&str]| -> Value {
        serde_json::from_str(done(&[&eval[..], more].concat()).lines().last().unwrap()).unwrap()
    };
    let ranked = report(&["--answers", path(&answers)]);
    // Words against noise: the starter finds words likelier, which is right of four items in six.
    assert_eq!((&ranked["task"], &ranked["judge"]), (&json!("commonsense/openbookqa"), &json!("likelihood")));
    let score = &ranked["scores"][0];
    assert_eq!((&score["metric"], &score["items"]), (&json!("accuracy"), &json!(6)));
    assert!((score["value"].as_f64().unwrap() - 4.0 / 6.0).abs() < 1e-9, "{ranked}");
    assert!(score["interval"]["low"].as_f64().unwrap() <= 4.0 / 6.0, "{ranked}");
    let items: Vec<Value> =
        fs::read_to_string(&answers).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(items.len(), 6);
    for item in &items {
        let [one, other] = [0, 1].map(|choice| item["logprobs"][choice].as_f64().unwrap());
        assert!(one > other && one < 0.0 && item["answer"] == "answer1", "{item}");
    }
    assert_eq!(report(&["--limit", "4"])["scores"][0]["value"], json!(1.0));
    // The starter writes stories: nothing of them is an answer.
    let written = report(&["--judge", "generated", "--max-tokens", "4"]);
    assert_eq!((&written["judge"], &written["scores"][0]["unanswered"]), (&json!("generated"), &json!(6)));

    for (arguments, named) in [
        (vec!["eval", "--task", "openbook", "--data", path(dir.path())], "openbookqa"),
        (vec!["eval", "--task", "piqa", "--data", path(dir.path())], "piqa/test.json"),
        (vec!["eval", "--task", "piqa"], "--data"),
        (vec!["eval", "--task", "openbookqa", "--data", path(dir.path()), "--limit", "0"], "--limit"),
        (vec!["eval", "--task", "openbookqa", "--data", path(dir.path()), "--judge", "dice"], "dice"),
        (vec!["eval", "--judge", "generated", "--data", "example"], "--task"),
    ] {
        let output = run(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(named), "{arguments:?}\n{error}");
    }
}

/// Two ways of choosing layers with two seeds, judged by held-out rows and a task.
fn study(dir: &Path) -> String {
    task_folder(dir);
    let talk = |i: usize| json!({ "messages": [{ "role": "user", "content": format!("the king {i}") }, { "role": "assistant", "content": "the fire" }] });
    fs::write(dir.join("held-out.jsonl"), (0..3).map(|i| format!("{}\n", talk(i))).collect::<String>()).unwrap();
    format!(
        r#"
        name = "layers of the starter"
        seeds = [0, 1]
        held_out = {:?}
        [run]
        model = "starter"
        device = "cpu"
        data.files = ["example"]
        data.max_length = 64
        train = {{ steps = 3, batch_size = 2, eval_every = 2 }}
        [[axis]]
        name = "layers"
        baseline = "all"
        [[axis.value]]
        name = "all"
        [[axis.value]]
        name = "practical"
        run.ist.mode = "practical"
        run.ist.interval = 2
        [[task]]
        name = "openbookqa"
        data = {:?}
        limit = 4
        "#,
        path(&dir.join("held-out.jsonl")),
        path(dir)
    )
}

#[test]
fn a_study_is_done_run_by_run_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layers.toml");
    fs::write(&file, study(dir.path())).unwrap();
    let out = dir.path().join("layers");
    let records = || -> Vec<Value> {
        let text = fs::read_to_string(out.join("results.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    done(&["study", path(&file), "--limit", "1"]);
    assert_eq!(records().len(), 1);
    let first = records().remove(0);
    assert_eq!((&first["id"], &first["training"]["steps"]), (&json!("all_seed0"), &json!(3)));
    assert!(first["training"]["trainable"].as_u64().unwrap() > 0, "{first}");
    assert!(first["held_out"]["loss"].as_f64().unwrap() > 0.0, "{first}");
    assert!(first["held_out"]["exact_match"].is_number() && first["searched"].is_null(), "{first}");
    assert_eq!(first["scores"][0]["value"], json!(1.0), "{first}");

    // A run that was killed in the middle of its record, and another that has a checkpoint but no end.
    let results = out.join("results.jsonl");
    let whole = fs::read_to_string(&results).unwrap();
    fs::write(&results, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
    let table = done(&["study", path(&file), "--parallel", "2"]);
    let ids: BTreeSet<String> = records_of(&out).iter().map(|record| record["id"].as_str().unwrap().into()).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(table.contains("| layers | validation loss | − all |"), "{table}");
    assert!(table.lines().any(|line| line.starts_with("| practical | ") && line.contains('±')), "{table}");
    assert_eq!(fs::read_to_string(out.join("table.md")).unwrap().trim(), table.trim());
    assert!(fs::read_to_string(out.join("curves.svg")).unwrap().contains("practical"));

    // The numbers are those of the commands by themselves.
    let alone = dir.path().join("alone");
    done(&["train", "--config", path(&out.join("practical_seed1.toml")), "--out", path(&alone)]);
    let adapter = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).unwrap();
    assert_eq!(adapter(&alone), adapter(&out.join("practical_seed1")));

    // Nothing is left to do; a run whose configuration has changed is done again, and no other.
    let before = records_of(&out).len();
    done(&["study", path(&file)]);
    assert_eq!(records_of(&out).len(), before);
    fs::write(&file, study(dir.path()).replace("run.ist.interval = 2", "run.ist.interval = 3")).unwrap();
    done(&["study", path(&file), "--limit", "1"]);
    assert_eq!(records_of(&out).len(), before + 1);
}

/// A value of an axis that searches: its structure is what trains, and what both took is told.
#[test]
fn a_study_trains_what_its_searches_find() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("found.toml");
    let text = r#"
        name = "by chance and by hand"
        seeds = [3]
        [run]
        model = "starter"
        device = "cpu"
        data.files = ["example"]
        data.max_length = 64
        train = { steps = 2, batch_size = 2 }
        method = [{ kind = "lora", rank = 4, alpha = 8.0 }]
        [[axis]]
        name = "structure"
        baseline = "whole"
        [[axis.value]]
        name = "whole"
        [[axis.value]]
        name = "chance"
        run.search = { by = "random", budget = 4000, sizes = [1, 4] }
        run.ist.mode = "random"
    "#;
    fs::write(&file, text).unwrap();
    let table = done(&["study", path(&file)]);
    let out = dir.path().join("found");
    let [whole, found] = &records_of(&out)[..] else { panic!("{table}") };
    assert!(whole["searched"].is_null() && found["searched"]["seconds"].as_f64().unwrap() > 0.0, "{found}");
    let trainable = |record: &Value| record["training"]["trainable"].as_u64().unwrap();
    assert!((1..=4000).contains(&trainable(found)) && trainable(whole) > 4000, "{found}");
    assert!(table.contains("search ×"), "{table}");
    let structure = out.join("chance_seed3.search/structure.json");
    assert!(done(&["inspect", path(&structure)]).contains("lora"));
    // Without the structure its search is done again.
    fs::remove_file(&structure).unwrap();
    fs::remove_file(out.join("results.jsonl")).unwrap();
    done(&["study", path(&file)]);
    assert!(structure.exists());
    assert_eq!(records_of(&out)[1]["training"]["best"], found["training"]["best"]);
    // Another structure is trained anew, though the run has the same name.
    fs::write(&file, text.replace("budget = 4000", "budget = 8000")).unwrap();
    done(&["study", path(&file)]);
    let larger = records_of(&out).remove(2);
    assert!(trainable(&larger) > trainable(found) && trainable(&larger) <= 8000, "{larger}");
}

/// The records of a study; a line that was cut off is none.
fn records_of(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("results.jsonl")).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_wrong_study_is_told_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.toml");
    let good = study(dir.path());
    for (from, to, named) in [
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        ("run.ist.mode = \"practical\"", "run.ist.mode = \"psychic\"", "practical_seed0"),
        ("steps = 3", "steps = 3, batch_size_ = 1", "batch_size_"),
        ("data.files = [\"example\"]", "", "no data is named"),
        ("data.files = [\"example\"]", "data.files = [\"${STRATUNE_NOWHERE}/a\"]", "STRATUNE_NOWHERE is not set"),
        ("baseline = \"all\"", "baseline = \"none\"", "'none' is none of the values"),
    ] {
        fs::write(&file, good.replace(from, to)).unwrap();
        let output = run(&["study", path(&file)]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(named), "{to}\n{error}");
        assert!(!dir.path().join("wrong").exists(), "{to}");
    }
    // A run that fails is told, and the others are done.
    let lost = good.replace("data.files = [\"example\"]", "data.files = [\"lost.jsonl\"]");
    fs::write(&file, lost.replace("seeds = [0, 1]", "seeds = [0]")).unwrap();
    let output = run(&["study", path(&file)]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("lost.jsonl") && error.contains("practical_seed0"), "{error}");
}
