//! What trains some of the weights: the choice, and that the rest stays.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::{Sequence, collate};
use stratune_models::Model;
use stratune_peft::{Matrix, MethodConfig, MethodKind, Sparse, named_parameters, snapshot};
use stratune_protocol::{Role, draws};
use stratune_runtime::read_f32;
use stratune_session::{adapter_of, attach, hooks_for, read_adapter};
use stratune_store::MemoryFolder;
use stratune_tests::runs::{RecordingCallback, counting, small};
use stratune_train::{
    AdamW, DeviceBatch, Event, Identity, NextToken, RunConfig, StepKey, SweepOptions, Trainer, sweep,
};

use super::suited;
use crate::models::{LAYERS, fresh, moved};
use crate::proofs::{config, numbers};

pub async fn all(device: &Device) {
    fish_takes_the_largest_squared_gradients(device).await;
    lottery_tickets_are_what_moved_most_and_start_where_they_were(device).await;
    lottery_tickets_may_be_drawn_from_a_whole_run(device).await;
    child_tuning_drops_most_of_the_gradient(device).await;
    sparse_adapters_keep_what_matters_most(device).await;
    smallest_weights_of_another_base_are_refused(device).await;
    places_outside_of_the_matrix_are_refused(device).await;
    lisa_trains_a_few_blocks_and_keeps_their_state_alone(device).await;
    galore_moves_a_whole_matrix_with_a_small_state(device).await;
}

/// A run of `config` on 40 rows, with what chooses from data chosen.
async fn chosen(config: &RunConfig, device: &Device) -> Trainer {
    let model = fresh(&config.method, device).await;
    let hooks = hooks_for(config, LAYERS);
    let dataset = Rc::new(counting(40, 0));
    let mut trainer = Trainer::new(config.clone(), model, dataset, hooks, Identity::default()).expect("a run");
    trainer.prepare(&mut RecordingCallback::default()).await.expect("a choice");
    trainer
}

/// The indices of every sparse matrix, by its path.
pub async fn indices(model: &mut Model) -> BTreeMap<String, BTreeSet<usize>> {
    let mut found = BTreeMap::new();
    for block in &mut model.layers {
        for linear in block.linears_mut() {
            for delta in &linear.deltas {
                let Some(sparse) = delta.of::<Sparse>() else { continue };
                let flat = read_f32(sparse.flat().float()).await.expect("indices");
                let path = linear.id.param("weight").path;
                found.insert(path, flat.iter().map(|p| *p as usize).collect());
            }
        }
    }
    found
}

/// The indices of the `count` largest.
pub fn top(values: &[f32], count: usize) -> BTreeSet<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.into_iter().take(count).collect()
}

/// The base with its matrices trainable, and the gradients of some rows.
async fn whole_gradients(model: &Model, rows: &[&Sequence]) -> BTreeMap<String, Vec<f32>> {
    let batch = DeviceBatch::new(&collate(rows), &model.device());
    let active = vec![true; model.layers.len()];
    let scale = 1.0 / batch.labelled as f64;
    let options = SweepOptions { objective: &NextToken, active: &active, dropout: None, keep_graphs: 0, scale };
    let mut read = BTreeMap::new();
    for (path, gradient) in sweep(model, &batch, &options).gradients {
        read.insert(path, read_f32(gradient).await.expect("a gradient"));
    }
    read
}

/// All 40 rows are looked at, so that their order does not matter.
async fn fish_takes_the_largest_squared_gradients(device: &Device) {
    let method = MethodConfig { samples: Some(1000), ..suited(MethodKind::Fish) };
    let mut trainer = chosen(&config(method), device).await;
    let model = fresh(&MethodKind::Full.into(), device).await;
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for row in &counting(40, 0).train {
        for (path, gradient) in whole_gradients(&model, &[row]).await {
            let sum = sums.entry(path).or_insert_with(|| vec![0.0; gradient.len()]);
            sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g * g);
        }
    }
    for (path, found) in indices(&mut trainer.model).await {
        let want = top(&sums[&path], found.len());
        // The sums are taken in another order: near ties may fall either way.
        let off = found.difference(&want).count();
        assert!(off * 20 <= want.len(), "{path}: {off} of {} differ", want.len());
    }
}

async fn lottery_tickets_are_what_moved_most_and_start_where_they_were(device: &Device) {
    let method = MethodConfig { samples: Some(8), ..suited(MethodKind::LtSft) };
    let config = config(method);
    let mut trainer = chosen(&config, device).await;
    let found = indices(&mut trainer.model).await;
    for (path, value) in numbers(snapshot(&mut trainer.model)).await {
        assert!(value.iter().all(|v| *v == 0.0), "{path}: the second phase starts where the first one did");
    }
    // The first phase again: the same eight rows, one step of full tuning.
    let mut rows: Vec<Sequence> = counting(40, 0).train;
    rand::seq::SliceRandom::shuffle(rows.as_mut_slice(), &mut draws(config.train.seed, "scout_rows", [0, 0]));
    let rows: Vec<&Sequence> = rows.iter().take(8).collect();
    let mut model = fresh(&MethodKind::Full.into(), device).await;
    let before = numbers(named_parameters(&mut model.clone())).await;
    let batch = DeviceBatch::new(&collate(&rows), device);
    let scale = 1.0 / batch.labelled as f64;
    let options = SweepOptions { objective: &NextToken, active: &[true; LAYERS], dropout: None, keep_graphs: 0, scale };
    let whole = sweep(&model, &batch, &options).gradients;
    let mut adam = AdamW::new(config.train.weight_decay);
    adam.step(&mut model, whole, 0.0, |_| config.train.learning_rate, StepKey::default());
    let after = numbers(named_parameters(&mut model)).await;
    for (path, found) in found {
        let moves: Vec<f32> = before[&path].iter().zip(&after[&path]).map(|(a, b)| (a - b).abs()).collect();
        let least = top(&moves, found.len()).iter().map(|i| moves[*i]).fold(f32::MAX, f32::min);
        assert!(found.iter().all(|i| moves[*i] >= least), "{path}: what moved most");
    }
}

/// With no number of rows the first phase is as long as the run, as in its paper.
async fn lottery_tickets_may_be_drawn_from_a_whole_run(device: &Device) {
    for (samples, rows) in [(8, 8), (0, 6 * 8)] {
        let config = config(MethodConfig { samples: Some(samples), ..suited(MethodKind::LtSft) });
        config.validate().expect("a setting of LT-SFT");
        let model = fresh(&config.method, device).await;
        let dataset = Rc::new(counting(40, 0));
        let hooks = hooks_for(&config, LAYERS);
        let mut trainer = Trainer::new(config, model, dataset, hooks, Identity::default()).expect("a run");
        let mut recording = RecordingCallback::default();
        trainer.prepare(&mut recording).await.expect("a choice");
        let told = recording
            .events
            .iter()
            .any(|e| matches!(e, Event::Notice { text } if text.contains(&format!("on {rows} rows"))));
        assert!(told, "{:?}", recording.events);
        let progress = recording.events.iter().filter_map(|e| match e {
            Event::Progress { done, total, .. } => Some((*done, *total)),
            _ => None,
        });
        // What is between the first and the last is told now and then.
        let (progress, last) = (progress.collect::<Vec<_>>(), (rows / 8) as u64);
        assert!(progress.is_sorted() && progress.first() == Some(&(1, last)), "{progress:?}");
        assert_eq!(progress.last(), Some(&(last, last)));
    }
    let fish = config(MethodConfig { samples: Some(0), ..suited(MethodKind::Fish) });
    assert_eq!(fish.validate().expect_err("no rows").at, "method.samples");
}

/// AdamW's first step moves what has a gradient and nothing else: a share of 0.3 of 12,000 weights, within 5 standard
/// deviations.
async fn child_tuning_drops_most_of_the_gradient(device: &Device) {
    let mut config = config(suited(MethodKind::ChildTuning));
    config.train.weight_decay = 0.0;
    let mut trainer = chosen(&config, device).await;
    let before = numbers(snapshot(&mut trainer.model)).await;
    trainer.advance(&mut RecordingCallback::default()).await.expect("a step");
    let after = numbers(snapshot(&mut trainer.model)).await;
    let (mut moved, mut all) = (0, 0);
    for (path, value) in &before {
        moved += value.iter().zip(&after[path]).filter(|(a, b)| a != b).count();
        all += value.len();
    }
    let (share, deviation) = (moved as f64 / all as f64, (0.3 * 0.7 / all as f64).sqrt());
    assert!((share - 0.3).abs() < 5.0 * deviation, "{moved} of {all}");
}

/// SNIP's scores by hand, of all rows at once.
async fn sparse_adapters_keep_what_matters_most(device: &Device) {
    let method = MethodConfig { samples: Some(1000), ..suited(MethodKind::SparseAdapter) };
    let mut config = config(method);
    config.train.seed = 4;
    let mut trainer = chosen(&config, device).await;
    for block in &trainer.model.layers {
        for (matrix, count) in [(&block.adapters[0].down, 8), (&block.adapters[0].up, 8)] {
            let Matrix::Sparse { indices, values, .. } = matrix else { panic!("a sparse matrix") };
            let stratune_peft::Indices::Stored { rows, columns } = indices else { panic!("stored indices") };
            assert_eq!([&rows.value, &columns.value, &values.value].map(|t| t.dims()), [[count]; 3]);
        }
    }
    let mut whole = trainer.model.clone();
    for (i, block) in whole.layers.iter_mut().enumerate() {
        block.adapters[0] = block.adapters[0].whole((4, i));
    }
    let dataset = counting(40, 0);
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let mut order: Vec<&Sequence> = dataset.train.iter().collect();
    rand::seq::SliceRandom::shuffle(order.as_mut_slice(), &mut draws(4, "scout_rows", [0, 0]));
    for rows in order.chunks(8) {
        for (path, gradient) in whole_gradients(&whole, rows).await {
            let sum = sums.entry(path).or_insert_with(|| vec![0.0; gradient.len()]);
            sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g);
        }
    }
    let values = numbers(named_parameters(&mut whole)).await;
    let there = numbers(named_parameters(&mut trainer.model)).await;
    for i in 0..LAYERS {
        for (matrix, width) in [("down", 16), ("up", 5)] {
            let path = format!("{}.adapters.after_mlp.{matrix}", whole.layers[i].id.path);
            let weight = format!("{path}.weight");
            let scores: Vec<f32> = values[&weight].iter().zip(&sums[&weight]).map(|(w, g)| (w * g).abs()).collect();
            let (rows, columns) = (&there[&format!("{path}.sparse_rows")], &there[&format!("{path}.sparse_columns")]);
            let found: BTreeSet<usize> =
                rows.iter().zip(columns).map(|(r, c)| *r as usize * width + *c as usize).collect();
            assert_eq!(found, top(&scores, found.len()), "{path}");
        }
    }
}

async fn smallest_weights_of_another_base_are_refused(device: &Device) {
    let methods = suited(MethodKind::Pafi).into();
    let model = moved(&methods, device).await;
    let config = RunConfig { method: methods, ..RunConfig::default() };
    let files = adapter_of(&model, &config).await.expect("files");
    let folder = MemoryFolder::new("adapter", files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect());
    let adapter = read_adapter(&folder).await.expect("an adapter");
    attach(&mut small(LAYERS, device), &adapter).await.expect("its own base");
    let mut other = small(LAYERS, device);
    let weight = &mut other.layers[1].linear_mut(Role::Up).expect("up_proj").weight.floats_mut();
    weight.value = weight.value.clone().neg() + 0.01;
    let problem = attach(&mut other, &adapter).await.expect_err("another base");
    assert!(problem.at.contains("layers.1.mlp.up_proj") && problem.what.contains("smallest weights"), "{problem}");
}

/// In an adapter and in a checkpoint, of a linear layer and of a bottleneck.
async fn places_outside_of_the_matrix_are_refused(device: &Device) {
    for (kind, end) in [
        (MethodKind::RandomMask, "layers.1.mlp.up_proj.sparse_rows"),
        (MethodKind::Shira, "layers.2.self_attn.k_proj.sparse_columns"),
        (MethodKind::SparseAdapter, "layers.0.adapters.after_mlp.down.sparse_columns"),
    ] {
        let mut config = config(suited(kind));
        config.train.steps = 1;
        let path = format!("model.{end}");
        let model = moved(&config.method, device).await;
        let files = adapter_of(&model, &config).await.expect("files");
        let folder =
            MemoryFolder::new("adapter", files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect());
        let sound = read_adapter(&folder).await.expect("an adapter");
        let mut trainer = chosen(&config, device).await;
        let mut recording = RecordingCallback::default();
        recording.watch(&mut trainer).await.expect("a run to its end");
        for wrong in [-1.0, 24.0, 0.5] {
            let mut adapter = sound.clone();
            adapter.tensors.get_mut(&path).expect("indices").data[0] = wrong;
            let problem = attach(&mut small(LAYERS, device), &adapter).await.expect_err("no such place");
            assert!(problem.at == path && problem.what.contains(&wrong.to_string()), "{kind}: {problem}");
            let mut checkpoint = recording.last().clone();
            checkpoint.tensors.get_mut(&format!("value/{path}")).expect("indices").data[0] = wrong;
            let problem = chosen(&config, device).await.resume(&checkpoint).expect_err("no such place");
            assert_eq!(problem.at, path, "{kind}");
        }
    }
}

async fn lisa_trains_a_few_blocks_and_keeps_their_state_alone(device: &Device) {
    let mut config = config(MethodConfig { blocks: Some(1), interval: Some(2), ..MethodConfig::new(MethodKind::Lisa) });
    config.train.steps = 8;
    let mut trainer = chosen(&config, device).await;
    let mut before = numbers(snapshot(&mut trainer.model)).await;
    let of_block = |path: &str| path.strip_prefix("model.layers.").and_then(|r| r.split('.').next()?.parse().ok());
    let block = before.iter().filter(|(path, _)| of_block(path) == Some(0)).map(|(_, v)| v.len()).sum::<usize>();
    let rest = before.iter().filter(|(path, _)| of_block(path).is_none()).map(|(_, v)| v.len()).sum::<usize>();
    let mut drawn = BTreeSet::new();
    for step in 0..8 {
        let mut recording = RecordingCallback::default();
        trainer.advance(&mut recording).await.expect("a step");
        let sampled = recording.sampled().pop().expect("a report");
        assert_eq!(sampled.len(), 1);
        let after = numbers(snapshot(&mut trainer.model)).await;
        for (path, value) in &after {
            let trains = of_block(path).is_none_or(|b: usize| sampled.contains(&b));
            assert_eq!(*value != before[path], trains, "step {step}: {path}");
        }
        assert!(trainer.optimiser_state() <= 2 * (block + rest), "step {step}: {}", trainer.optimiser_state());
        drawn.extend(sampled);
        before = after;
    }
    assert!(drawn.len() > 1, "the blocks change: {drawn:?}");
    assert!(trainer.optimiser_state() > 2 * rest);
}

async fn galore_moves_a_whole_matrix_with_a_small_state(device: &Device) {
    let method = MethodConfig { rank: Some(2), interval: Some(3), ..MethodConfig::new(MethodKind::Galore) };
    let mut config = config(method.clone());
    config.train.steps = 12;
    config.train.weight_decay = 0.0;
    let mut trainer = chosen(&config, device).await;
    let before = numbers(snapshot(&mut trainer.model)).await;
    let mut recording = RecordingCallback::default();
    recording.watch(&mut trainer).await.expect("a run to its end");
    assert!(recording.events.iter().any(|e| matches!(e, Event::Ended { .. })));
    // Per block: q and o are 16 × 16, k and v 8 × 16, the feed-forward's 24 × 16.
    let longer = [16, 16, 16, 16, 24, 24, 24].iter().sum::<usize>();
    assert_eq!(trainer.optimiser_state(), LAYERS * 2 * 2 * longer, "two moments of rank 2");
    let after = numbers(snapshot(&mut trainer.model)).await;
    let path = "model.layers.1.mlp.up_proj.weight";
    let update: Vec<f64> = before[path].iter().zip(&after[path]).map(|(a, b)| f64::from(b - a)).collect();
    let rank = rank(update.chunks(16).map(<[f64]>::to_vec).collect());
    assert!(rank > 2, "four choices of two directions make a rank of {rank}");
}

/// The rank of rows, by elimination: what is left below a ten-thousandth of the largest entry is rounding.
fn rank(mut rows: Vec<Vec<f64>>) -> usize {
    let largest = |row: &[f64]| row.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let scale = rows.iter().map(|row| largest(row)).fold(0.0, f64::max);
    let mut rank = 0;
    while let Some(k) = (0..rows.len()).max_by(|a, b| largest(&rows[*a]).total_cmp(&largest(&rows[*b]))) {
        let pivot = rows.swap_remove(k);
        if largest(&pivot) < 1e-4 * scale {
            break;
        }
        let Some(column) = (0..pivot.len()).max_by(|a, b| pivot[*a].abs().total_cmp(&pivot[*b].abs())) else { break };
        for row in &mut rows {
            let times = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= times * p);
        }
        rank += 1;
    }
    rank
}
