//! Exactly the sampled blocks change, and the backward pass goes no deeper than it must.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;
use stratune_data::collate;
use stratune_peft::{Values, snapshot};
use stratune_protocol::{IstConfig, IstMode, OptimiserKind};
use stratune_runtime::{block_on, peak_host_memory, read_f32, reset_peak_host_memory};
use stratune_tests::runs::{RecordingCallback, counting, small, trainer};
use stratune_train::{DeviceBatch, Event, NextToken, RunConfig, SweepOptions, sweep};

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

fn numbers(values: Values) -> BTreeMap<String, Vec<f32>> {
    values.into_iter().map(|(path, (_, value))| (path, block_on(read_f32(value)).unwrap())).collect()
}

/// (a) From one checkpoint to the next, values and moments of the sampled blocks move, and every bit of the others stays,
/// with weight decay on.
#[test]
fn exactly_the_sampled_blocks_change() {
    for mode in [IstMode::Faithful, IstMode::Practical, IstMode::CostAware, IstMode::Random] {
        let mut recording = RecordingCallback::default();
        block_on(recording.watch(&mut trainer(&config(mode, 12), LAYERS, &Device::flex()))).unwrap();
        let sampled = recording.sampled();
        assert_eq!(sampled.len(), 12);
        for (step, pair) in recording.checkpoints.windows(2).enumerate() {
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
/// (e) With μ = 0 the released algorithm is random sparse tuning at the step's own rate: same draws, same bits.
#[test]
fn without_a_step_size_it_is_random_sparse_tuning() {
    let run = |mode: IstMode| {
        let mut config = config(mode, 20);
        config.ist.step_size = 0.0;
        config.ist.rate_limit = 1.0;
        let mut recording = RecordingCallback::default();
        block_on(recording.watch(&mut trainer(&config, LAYERS, &Device::flex()))).unwrap();
        recording
    };
    let (faithful, random) = (run(IstMode::Faithful), run(IstMode::Random));
    let updates = faithful.events.iter().filter(|e| matches!(e, Event::Importance { .. })).count();
    assert_eq!(updates, 6, "the importance loop ran");
    assert_eq!(faithful.sampled(), random.sampled());
    assert_eq!(faithful.last().tensors, random.last().tensors);
}

/// A block that is drawn by a quarter moves four times as far in a step as the step's rate alone would move it, whichever
/// optimiser moves it and however the backward pass goes; and where all blocks are drawn, `random` is `all`, bit for bit.
#[test]
fn a_block_that_is_drawn_by_a_quarter_moves_four_times_as_far() {
    let step = |mode: IstMode, fraction: f32, rate_limit: f32, (optimiser, keep_graphs): (OptimiserKind, usize)| {
        let mut config = config(mode, 1);
        (config.ist.fraction, config.ist.rate_limit) = (fraction, rate_limit);
        (config.train.optimiser, config.train.keep_graphs) = (optimiser, keep_graphs);
        (config.train.weight_decay, config.train.graph_memory, config.train.warmup_steps) = (0.0, 0, 0);
        let mut trainer = trainer(&config, LAYERS, &Device::flex());
        let mut recording = RecordingCallback::default();
        let start = numbers(snapshot(&mut trainer.model));
        block_on(trainer.advance(&mut recording)).unwrap();
        (recording.sampled().remove(0), start, numbers(snapshot(&mut trainer.model)))
    };
    for of in [(OptimiserKind::Adamw, 0), (OptimiserKind::Adamw, LAYERS), (OptimiserKind::Mezo, 0)] {
        assert_eq!(step(IstMode::Random, 1.0, 8.0, of), step(IstMode::All, 0.25, 8.0, of), "{of:?}");
        let (drawn, start, alone) = step(IstMode::Random, 0.25, 1.0, of);
        let (drawn_again, _, scaled) = step(IstMode::Random, 0.25, 8.0, of);
        assert_eq!((drawn.len(), &drawn), (2, &drawn_again));
        let mut moved = BTreeSet::new();
        for (path, start) in &start {
            for ((start, alone), scaled) in start.iter().zip(&alone[path]).zip(&scaled[path]) {
                let (alone, scaled) = (alone - start, scaled - start);
                // Moves of 1e-3 and less of numbers up to a half, which are rounded to 3e-8.
                assert!((scaled - 4.0 * alone).abs() < 2e-7, "{of:?}, {path}: {alone} and {scaled}");
                moved.extend(block_of(path).filter(|_| scaled.abs() > 1e-6));
            }
        }
        assert_eq!(moved, drawn.iter().copied().collect(), "{of:?}");
    }
}

/// `scored` learns about the blocks and leaves training as it is under `all`, bit for bit.
#[test]
fn scores_that_are_learned_beside_training_change_nothing_in_it() {
    let run = |mode: IstMode| {
        let mut recording = RecordingCallback::default();
        block_on(recording.watch(&mut trainer(&config(mode, 7), LAYERS, &Device::flex()))).unwrap();
        recording
    };
    let (scored, all) = (run(IstMode::Scored), run(IstMode::All));
    let scores: Vec<_> = scored
        .events
        .iter()
        .filter_map(|e| match e {
            Event::Importance { scores, probabilities, .. } => Some((scores.clone(), probabilities.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(scores.len(), 2, "in front of steps 3 and 6");
    assert!(scores[0].0 != scores[1].0 && scores[1].0.iter().any(|score| *score != 0.0), "{scores:?}");
    assert_eq!((scored.losses(), scored.sampled()), (all.losses(), all.sampled()));
    assert_eq!(scored.last().tensors, all.last().tensors);
}

/// `all` trains every block at every step.
#[test]
fn all_is_all() {
    let mut recording = RecordingCallback::default();
    block_on(recording.watch(&mut trainer(&config(IstMode::All, 2), LAYERS, &Device::flex()))).unwrap();
    assert_eq!(recording.sampled(), vec![(0..LAYERS).collect::<Vec<_>>(); 2]);
}

/// The backward pass goes through the blocks from the top down to the lowest sampled one, and through no other.
#[test]
fn backward_stops_below_the_lowest_sampled_block() {
    let device = Device::flex();
    let mut model = small(LAYERS, &device);
    block_on(model.attach(&config(IstMode::All, 1).method, 0)).unwrap();
    let rows = counting(4, 0);
    let batch = DeviceBatch::new(&collate(&rows.train.iter().collect::<Vec<_>>()), &device);
    for keep_graphs in [0, 3, LAYERS] {
        for sampled in [vec![7], vec![5, 6], vec![2, 7], vec![0, 4]] {
            let active: Vec<bool> = (0..LAYERS).map(|i| sampled.contains(&i)).collect();
            let options =
                SweepOptions { objective: &NextToken, active: &active, dropout: None, keep_graphs, scale: 1.0 };
            let swept = sweep(&model, &batch, &options);
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
    let batch = DeviceBatch::new(&collate(&rows.train.iter().collect::<Vec<_>>()), &device);
    let peak = |sampled: &[usize]| {
        let active: Vec<bool> = (0..LAYERS).map(|i| sampled.contains(&i)).collect();
        let options =
            SweepOptions { objective: &NextToken, active: &active, dropout: None, keep_graphs: LAYERS, scale: 1.0 };
        // Once for what is set up on the first use.
        drop(sweep(&model, &batch, &options));
        let before = stratune_runtime::memory_in_use(&device);
        reset_peak_host_memory();
        drop(sweep(&model, &batch, &options));
        peak_host_memory() - before
    };
    // Other tests of this process allocate too; the least of a few is the sweep's own.
    let least = |sampled: &[usize]| (0..5).map(|_| peak(sampled)).min().unwrap();
    let (low, high) = (least(&[0, 1]), least(&[6, 7]));
    assert!((high as f64) < 0.6 * low as f64, "high {high}, low {low}");
}
