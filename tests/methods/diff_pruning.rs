//! Diff pruning: what its switches open, what is kept, and that this trains on.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use stratune_peft::{Diff, Dropout, ForwardContext, Linear, MethodKind, ModuleId, Site, named_parameters, snapshot};
use stratune_protocol::Role;
use stratune_runtime::read_f32;
use stratune_session::hooks_for;
use stratune_tests::runs::{RecordingCallback, counting, small};
use stratune_train::{Identity, Trainer};

use super::suited;
use crate::models::{LAYERS, fresh, moved};
use crate::proofs::{config, numbers};
use crate::selective::{indices, top};

pub async fn all(device: &Device) {
    opens_what_it_expects_and_keeps_its_largest(device).await;
    trains_on_what_it_keeps(device).await;
}

/// The first half of a run trains differences and switches; the second what was largest of them, and its best is of the
/// second half alone.
async fn trains_on_what_it_keeps(device: &Device) {
    let mut config = config(suited(MethodKind::DiffPruning));
    config.train.eval_every = 1;
    // At a falling rate the first validation, of the base, would never be the best one anyway.
    let model = fresh(&config.method, device).await;
    let hooks = hooks_for(&config, LAYERS);
    let dataset = Rc::new(counting(40, 12));
    let mut trainer = Trainer::new(config.clone(), model, dataset, hooks, Identity::default()).expect("a run");
    let mut there = BTreeMap::new();
    for step in 0..6 {
        trainer.advance(&mut RecordingCallback::default()).await.expect("a step");
        let now = numbers(snapshot(&mut trainer.model)).await;
        let ends = |path: &String| path.rsplit('.').next().unwrap_or_default().to_string();
        let kinds: BTreeSet<String> = now.keys().map(ends).collect();
        let want: &[&str] = if step < 3 { &["diff_switch", "diff_values"] } else { &["sparse_values"] };
        assert!(kinds.iter().eq(want), "step {step}: {kinds:?}");
        if step >= 4 {
            assert!(now.iter().all(|(path, values)| there[path] != *values), "step {step}: they train");
        }
        there = now;
    }
    // Pruned state is not remembered, nor is a best of what is pruned.
    let kept: usize = there.values().map(Vec::len).sum();
    assert_eq!(trainer.optimiser_state(), 2 * kept);
    let model = fresh(&config.method, device).await;
    let dataset = Rc::new(counting(40, 12));
    let hooks = hooks_for(&config, LAYERS);
    let mut trainer = Trainer::new(config, model, dataset, hooks, Identity::default()).expect("a run");
    let ended = RecordingCallback::default().watch(&mut trainer).await.expect("a run to its end");
    assert!(ended.best.is_some_and(|(step, _)| step > 3), "{ended:?}");
}

/// 400 draws of 384 switches: the share of open ones within 4 standard deviations of the expected one.
async fn opens_what_it_expects_and_keeps_its_largest(device: &Device) {
    let method = suited(MethodKind::DiffPruning);
    let mut base = small(LAYERS, device);
    let weight = base.layers[0].linear_mut(Role::Up).expect("up_proj").weight.dense();
    let id = ModuleId::new(Some(0), "up_proj");
    let site = Site { id: id.clone(), role: Role::Up, index: 5, weight, bias: None, sites: 1, seed: 1 };
    let mut diff = Diff::new(&method, &site).expect("a share");
    diff.difference.value = Tensor::ones([24, 16], device);
    diff.switch.value = Tensor::full([24, 16], 0.7, device);
    let expected = f64::from(read_f32(diff.expected_open()).await.expect("a number")[0]);
    let unit = Tensor::<2>::eye(16, device).unsqueeze::<3>();
    let linear = {
        let mut linear = Linear::new(id, Tensor::zeros([24, 16], device));
        linear.deltas.push(Box::new(diff));
        linear
    };
    let mut open = 0;
    for batch in 0..400 {
        let dropout = Some(Dropout { seed: 3, batch });
        let context = ForwardContext { dropout, ..ForwardContext::inference(0, Rc::default()) };
        let drawn = read_f32(linear.forward(unit.clone(), &context)).await.expect("switches");
        open += drawn.iter().filter(|z| **z > 0.0).count();
    }
    let (mean, chance) = (open as f64 / 400.0, expected / 384.0);
    let deviation = (384.0 * chance * (1.0 - chance) / 400.0).sqrt();
    assert!((mean - expected).abs() < 4.0 * deviation, "{mean} open of 384, {expected} expected");

    let methods = method.into();
    let mut model = moved(&methods, device).await;
    let dense = model.clone();
    let kept = model.finalize(&methods).await.expect("what is kept");
    assert_eq!(kept[0].kind, MethodKind::RandomMask);
    let mut dense = dense;
    dense.merge().expect("it merges");
    let (base, dense) =
        (numbers(named_parameters(&mut small(LAYERS, device))).await, numbers(named_parameters(&mut dense)).await);
    for (path, found) in indices(&mut model).await {
        let update: Vec<f32> = base[&path].iter().zip(&dense[&path]).map(|(a, b)| (a - b).abs()).collect();
        assert_eq!(found.len(), (update.len() as f64 * 0.1).round() as usize, "{path}");
        let least = top(&update, found.len()).iter().map(|i| update[*i]).fold(f32::MAX, f32::min);
        // The merged difference carries the rounding of the sum.
        assert!(found.iter().all(|i| update[*i] >= least - 1e-7), "{path}: the largest");
    }
}
