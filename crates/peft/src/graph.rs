//! How much a block's graph holds, before it is there.

use stratune_protocol::{ModelReport, Role};

use crate::MethodConfig;
use crate::method::Within;

/// How many top blocks' graphs fit into so many MiB for a batch of so many positions.
pub fn blocks_that_fit(model: &ModelReport, methods: &[MethodConfig], positions: usize, mebibytes: usize) -> usize {
    let block = 4.0 * graph(model, methods, positions as f64);
    let fit = mebibytes as f64 * f64::from(1 << 20) / block.max(1.0);
    (fit as usize).min(model.layers)
}

/// Floats that the graph of one block holds, about: for each position the inputs of norms and gated activation,
/// queries, keys, values and what attention makes of them; the inputs of matrices, where something that trains is
/// multiplied by them and they are not made again; twice its rank for each low-rank update; and the matrices that a
/// method makes dense. Norms of queries and keys, and of what attention and feed-forward give, keep their inputs; a gate
/// that is no swiglu keeps what the activation gave, and its product with up.
pub fn graph(model: &ModelReport, methods: &[MethodConfig], positions: f64) -> f64 {
    let (d, q, m) = (model.hidden_size, model.query_size, model.intermediate_size);
    let mut floats = positions * (2 * d + 2 * q + 2 * model.key_value_size + 2 * m) as f64;
    let has = |role: Role| model.modules.iter().any(|module| module.role == role);
    for (norm, width) in [
        (Role::QueryNorm, q),
        (Role::KeyNorm, model.key_value_size),
        (Role::AttentionOutputNorm, if has(Role::AttentionNorm) { d } else { 0 }),
        (Role::MlpOutputNorm, if has(Role::MlpNorm) { d } else { 0 }),
    ] {
        floats += if has(norm) { positions * width as f64 } else { 0.0 };
    }
    // As if each block of the encoder had an attention to another text, too, as those of the decoder have.
    floats += if has(Role::CrossQuery) { positions * (d + 2 * q + 2 * model.key_value_size) as f64 } else { 0.0 };
    let by_parts = has(Role::Gate) && model.activation != "silu";
    floats += if by_parts { positions * 2.0 * m as f64 } else { 0.0 };
    if methods.iter().any(|method| method.kind.method().saved_activations.inputs) {
        floats += positions * (2 * d + q + if by_parts || remakes_values(methods) { 0 } else { m }) as f64;
    }
    for method in methods {
        // Of one block that it enters.
        let sites = method.sites(model);
        let blocks = method.layer_count(model.layers).max(1) as f64;
        let keeps = method.kind.method().saved_activations;
        if keeps.ranks {
            let rank = method.rank.max(method.initial_rank).unwrap_or(0);
            floats += positions * 2.0 * rank as f64 * sites.len() as f64 / blocks;
        }
        floats += keeps.dense * sites.iter().map(|site| site.count() as f64).sum::<f64>() / blocks;
    }
    floats
}

/// Whether what goes into `down_proj` is made again on the way down, because nothing is in the linear layers but one
/// low-rank update, and biases.
fn remakes_values(methods: &[MethodConfig]) -> bool {
    let within = |method: &MethodConfig| method.kind.method().saved_activations.within;
    let mut inside = methods.iter().filter(|method| within(method) != Within::Nothing);
    let low_rank = |method: &MethodConfig| {
        within(method) == Within::LowRank && method.dropout.unwrap_or(0.0) == 0.0 && method.gated != Some(true)
    };
    inside.next().is_none_or(low_rank) && inside.next().is_none()
}

#[cfg(test)]
mod tests {
    use stratune_protocol::Targets;
    use stratune_protocol::testing::model;

    use super::*;
    use crate::MethodKind;

    #[test]
    fn by_hand() {
        let model = model(4, [4, 8, 4, 2]);
        let lora =
            MethodConfig { rank: Some(2), targets: Some(Targets::listed(&["q_proj"])), ..MethodConfig::default() };
        // 4 · 4 + 3 · 4 + 2 · 2 + 2 · 8 = 48 floats a position, and 2 · 2 of the update.
        assert_eq!(graph(&model, std::slice::from_ref(&lora), 10.0), 10.0 * (48.0 + 4.0));
        // What goes into `down_proj` is kept for dropout's sake.
        let drops = MethodConfig { dropout: Some(0.1), ..lora.clone() };
        assert_eq!(graph(&model, &[drops], 10.0), 10.0 * (56.0 + 4.0));
        // Without the inputs of matrices, 2 · 4 + 4 + 8 of them.
        assert_eq!(graph(&model, &[MethodConfig::new(MethodKind::Prefix)], 10.0), 10.0 * 36.0);
        let pafi = MethodConfig { targets: Some(Targets::listed(&["q_proj"])), ..MethodConfig::new(MethodKind::Pafi) };
        assert_eq!(graph(&model, &[pafi], 10.0), 10.0 * 56.0 + 2.0 * 16.0);
        // 1000 positions are 208,000 bytes a block.
        for (mebibytes, blocks) in [(0, 0), (1, 4), (usize::MAX, 4)] {
            assert_eq!(blocks_that_fit(&model, std::slice::from_ref(&lora), 1000, mebibytes), blocks);
        }
        assert_eq!(blocks_that_fit(&model, &[lora], 2000, 1), 2);
    }
}
