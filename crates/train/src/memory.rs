//! How much a block's graph holds, before it is there.

use stratune_models::LlamaConfig;
use stratune_protocol::{MethodConfig, MethodKind, ModelReport, Target};

/// How many top blocks' graphs fit into `budget` bytes for a batch of so many positions.
pub fn blocks_that_fit(model: &LlamaConfig, methods: &[MethodConfig], positions: usize, budget: usize) -> usize {
    let report = model.report("", 0);
    let block = graph_bytes(&report, methods, positions);
    (budget / block.max(1)).min(report.layers)
}

/// Bytes that the graph of one block holds, about: for each position the inputs of norms, matrices and gated activation,
/// queries, keys, values and what attention makes of them, and twice its rank for each low-rank update; and a matrix for
/// each update that a method makes dense.
pub fn graph_bytes(model: &ModelReport, methods: &[MethodConfig], positions: usize) -> usize {
    let (d, m) = (model.hidden_size, model.intermediate_size);
    let mut floats = positions * (4 * d + 3 * model.query_size + 2 * model.key_value_size + 3 * m);
    for method in methods {
        let targets = method.targets();
        let rank = method.rank.max(method.initial_rank).unwrap_or(0);
        floats += positions * 2 * rank * targets.len();
        if makes_dense(method.kind) {
            let size = |target: &Target| model.shape(*target).iter().product::<usize>();
            floats += 2 * targets.iter().map(size).sum::<usize>();
        }
    }
    floats * size_of::<f32>()
}

/// Whether the update is a whole matrix while it is used.
fn makes_dense(kind: MethodKind) -> bool {
    use MethodKind::{Did, DiffPruning, Dora, Fish, LtSft, Pafi, RandomMask, Said};
    matches!(kind, Did | Said | Dora | Pafi | RandomMask | Fish | LtSft | DiffPruning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let model = ModelReport {
            layers: 4,
            hidden_size: 4,
            intermediate_size: 8,
            query_size: 4,
            key_value_size: 2,
            ..ModelReport::default()
        };
        let lora = MethodConfig { rank: Some(2), targets: Some(vec![Target::QProj]), ..MethodConfig::default() };
        // 4 · 4 + 3 · 4 + 2 · 2 + 3 · 8 = 56 floats a position, and 2 · 2 of the update.
        assert_eq!(graph_bytes(&model, &[lora], 10), 4 * 10 * (56 + 4));
        let pafi = MethodConfig { targets: Some(vec![Target::QProj]), ..MethodConfig::new(MethodKind::Pafi) };
        assert_eq!(graph_bytes(&model, &[pafi], 10), 4 * (10 * 56 + 2 * 16));
    }
}
