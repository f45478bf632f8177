//! A search as the page has it: planned, watched, stopped, and what it finds trained.

use serde_json::Value;
use stratune_peft::MethodNames;
use stratune_protocol::{SearchBy, SearchConfig, SearchReport, StructureReport};

use super::*;

/// A short search on the starter.
fn config(by: SearchBy) -> RunConfig {
    let mut config = super::config();
    let names: MethodNames = "lora,bitfit,layer_norm".parse().unwrap();
    config.method = names.methods(&Default::default());
    config.search = Some(SearchConfig { budget: 5000, sizes: vec![1, 2], prunings: 3, ..SearchConfig::preset(by) });
    // What a search has no use for is no reason not to search.
    (config.ist.mode, config.train.eval_every) = (stratune_protocol::IstMode::Scored, 1);
    (config.train.steps, config.train.checkpoint_every) = (6, 2);
    config
}

fn reports(events: &[Event]) -> Vec<&SearchReport> {
    events.iter().filter_map(|e| if let Event::Search(report) = e { Some(report) } else { None }).collect()
}

fn structure(events: &[Event]) -> &StructureReport {
    let mut all =
        events.iter().filter_map(|e| if let Event::Structure(structure) = e { Some(structure) } else { None });
    all.next().expect("a structure")
}

fn plan(page: &mut Page, config: &RunConfig) -> stratune_protocol::Plan {
    page.events();
    page.send(Command::Plan { config: serde_json::to_value(config).unwrap() });
    match page.events().pop() {
        Some(Event::Plan(plan)) => *plan,
        other => panic!("no plan but {other:?}"),
    }
}

#[test]
fn what_a_search_finds_is_told_and_trains() {
    let mut page = Page::ready();
    let config = config(SearchBy::Bipeft);
    let planned = plan(&mut page, &config);
    let size = planned.search.expect("what there is to choose from");
    assert_eq!((planned.problem, planned.title.as_str()), (None, "Search by BIPEFT"));
    assert_eq!(planned.size.map(|all| all.trainable), Some(size.all));
    let much =
        RunConfig { search: config.search.clone().map(|s| SearchConfig { budget: size.all, ..s }), ..config.clone() };
    let planned = plan(&mut page, &much);
    assert_eq!((planned.problem.unwrap().at.as_str(), planned.search), ("search.budget", Some(size)));

    page.send(train(&config));
    let events = page.events();
    assert_eq!(problem(&events), None);
    assert!(ending(&events).is_some() && tuned(&events).is_empty(), "a search leaves no adapter");
    let told = reports(&events);
    let (first, last) = (told[0], *told.last().unwrap());
    assert_eq!((first.places.len(), first.modules.len(), first.left), (size.modules, size.modules, size.all));
    assert!(last.done && last.left <= size.all && last.parameters <= 5000, "{last:?}");
    assert!(
        first.places.iter().any(|of| of.block == 1 && of.name == "q_proj" && of.method == "LoRA" && of.largest == 2)
    );
    let found = structure(&events).clone();
    assert_eq!((found.parameters, found.file.as_str()), (last.parameters, ""));
    assert_eq!(found.modules, last.sizes.iter().filter(|size| **size > 0).count());

    // Its file gives the same methods, and they train as many numbers, in a run whose file needs no other.
    page.send(Command::ReadStructure { name: "mine.json".into(), text: found.text.clone() });
    let again = structure(&page.events()).clone();
    assert_eq!(again, StructureReport { file: "mine.json".into(), ..found.clone() });
    let method = serde_json::from_value(Value::from(found.methods)).unwrap();
    let config = RunConfig { method, search: None, ..super::config() };
    assert_eq!(plan(&mut page, &config).size.map(|size| size.trainable), Some(found.parameters));
    page.send(train(&config));
    let events = page.events();
    assert_eq!((problem(&events), tuned(&events)), (None, vec![Some(2)]));
    page.send(Command::WriteConfig { config: Box::new(config.clone()) });
    let (_, bytes) = page.heard.all.borrow_mut().pop().unwrap();
    assert_eq!(RunConfig::from_toml(std::str::from_utf8(&bytes.unwrap()).unwrap()).unwrap(), config);
}

#[test]
fn a_search_that_is_stopped_keeps_what_it_knows() {
    let mut page = Page::ready();
    page.events();
    page.heard.stops_at_a_step.set(Some(page.immediate.clone()));
    page.send(train(&config(SearchBy::Magnitude)));
    let events = page.events();
    assert!(matches!(ending(&events), Some((EndReason::Stopped, step)) if step < 6), "{:?}", ending(&events));
    assert!(structure(&events).parameters <= 5000);
}

#[test]
fn what_is_no_structure_of_the_model_is_refused() {
    let mut page = Page::ready();
    page.events();
    for (text, named) in [
        ("{}", "cannot be read"),
        (r#"{"stratune_structure": 1, "sites": [{"site": "encoder.0.q", "method": "lora"}]}"#, "has no encoder.0.q"),
    ] {
        page.send(Command::ReadStructure { name: "a.json".into(), text: text.into() });
        let events = page.events();
        let problem = problem(&events).expect("a problem");
        assert!(problem.what.contains(named) && problem.at == "a.json", "{problem:?}");
    }
    let mut page = Page::new();
    page.send(Command::ReadStructure { name: "a.json".into(), text: "{}".into() });
    assert_eq!(problem(&page.events()).map(|p| p.what.as_str()), Some("no model is loaded"));
}
