//! What holds of every searcher, and what is refused.

use std::rc::Rc;

use stratune_peft::Structure;
use stratune_protocol::{EndReason, SearchBy, SearchReport};
use stratune_runtime::block_on;
use stratune_search::Search;
use stratune_session::set_apart;
use stratune_tests::runs::{RecordingCallback, counting, trainer_of};
use stratune_train::{Event, RunConfig};

use crate::{config, lively, loss, report, search};

/// A search to its end: what was told, what was found, and the steps it took.
fn searched(config: &RunConfig) -> (Vec<SearchReport>, Structure, usize) {
    let (mut trainer, found) = search(config, lively());
    let mut recording = RecordingCallback::default();
    let ended = block_on(recording.watch(&mut trainer)).unwrap();
    assert_eq!(ended.reason, EndReason::Steps);
    let told = |event| if let Event::Search(report) = event { Some(report) } else { None };
    (recording.events.into_iter().filter_map(told).collect(), found.structure().unwrap(), ended.step)
}

/// Counted exactly, and by the methods that it becomes, a structure is within the budget; the same seed finds the same; the
/// last report says what was found; a search that knows what it looks for takes no further step.
#[test]
fn every_searcher_keeps_to_the_budget() {
    for (by, budget, steps) in [
        (SearchBy::Bipeft, 400, 1..24),
        (SearchBy::S3delta, 400, 24..25),
        (SearchBy::Evolution, 400, 24..25),
        (SearchBy::Magnitude, 400, 24..25),
        (SearchBy::Autopeft, 400, 24..25),
        (SearchBy::GradientNorm, 400, 0..1),
        (SearchBy::Random, 400, 0..1),
        (SearchBy::S4, 400, 0..1),
        (SearchBy::Ist, 400, 0..1),
        // A rank of 1 everywhere is 2 · (32 + 24 + 24 + 32 + 40 + 40 + 40).
        (SearchBy::Uniform, 500, 0..1),
    ] {
        let config = config(by, budget);
        let (told, structure, taken) = searched(&config);
        let numbers = structure.methods(&report()).unwrap().trainable(&report());
        println!("{}: {numbers} of {budget} after {taken} steps", by.name());
        assert!(numbers > 0 && numbers <= budget, "{by:?}: {numbers}");
        assert!(steps.contains(&taken), "{by:?}: {taken} steps");
        let last = told.last().unwrap();
        assert!(last.done && last.parameters == numbers && last.budget == budget, "{by:?}: {last:?}");
        let there = last.sizes.iter().filter(|size| **size > 0).count();
        assert_eq!((there, told[0].modules.len()), (structure.sites.len(), last.sizes.len()));
        assert!(last.chances.iter().all(|p| (0.0..=1.0).contains(p)));
        assert_eq!(searched(&config).1, structure, "{by:?}");

        // It is a run's methods like any others.
        let methods = structure.methods(&report()).unwrap();
        let mut retrained = RunConfig { method: methods, ..RunConfig::default() };
        (retrained.train.steps, retrained.train.learning_rate) = (20, 0.02);
        let mut trainer = trainer_of(&retrained, lively());
        block_on(RecordingCallback::default().watch(&mut trainer)).unwrap();
        let (before, after) = (loss(&lively()), loss(&trainer.model));
        assert!(after < before - 0.02, "{by:?}: from {before} to {after}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    type Spoil = fn(&mut RunConfig);
    let cases: [(&str, Spoil); 5] = [
        ("search.budget", |c| c.search.as_mut().unwrap().budget = 2),
        ("search.budget", |c| c.search.as_mut().unwrap().budget = 1_000_000),
        ("method.targets", |c| c.method[0].targets = Some("q_prj".parse().unwrap())),
        ("method", |c| c.method[0].rank = Some(3)),
        ("method.layers", |c| c.method[2].layers = vec![7]),
    ];
    for (at, spoil) in cases {
        let mut config = config(SearchBy::Bipeft, 400);
        spoil(&mut config);
        let problem = Search::new(&config, &report()).err().unwrap();
        assert_eq!(problem.at, at, "{problem}");
        assert!(!problem.next.is_empty());
    }
    let problem = Search::new(&config(SearchBy::Uniform, 400), &report()).err().unwrap();
    assert!(problem.what.contains("464 numbers"), "{problem}");

    let config = config(SearchBy::Bipeft, 400);
    let problem = set_apart(Rc::new(counting(1, 3)), &config).unwrap_err();
    assert_eq!(problem.at, "search.share");
}
