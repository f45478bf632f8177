//! AutoPEFT: each structure trains alone, and what is said of its loss is what it has.

use stratune_data::Sequence;
use stratune_peft::Structure;
use stratune_protocol::{FrontPoint, SearchBy, SearchReport};
use stratune_runtime::block_on;
use stratune_search::{Front, Search};
use stratune_session::set_apart;
use stratune_tests::runs::{RecordingCallback, counting};
use stratune_train::{Batching, Event, Identity, NextToken, RunConfig, Trainer, evaluate};

use crate::{config, lively, report, search};

/// As many steps as twelve structures take.
fn asked() -> RunConfig {
    let mut config = config(SearchBy::Autopeft, 400);
    config.search.as_mut().unwrap().larger_budgets = vec![800];
    config.train.steps = 48;
    config
}

fn told(config: &RunConfig) -> Vec<SearchReport> {
    let (mut trainer, _) = search(config, lively());
    let mut recording = RecordingCallback::default();
    block_on(recording.watch(&mut trainer)).unwrap();
    recording
        .events
        .into_iter()
        .filter_map(|e| if let Event::Search(report) = e { Some(report) } else { None })
        .collect()
}

/// The loss on the rows that are set apart after a structure has trained alone for as many steps, as any run does.
fn alone(config: &RunConfig, structure: &Structure, steps: usize) -> f64 {
    let dataset = set_apart(std::rc::Rc::new(counting(40, 12)), config).unwrap();
    let mut retrained = RunConfig { method: structure.methods(&report()).unwrap(), search: None, ..config.clone() };
    retrained.train.steps = steps;
    let mut model = lively();
    block_on(model.attach(&retrained.method, config.train.seed)).unwrap();
    let mut trainer = Trainer::new(retrained, model, dataset.clone(), Vec::new(), Identity::default()).unwrap();
    block_on(RecordingCallback::default().watch(&mut trainer)).unwrap();
    // A search looks at four batches at most.
    let rows: Vec<&Sequence> = dataset.importance.iter().take(4 * config.train.batch_size).collect();
    block_on(evaluate(&NextToken, &trainer.model, &rows, Batching::packed(8), None)).unwrap().loss
}

/// The first structure that is measured has the loss that it has when it trains without a search.
#[test]
fn a_structure_has_the_loss_that_is_told() {
    let config = asked();
    let told = told(&config);
    let first: &FrontPoint = &told.iter().find(|s| !s.front.is_empty()).unwrap().front[0];
    let space = Search::new(&config, &report()).unwrap();
    let structure = space.space().structure(&first.sizes);
    let again = alone(&config, &structure, 4);
    println!("{} numbers: {} in the search, {again} alone", first.parameters, first.loss);
    assert!((first.loss - again).abs() < 1e-5, "{} in the search, {again} alone", first.loss);
}

/// The same structure is measured alike wherever it stands among others, on the same rows: nothing of one is left in the next.
#[test]
fn nothing_is_left_of_the_structure_before() {
    let mut config = asked();
    // One batch is all rows, so that each step has the same.
    (config.train.batch_size, config.search.as_mut().unwrap().share) = (20, 0.5);
    let told = told(&config);
    let space = Search::new(&config, &report()).unwrap();
    let untrained = alone(&config, &space.space().structure(&told[0].sizes), 0);
    let last = told.iter().rev().find(|s| !s.front.is_empty()).unwrap();
    assert!(last.front.len() > 1);
    for point in &last.front {
        let again = alone(&config, &space.space().structure(&point.sizes), 4);
        println!("{} numbers: {} then, {again} alone, {untrained} untrained", point.parameters, point.loss);
        assert!((point.loss - again).abs() < 1e-5, "{} numbers: {} then, {again} alone", point.parameters, point.loss);
    }
    assert!(last.front.last().unwrap().loss < untrained - 0.02, "{untrained}");
}

/// The volume of the front never falls from one evaluation to the next, and it ends with what is found.
#[test]
fn the_hypervolume_never_falls() {
    let told = told(&asked());
    let fronts = told.iter().filter(|s| !s.front.is_empty()).map(|s| {
        let mut front = Front::default();
        assert!(s.front.iter().all(|point| front.add(point.clone()) && point.parameters <= 800));
        front.hypervolume([800.0, 10.0])
    });
    let volumes: Vec<f64> = fronts.collect();
    assert!(volumes.len() > 1 && volumes.windows(2).all(|pair| pair[0] < pair[1]), "{volumes:?}");
    let last = told.last().unwrap();
    assert!(last.done && last.parameters <= 400);
}

#[test]
fn too_few_steps_are_refused() {
    let mut config = asked();
    config.search.as_mut().unwrap().evaluation_steps = 25;
    config.train.steps = 49;
    let problem = block_on(RecordingCallback::default().watch(&mut search(&config, lively()).0)).unwrap_err();
    assert!(problem.at == "search.evaluation_steps" && problem.next.contains("50 steps"), "{problem}");
    config.train.warmup_steps = 3;
    let refused = Search::new(&config, &report()).err().unwrap();
    assert_eq!(refused.at, "train.schedule");
}
