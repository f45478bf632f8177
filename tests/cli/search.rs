//! A search, what it finds, and training that.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{done, path, run, stratune};

/// A short search on the example.
const SEARCH: [&str; 20] = [
    "search",
    "--model",
    "starter",
    "--data",
    "example",
    "--device",
    "cpu",
    "--max-length",
    "48",
    "--batch-size",
    "2",
    "--budget",
    "2000",
    "--sizes",
    "1,2",
    "--prunings",
    "3",
    "--checkpoint-every",
    "1",
    "--json",
];

#[test]
fn a_search_finds_what_trains() {
    let dir = tempfile::tempdir().unwrap();
    let (found, trained) = (dir.path().join("found"), dir.path().join("trained"));
    let out = ["--steps", "12", "--out", path(&found)];
    let events: Vec<Value> =
        done(&[&SEARCH[..], &out].concat()).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let told: Vec<&Value> = events.iter().filter(|event| event["event"] == "search").collect();
    let last = told.last().unwrap();
    assert!(last["done"] == true && last["budget"] == 2000, "{last}");
    let parameters = last["parameters"].as_u64().unwrap();
    assert!((1..=2000).contains(&parameters));
    assert!(fs::read_to_string(found.join("metrics.jsonl")).unwrap().contains("\"event\":\"search\""));

    let structure = found.join("structure.json");
    let inspected = done(&["inspect", path(&structure)]);
    assert!(inspected.contains("structure") && inspected.contains("block"), "{inspected}");
    let train =
        ["train", "--data", "example", "--max-length", "48", "--batch-size", "2", "--steps", "2", "--device", "cpu"];
    let method = ["--method", path(&structure), "--json", "--out", path(&trained)];
    let begun: Vec<Value> = done(&[&train[..], &method].concat())
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .filter(|event| event["event"] == "begun")
        .collect();
    assert_eq!(begun[0]["trainable"].as_u64(), Some(parameters));

    // The same by a run's file that names it, from where it lies; and the search's own file is no run to train.
    let named = dir.path().join("found/by-name.toml");
    fs::write(&named, "method = \"structure.json\"\n").unwrap();
    let again = dir.path().join("again");
    done(&[&train[..], &["--config", path(&named), "--out", path(&again)]].concat());
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        assert_eq!(fs::read(again.join(file)).unwrap(), fs::read(trained.join(file)).unwrap(), "{file}");
    }
    for (arguments, named) in [
        (vec!["train", "--config", path(&found.join("run.toml")), "--out", "x"], "[search]"),
        (vec!["train", "--data", "example", "--method", path(&structure), "--rank", "3", "--out", "x"], "--rank"),
        (
            vec!["train", "--data", "example", "--method", path(&dir.path().join("none.json")), "--out", "x"],
            "none.json",
        ),
        (vec!["search", "--resume", "--budget", "1999", "--out", path(&found)], "1999"),
        (vec!["search", "--resume", "--by", "random", "--out", path(&found)], "random"),
        (vec!["search", "--resume", "--out", path(&trained)], "no search"),
        (vec!["search", "--data", "example", "--out", path(&found)], "holds a run already"),
    ] {
        let refused = run(&arguments);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && error.contains(named), "{arguments:?}\n{error}");
    }
}

/// Several budgets are several structures, the smallest of them where one alone would be.
#[test]
fn one_search_writes_a_structure_for_each_budget() {
    let dir = tempfile::tempdir().unwrap();
    let found = dir.path().join("found");
    let events = done(
        &[&SEARCH[..], &["--budget", "3000", "--tolerance", "5%", "--steps", "12", "--out", path(&found)]].concat(),
    );
    let read = |name: &str| fs::read(found.join(name)).unwrap();
    assert_eq!(read("structure.json"), read("structure-2000.json"));
    assert_ne!(read("structure.json"), read("structure-3000.json"));
    let fronts = events.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let last = fronts.rev().find(|event| event["front"].is_array()).unwrap();
    let numbers = |point: &Value| point["parameters"].as_u64().unwrap();
    let front: Vec<u64> = last["front"].as_array().unwrap().iter().map(numbers).collect();
    assert!(!front.is_empty() && front.iter().all(|numbers| (1..=3150).contains(numbers)), "{front:?}");

    let again = run(&["search", "--resume", "--budget", "2000", "--out", path(&found)]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("2000 numbers, 3000 numbers"), "{again:?}");
}

/// What a step takes is measured where the budget is in time: too little and too much are told by it. Measured before, the
/// same budget finds the same structure, and goes on with it.
#[test]
fn a_budget_may_be_the_time_of_a_step() {
    let dir = tempfile::tempdir().unwrap();
    for (budget, named) in [("0.01ms", "without any module it is"), ("9000s", "all modules together come to")] {
        let out = dir.path().join("refused");
        let refused = run(&short(&["--budget", budget, "--out", path(&out)]));
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && error.contains(named) && error.contains("ms a step"), "{error}");
        assert!(!out.exists());
    }

    let linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let of = |method: &str, name: &str, fixed: u64, each: u64| {
        format!("{{ method = \"{method}\", name = \"{name}\", fixed = {fixed}, each = {each} }}")
    };
    let modules = linear.iter().flat_map(|name| [of("lora", name, 100, 20), of("bitfit", name, 50, 0)]);
    let modules: Vec<String> = modules.chain([of("layer_norm", "", 70, 0)]).collect();
    let file = dir.path().join("search.toml");
    let text = format!(
        "[search]\nby = \"magnitude\"\nunit = \"step_time\"\nbudget = 12000\n[search.step_time]\nbase = 10000\nmodules = [{}]\n",
        modules.join(", ")
    );
    fs::write(&file, text).unwrap();
    let found = dir.path().join("found");
    let told = done(&short(&["--config", path(&file), "--json", "--out", path(&found)]));
    let events = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = events.rev().find(|event| event["event"] == "search").unwrap();
    assert!(last["done"] == true && last["budget"] == 12_000 && last["unit"] == "step_time", "{last}");
    let takes = last["parameters"].as_u64().unwrap();
    let structure: Value = serde_json::from_slice(&fs::read(found.join("structure.json")).unwrap()).unwrap();
    let each = structure["sites"].as_array().unwrap().iter().map(|site| match site["method"].as_str().unwrap() {
        "lora" => 100 + 20 * site["rank"].as_u64().unwrap(),
        "bitfit" => 50,
        _ => 70,
    });
    assert_eq!(takes, 10_000 + each.sum::<u64>());
    assert!((11_900..=12_000).contains(&takes), "{takes}");
    let again = run(&["search", "--resume", "--budget", "11ms", "--out", path(&found)]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("12.00 ms a step"), "{again:?}");
}

/// A search of two steps.
fn short<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let data = ["search", "--data", "example", "--device", "cpu", "--max-length", "48", "--batch-size", "2"];
    [&data[..], &["--sizes", "1,2", "--by", "magnitude", "--steps", "2", "--checkpoint-every", "1"], more].concat()
}

#[test]
fn what_cannot_be_searched_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (more, named) in [
        (&["--budget", "1"][..], "search.budget"),
        (&["--budget", "100000000000"], "search.budget"),
        (&["--budget", "many"], "no budget"),
        (&["--budget", "0"], "no budget"),
        (&["--budget", "2000,5ms"], "--budget"),
        (&["--by", "darts"], "darts"),
        (&["--sizes", "4,2"], "search.sizes"),
        (&["--search-share", "0"], "search.share"),
        (&["--method", "dora"], "dora cannot be switched off"),
        (&["--targets", "q_prj"], "q_prj"),
        (&["--rank", "3"], "lora has the size 3"),
        (&["--ist"], "ist.mode"),
        (&["--optimiser", "mezo"], "train.optimiser"),
        (&["--by", "uniform", "--budget", "100"], "a rank of 1 everywhere"),
    ] {
        let search = ["search", "--data", "example", "--device", "cpu", "--steps", "2", "--out", path(&out)];
        let refused = run(&[&search[..], more].concat());
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && error.contains(named), "{more:?}\n{error}");
        assert!(!out.exists(), "{more:?}");
    }
}

/// What IST has scored highest, at the largest size.
#[test]
fn scores_of_ist_become_a_structure() {
    let dir = tempfile::tempdir().unwrap();
    let (tuned, out) = (dir.path().join("tuned"), dir.path().join("found"));
    done(&[&crate::SHORT[..], &["--steps", "4", "--out", path(&tuned)]].concat());
    let search =
        ["search", "--data", "example", "--device", "cpu", "--budget", "3000", "--by", "ist", "--method", "bitfit"];
    done(&[&search[..], &["--scores", path(&tuned), "--out", path(&out)]].concat());
    let structure: Value = serde_json::from_slice(&fs::read(out.join("structure.json")).unwrap()).unwrap();
    let metrics = fs::read_to_string(tuned.join("metrics.jsonl")).unwrap();
    let events = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let scores = events.rev().find(|event| event["event"] == "importance").unwrap()["scores"].clone();
    let scores: Vec<f64> = scores.as_array().unwrap().iter().flat_map(Value::as_f64).collect();
    // Of equals the first.
    let best = (0..scores.len()).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
    let sites = structure["sites"].as_array().unwrap();
    let in_best =
        sites.iter().filter(|site| site["site"].as_str().unwrap().contains(&format!("layers.{best}."))).count();
    assert_eq!(in_best, 7, "all of block {best}: {structure}");

    let refused = run(&[&search[..], &["--out", path(&dir.path().join("x"))]].concat());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("search.scores"));
}

/// Killed, it goes on to the structure that the uninterrupted search finds; asked to stop, it leaves the best so far.
#[cfg(unix)]
#[test]
fn a_killed_search_goes_on_to_the_same_structure() {
    let dir = tempfile::tempdir().unwrap();
    let begin = |out: &str| {
        let mut command = stratune(&SEARCH);
        command.args(["--by", "s3delta", "--steps", "10", "--out", out]).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let whole = dir.path().join("whole");
    assert!(begin(path(&whole)).wait().unwrap().success());
    let expected = fs::read_to_string(whole.join("structure.json")).unwrap();
    for (signal, code, leaves) in [("-KILL", None, false), ("-TERM", Some(130), true)] {
        let out = dir.path().join(signal);
        let mut child = begin(path(&out));
        let began = Instant::now();
        while !out.join("checkpoint.safetensors").exists() {
            assert!(child.try_wait().unwrap().is_none(), "the search ended before it wrote a checkpoint");
            assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint in two minutes");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        assert_eq!(out.join("structure.json").exists(), leaves, "{signal}");
        done(&["search", "--resume", "--out", path(&out)]);
        assert_eq!(fs::read_to_string(out.join("structure.json")).unwrap(), expected, "{signal}");
    }
}
