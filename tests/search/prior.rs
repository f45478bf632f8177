//! Scores of IST as the prior of a search.

use stratune_protocol::{SearchBy, SearchReport};
use stratune_runtime::block_on;
use stratune_search::Search;
use stratune_tests::runs::RecordingCallback;
use stratune_train::{Event, RunConfig};

use crate::{config, lively, report, search};

fn scored(by: SearchBy, scores: [f32; 2], prior: f64) -> RunConfig {
    let mut config = config(by, 400);
    let search = config.search.as_mut().unwrap();
    (search.scores, search.prior) = (scores.to_vec(), prior);
    config
}

fn first(config: &RunConfig) -> SearchReport {
    let (mut trainer, _) = search(config, lively());
    let mut recording = RecordingCallback::default();
    block_on(recording.watch(&mut trainer)).unwrap();
    let told = |event| if let Event::Search(report) = event { Some(report) } else { None };
    recording.events.into_iter().find_map(told).unwrap()
}

/// At the start BIPEFT's chance of a module is σ(k z), z its block's score in deviations from the mean; S3Delta's logits differ
/// by as much, and its expected size is still the budget.
#[test]
fn a_search_begins_with_the_scores() {
    let logit = |p: f32| (f64::from(p) / (1.0 - f64::from(p))).ln();
    for by in [SearchBy::Bipeft, SearchBy::S3delta] {
        for (scores, strength) in [([1.0, 0.0], 1.0), ([-2.0, 6.0], 2.0), ([0.3, 0.3], 1.0), ([1.0, 0.0], 0.0)] {
            let config = scored(by, scores, strength);
            let (told, space) = (first(&config), Search::new(&config, &report()).unwrap());
            // Of two values each is one deviation from their mean.
            let difference = if scores[0] == scores[1] { 0.0 } else { 2.0 * strength };
            let towards = if scores[0] < scores[1] { 1 } else { 0 };
            let of = |block: usize| -> Vec<f64> {
                let all = space.space().modules.iter().zip(&told.chances);
                all.filter(|(m, _)| m.at.placed.block_number() == Some(block)).map(|(_, p)| logit(*p)).collect()
            };
            for (high, low) in of(towards).into_iter().zip(of(1 - towards)) {
                // BIPEFT's parameters begin with a deviation of a thousandth.
                assert!((high - low - difference).abs() < 0.02, "{by:?}, {scores:?}: {high} {low}");
            }
            if by == SearchBy::Bipeft {
                assert!(of(towards).iter().all(|logit| (logit - difference / 2.0).abs() < 0.01));
            }
        }
    }
}

/// A strong prior decides which block has what there is when nothing else has been learned yet: the other one has what is left.
#[test]
fn a_strong_prior_decides_at_the_start() {
    for (scores, block) in [([1.0, 0.0], 0), ([0.0, 1.0], 1)] {
        let config = scored(SearchBy::S3delta, scores, 10.0);
        let space = Search::new(&config, &report()).unwrap();
        let sizes = first(&config).sizes;
        let numbers = |of: usize| -> u64 {
            let all = space.space().modules.iter().zip(&sizes).filter(|(m, _)| m.at.placed.block_number() == Some(of));
            all.map(|(module, size)| module.count(*size)).sum()
        };
        assert!(numbers(block) > 4 * numbers(1 - block), "{scores:?}: {} {}", numbers(block), numbers(1 - block));
    }
}

#[test]
fn scores_of_another_model_are_refused() {
    for by in [SearchBy::Bipeft, SearchBy::S3delta] {
        let mut config = scored(by, [1.0, 0.0], 1.0);
        config.search.as_mut().unwrap().scores.push(3.0);
        let problem = Search::new(&config, &report()).err().unwrap();
        assert!(problem.at == "search.scores" && problem.what.contains("3 scores"), "{problem}");
    }
}
