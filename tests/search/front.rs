//! Several budgets in one search, soft ones, and the front of what was measured.

use stratune_peft::Structure;
use stratune_protocol::{FrontPoint, SearchBy, SearchReport};
use stratune_runtime::block_on;
use stratune_search::Front;
use stratune_tests::runs::RecordingCallback;
use stratune_train::{Event, RunConfig};

use crate::{config, lively, report, search};

const BUDGETS: [u64; 3] = [300, 500, 800];

fn several(by: SearchBy) -> RunConfig {
    let mut config = config(by, BUDGETS[0]);
    config.search.as_mut().unwrap().larger_budgets = BUDGETS[1..].to_vec();
    config
}

fn searched(config: &RunConfig) -> (Vec<SearchReport>, Vec<(u64, Structure)>) {
    let (mut trainer, found) = search(config, lively());
    let mut recording = RecordingCallback::default();
    block_on(recording.watch(&mut trainer)).unwrap();
    let told = |event| if let Event::Search(report) = event { Some(report) } else { None };
    (recording.events.into_iter().filter_map(told).collect(), found.structures())
}

fn front(points: &[FrontPoint]) -> Front {
    let mut front = Front::default();
    assert!(points.iter().all(|point| front.add(point.clone())), "none is worse than another");
    assert_eq!(front.points(), points, "from the smallest to the largest");
    front
}

/// Under each budget there is a structure that keeps to it and is worth it; what was measured is a front whose volume never
/// falls while the search goes on.
#[test]
fn one_search_finds_a_structure_for_each_budget() {
    for by in [SearchBy::Bipeft, SearchBy::S3delta, SearchBy::Evolution, SearchBy::Magnitude] {
        let (told, found) = searched(&several(by));
        let numbers: Vec<u64> = found.iter().map(|(_, s)| s.methods(&report()).unwrap().trainable(&report())).collect();
        assert_eq!(found.iter().map(|(budget, _)| *budget).collect::<Vec<_>>(), BUDGETS, "{by:?}");
        // The smallest module has 8 numbers, the largest 160.
        let worth = |(numbers, budget): (&u64, u64)| *numbers <= budget && *numbers + 160 > budget;
        assert!(numbers.iter().zip(BUDGETS).all(worth), "{by:?}: {numbers:?}");

        let fronts: Vec<Front> = told.iter().filter(|s| !s.front.is_empty()).map(|s| front(&s.front)).collect();
        let volumes: Vec<f64> = fronts.iter().map(|front| front.hypervolume([900.0, 10.0])).collect();
        println!("{by:?}: {numbers:?}, volumes {volumes:?}");
        assert!(volumes[0] > 0.0 && volumes.windows(2).all(|pair| pair[0] <= pair[1]), "{by:?}: {volumes:?}");
        let last = fronts.last().unwrap().points();
        assert!(last.iter().all(|point| point.parameters <= 800 && point.sizes.len() == told[0].modules.len()));
        assert!(told.last().unwrap().done);
    }
}

/// While BIPEFT prunes, the larger budgets are reached before the smallest.
#[test]
fn larger_budgets_are_noted_on_the_way() {
    let mut config = several(SearchBy::Bipeft);
    config.search.as_mut().unwrap().prunings = 8;
    let (told, _) = searched(&config);
    let first = told.iter().find(|s| !s.front.is_empty()).unwrap();
    assert!(!first.done && first.step < told.last().unwrap().step, "{} of {:?}", first.step, told.last());
    assert!(first.front[0].parameters > BUDGETS[1], "{:?}", first.front);
}

/// With a tolerance every searcher keeps within it, and some use it.
#[test]
fn a_soft_budget_is_exceeded_by_its_tolerance_at_most() {
    let mut beyond = 0;
    for by in [SearchBy::Bipeft, SearchBy::S3delta, SearchBy::Evolution, SearchBy::Random, SearchBy::S4] {
        let mut config = config(by, 400);
        config.search.as_mut().unwrap().tolerance = 0.1;
        let numbers = searched(&config).1[0].1.methods(&report()).unwrap().trainable(&report());
        assert!((1..=440).contains(&numbers), "{by:?}: {numbers}");
        beyond += usize::from(numbers > 400);
    }
    assert!(beyond > 0);
}
