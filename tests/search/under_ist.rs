//! What a search has found trains under IST: of the blocks only those count that have something to train.

use std::collections::BTreeSet;

use burn::tensor::Device;
use stratune_peft::{MethodNames, Placed};
use stratune_protocol::{IstConfig, IstMode, SearchBy, SearchConfig};
use stratune_runtime::block_on;
use stratune_search::{Search, in_blocks};
use stratune_tests::runs::{RecordingCallback, small, trainer_of};
use stratune_train::{Event, RunConfig};

const LAYERS: usize = 6;

#[test]
fn drawn_blocks_are_among_those_with_sites() {
    let report = small(LAYERS, &Device::flex()).config.report("small", 0);
    let names: MethodNames = "lora".parse().unwrap();
    // Of scores the two highest blocks, and a part of a third.
    let scores = vec![0.0, 2.0, -1.0, 0.5, -1.0, 3.0];
    let search = SearchConfig { budget: 1100, sizes: vec![2], scores, ..SearchConfig::preset(SearchBy::Ist) };
    let mut config = RunConfig { method: names.methods(&report), search: Some(search), ..RunConfig::default() };
    config.method.set(Some(2), |m| &mut m.rank);
    config.method.set(Some(2.0), |m| &mut m.alpha);
    let search = Search::new(&in_blocks(config, &report), &report).unwrap();
    let sizes = search.searcher().found(search.space());
    let structure = search.space().structure(&sizes);
    let blocks: BTreeSet<usize> = structure.sites.iter().filter_map(Placed::block_number).collect();
    assert_eq!(blocks, BTreeSet::from([1, 3, 5]));

    for mode in [IstMode::Random, IstMode::Faithful, IstMode::Practical, IstMode::CostAware] {
        // Small batches: what `cost_aware` spends on them says how often it learns.
        let ist = IstConfig { fraction: 0.67, interval: 4, batch_size: 2, ..IstConfig::preset(mode) };
        let mut config = RunConfig { method: structure.methods(&report).unwrap(), ist, ..RunConfig::default() };
        (config.train.steps, config.train.batch_size, config.train.checkpoint_every) = (24, 4, 9);
        let run = |config: &RunConfig| {
            let mut trainer = trainer_of(config, small(LAYERS, &Device::flex()));
            let mut recording = RecordingCallback::default();
            block_on(recording.watch(&mut trainer)).unwrap();
            recording
        };
        let whole = run(&config);
        let drawn = whole.sampled();
        let seen: BTreeSet<usize> = drawn.iter().flatten().copied().collect();
        assert_eq!(seen, blocks, "{mode:?}: each of them, and no other");
        assert!(mode == IstMode::CostAware || drawn.iter().all(|blocks| blocks.len() == 2), "two of three: {drawn:?}");
        for event in &whole.events {
            let Event::Importance { scores, probabilities, candidates, .. } = event else { continue };
            assert_eq!((scores.len(), probabilities.len()), (LAYERS, LAYERS));
            let without = (0..LAYERS).filter(|block| !blocks.contains(block));
            assert!(without.into_iter().all(|block| scores[block] == 0.0 && probabilities[block] == 0.0), "{mode:?}");
            assert!(candidates.iter().flat_map(|tried| &tried.damped).all(|block| blocks.contains(block)), "{mode:?}");
        }
        let told = whole.events.iter().filter(|event| matches!(event, Event::Importance { .. })).count();
        assert_eq!(told > 0, mode != IstMode::Random, "{mode:?}");

        // It goes on as it was from a checkpoint in between.
        let mut again = trainer_of(&config, small(LAYERS, &Device::flex()));
        again.resume(&whole.checkpoints[0]).unwrap();
        let mut second = RecordingCallback::default();
        block_on(second.watch(&mut again)).unwrap();
        assert_eq!(second.sampled(), drawn[9..], "{mode:?}");
        assert_eq!(second.losses(), whole.losses()[9..], "{mode:?}");
    }
}
