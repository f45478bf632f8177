//! The linear layers that an adapter's tensors are for.

use std::collections::{BTreeMap, BTreeSet};

use stratune_protocol::{MethodConfig, Problem, Target, TargetOverride};

/// Rank and alpha of a layer.
pub(crate) type Shape = (usize, f32);

/// A linear layer of a block: `model.layers.0.self_attn.q_proj` is `(0, QProj)`.
pub(crate) fn site(path: &str) -> Result<(usize, Target), Problem> {
    let parse = || {
        let (layer, part) = path.strip_prefix("model.layers.")?.split_once('.')?;
        let target = Target::ALL.into_iter().find(|t| t.path() == part)?;
        Some((layer.parse().ok()?, target))
    };
    parse().ok_or_else(|| {
        Problem::input(format!("the adapter trains {path}, which is no linear layer of a block"))
            .next("use an adapter that was trained on this model")
    })
}

/// `method` at these layers with these ranks and alphas: one entry for each set of targets that some blocks share.
pub(crate) fn spread(method: &MethodConfig, sites: &BTreeMap<(usize, Target), Shape>) -> Vec<MethodConfig> {
    let mut targets_of: BTreeMap<usize, BTreeSet<Target>> = BTreeMap::new();
    for (layer, target) in sites.keys() {
        targets_of.entry(*layer).or_default().insert(*target);
    }
    let mut groups: BTreeMap<BTreeSet<Target>, Vec<usize>> = BTreeMap::new();
    for (layer, targets) in targets_of {
        groups.entry(targets).or_default().push(layer);
    }
    let one = |(targets, layers): (BTreeSet<Target>, Vec<usize>)| {
        let usual = (method.rank.unwrap_or(0), method.alpha.unwrap_or(1.0));
        let mut overrides = BTreeMap::new();
        for target in &targets {
            let shapes: Vec<Shape> = layers.iter().filter_map(|l| sites.get(&(*l, *target)).copied()).collect();
            let over = |(rank, alpha): Shape| TargetOverride { rank: Some(rank), alpha: Some(alpha) };
            if shapes.iter().all(|s| *s == shapes[0]) {
                if shapes[0] != usual {
                    overrides.insert(target.name().to_string(), over(shapes[0]));
                }
                continue;
            }
            for (layer, shape) in layers.iter().zip(shapes).filter(|(_, shape)| *shape != usual) {
                overrides.insert(format!("layers.{layer}.{}", target.path()), over(shape));
            }
        }
        MethodConfig { layers, targets: Some(targets.into_iter().collect()), overrides, ..method.clone() }
    };
    groups.into_iter().map(one).collect()
}
