//! No setting of a search is declared and ignored: each is turned, and the search is another.

use std::collections::BTreeSet;

use serde_json::Value;
use stratune_protocol::{BudgetUnit, ModuleTime, SearchBy, SearchConfig, StepTime};
use stratune_runtime::block_on;
use stratune_session::settle_search;
use stratune_tests::runs::RecordingCallback;
use stratune_train::{Event, RunConfig};

use crate::{config, lively, search};

/// The methods that are searched among, and where they are.
const SPACE: [(&str, &[&str]); 3] = [("lora", &LINEAR), ("bitfit", &LINEAR), ("layer_norm", &[""])];
const LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// A step of so many microseconds without modules, each of which takes ten or twenty more.
fn times(base: u64) -> StepTime {
    let mut modules = Vec::new();
    for (method, names) in SPACE {
        for name in names.iter().copied() {
            let fixed = if method == "lora" { 20 } else { 10 };
            modules.push(ModuleTime { method: method.into(), name: name.into(), fixed, each: 0 });
        }
    }
    StepTime { base, modules }
}

type Turn = fn(&mut SearchConfig);

/// What a search told, and the losses of its steps.
fn seen(config: &RunConfig) -> (Vec<Event>, Vec<f64>, Value) {
    let mut config = config.clone();
    settle_search(&mut config);
    let (mut trainer, found) = search(&config, lively());
    let mut recording = RecordingCallback::default();
    block_on(recording.watch(&mut trainer)).unwrap();
    let losses = recording.losses();
    let told = recording.events.into_iter().filter(|event| matches!(event, Event::Search(_))).collect();
    (told, losses, serde_json::to_value(found.structure()).unwrap())
}

#[test]
fn every_setting_acts() {
    let turns: [(&str, SearchBy, Turn); 19] = [
        ("by", SearchBy::Bipeft, |s| s.by = SearchBy::S3delta),
        ("budget", SearchBy::Random, |s| s.budget = 300),
        ("larger_budgets", SearchBy::Bipeft, |s| s.larger_budgets = vec![600]),
        ("tolerance", SearchBy::Random, |s| s.tolerance = 0.2),
        ("relaxation", SearchBy::Bipeft, |s| s.relaxation = 3.0),
        ("sizes", SearchBy::Bipeft, |s| s.sizes = vec![3, 4]),
        ("share", SearchBy::S3delta, |s| s.share = 0.25),
        ("steps", SearchBy::Bipeft, |s| s.steps = 12),
        ("learning_rate", SearchBy::S3delta, |s| s.learning_rate = 0.5),
        ("second_order", SearchBy::S3delta, |s| s.second_order = true),
        ("prunings", SearchBy::Bipeft, |s| s.prunings = 2),
        ("begin", SearchBy::Bipeft, |s| s.begin = 0.9),
        ("population", SearchBy::Evolution, |s| s.population = 12),
        ("generations", SearchBy::Evolution, |s| s.generations = 1),
        ("evaluation_steps", SearchBy::Autopeft, |s| s.evaluation_steps = 3),
        ("prior", SearchBy::S3delta, |s| s.prior = 3.0),
        ("scores", SearchBy::Ist, |s| s.scores = vec![0.0, 1.0]),
        ("unit", SearchBy::Random, |s| {
            (s.unit, s.budget, s.step_time) = (BudgetUnit::StepTime, 1300, Some(times(1000)))
        }),
        ("step_time", SearchBy::Random, |s| s.step_time = Some(times(1100))),
    ];
    // Without scores the field is left out, and so are budgets and times that there are not.
    let step_time = Some(StepTime::default());
    let all = SearchConfig { scores: vec![1.0], larger_budgets: vec![1], step_time, ..SearchConfig::default() };
    let all = serde_json::to_value(all).unwrap();
    let listed: BTreeSet<&str> = turns.iter().map(|(name, ..)| *name).collect();
    assert_eq!(all.as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<_>>(), listed);
    for (name, by, turn) in turns {
        let mut before = config(by, 400);
        if name == "prior" {
            before.search.as_mut().unwrap().scores = vec![1.0, 0.0];
        }
        if name == "step_time" {
            let search = before.search.as_mut().unwrap();
            (search.unit, search.budget, search.step_time) = (BudgetUnit::StepTime, 1300, Some(times(1000)));
        }
        let mut after = before.clone();
        turn(after.search.as_mut().unwrap());
        assert!(seen(&before) != seen(&after), "{name} changes nothing");
    }
}
