//! Exactly the sampled blocks change, and the backward pass goes no deeper than it must.

use std::collections::BTreeSet;

use burn::tensor::Device;
use stratune_data::collate;
use stratune_protocol::{Event, IstConfig, IstMode, RunConfig};
use stratune_runtime::{block_on, peak_host_memory, reset_peak_host_memory};
use stratune_tests::runs::{Witness, counting, small, trainer};
use stratune_train::{Demand, Uploaded, sweep};

const LAYERS: usize = 8;

fn config(mode: IstMode, steps: usize) -> RunConfig {
    let mut config = RunConfig { ist: IstConfig::preset(mode), ..RunConfig::default() };
    config.ist.interval = 3;
    config.method[0].rank = Some(2);
    config.train.steps = steps;
    config.train.batch_size = 4;
    config.train.weight_decay = 0.1;
    config.train.checkpoint_every = 1;
    config
}

fn block_of(name: &str) -> Option<usize> {
    name.split("model.layers.").nth(1)?.split('.').next()?.parse().ok()
}

/// (a) From one checkpoint to the next, values and moments of the sampled blocks move, and every bit of the others stays,
/// with weight decay on.
#[test]
fn exactly_the_sampled_blocks_change() {
    for mode in [IstMode::Faithful, IstMode::Practical, IstMode::CostAware, IstMode::Random] {
        let mut witness = Witness::default();
        block_on(witness.watch(&mut trainer(&config(mode, 12), LAYERS, &Device::flex()))).unwrap();
        let sampled = witness.sampled();
        assert_eq!(sampled.len(), 12);
        for (step, pair) in witness.checkpoints.windows(2).enumerate() {
            let mut changed = BTreeSet::new();
            for (name, after) in &pair[1].tensors {
                let Some(block) = block_of(name).filter(|_| !name.starts_with("best/")) else { continue };
                if pair[0].tensors.get(name) != Some(after) {
                    changed.insert(block);
                }
            }
            let expected: BTreeSet<usize> = sampled[step + 1].iter().copied().collect();
            // Above a floor at the top there is no second block.
            let fewer = mode == IstMode::CostAware && expected.contains(&(LAYERS - 1));
            assert!(expected.len() == 2 || fewer && expected.len() == 1, "a quarter of {LAYERS}: {expected:?}");
            assert_eq!(changed, expected, "{mode:?}, step {}", step + 2);
        }
    }
}

/// (c) The importance loop leaves the model as it was: damping is an argument of the forward pass, not a change.
/// (e) With μ = 0 the released algorithm is random sparse tuning: same draws, same bits.
#[test]
fn without_a_step_size_it_is_random_sparse_tuning() {
    let run = |mode: IstMode| {
        let mut config = config(mode, 20);
        config.ist.step_size = 0.0;
        let mut witness = Witness::default();
        block_on(witness.watch(&mut trainer(&config, LAYERS, &Device::flex()))).unwrap();
        witness
    };
    let (faithful, random) = (run(IstMode::Faithful), run(IstMode::Random));
    let updates = faithful.events.iter().filter(|e| matches!(e, Event::Importance { .. })).count();
    assert_eq!(updates, 6, "the importance loop ran");
    assert_eq!(faithful.sampled(), random.sampled());
    assert_eq!(faithful.last().tensors, random.last().tensors);
}

/// `all` trains every block at every step.
#[test]
fn all_is_all() {
    let mut witness = Witness::default();
    block_on(witness.watch(&mut trainer(&config(IstMode::All, 2), LAYERS, &Device::flex()))).unwrap();
    assert_eq!(witness.sampled(), vec![(0..LAYERS).collect::<Vec<_>>(); 2]);
}

/// The backward pass goes through the blocks from the top down to the lowest sampled one, and through no other.
#[test]
fn backward_stops_below_the_lowest_sampled_block() {
    let device = Device::flex();
    let mut model = small(LAYERS, &device);
    block_on(model.attach(&config(IstMode::All, 1).method, 0)).unwrap();
    let rows = counting(4, 0);
    let batch = Uploaded::new(&collate(&rows.train.iter().collect::<Vec<_>>()), &device);
    for keep_graphs in [0, 3, LAYERS] {
        for sampled in [vec![7], vec![5, 6], vec![2, 7], vec![0, 4]] {
            let active: Vec<bool> = (0..LAYERS).map(|i| sampled.contains(&i)).collect();
            let demand = Demand { active: &active, dropout: None, keep_graphs, scale: 1.0 };
            let swept = sweep(&model, &batch, &demand);
            let through: Vec<usize> = (sampled[0]..LAYERS).rev().collect();
            assert_eq!(swept.passed, through, "sampled {sampled:?}");
            let blocks: BTreeSet<usize> = swept.gradients.keys().filter_map(|name| block_of(name)).collect();
            assert_eq!(blocks, sampled.iter().copied().collect(), "gradients of the sampled blocks alone");
        }
    }
}

/// (d) Memory that a step holds: with graphs kept, the lower the lowest sampled block, the more. Bytes are counted, not
/// timed; the bound of 0.6 leaves room for what does not depend on the depth.
#[test]
fn a_high_lowest_block_holds_less() {
    let device = Device::flex();
    let mut model = small(LAYERS, &device);
    block_on(model.attach(&config(IstMode::All, 1).method, 0)).unwrap();
    let rows = counting(32, 0);
    let batch = Uploaded::new(&collate(&rows.train.iter().collect::<Vec<_>>()), &device);
    let peak = |sampled: &[usize]| {
        let active: Vec<bool> = (0..LAYERS).map(|i| sampled.contains(&i)).collect();
        let demand = Demand { active: &active, dropout: None, keep_graphs: LAYERS, scale: 1.0 };
        // Once for what is set up on the first use.
        drop(sweep(&model, &batch, &demand));
        let before = stratune_runtime::memory_in_use(&device);
        reset_peak_host_memory();
        drop(sweep(&model, &batch, &demand));
        peak_host_memory() - before
    };
    // Other tests of this process allocate too; the least of a few is the sweep's own.
    let least = |sampled: &[usize]| (0..5).map(|_| peak(sampled)).min().unwrap();
    let (low, high) = (least(&[0, 1]), least(&[6, 7]));
    assert!((high as f64) < 0.6 * low as f64, "high {high}, low {low}");
}
