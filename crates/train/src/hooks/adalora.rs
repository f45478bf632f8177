//! AdaLoRA's rank allocator: which directions of the update stay (Zhang et al. 2023, arXiv 2303.10512, §3.2 and 3.3).
//!
//! A number's importance is `Ī · Ū`: I = |θ · ∂L/∂θ| and its distance from its own mean, both smoothed with 0.85 (eqs. 8 to
//! 10). A direction's is its gain's, plus the means of its row of A and its column of B (eq. 11). Over a run the ranks
//! fall from `initial_rank` to `rank` a matrix on average, along a cubic (eq. 12): the first tenth of the steps keeps
//! all, the last three tenths keep what is left then. Every `interval` steps the gains of the directions that are out of
//! the budget are set to zero; until the last tenths they may come back.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use futures::future::LocalBoxFuture;
use stratune_models::Model;
use stratune_peft::{Gradients, MethodConfig, MethodKind, restore, snapshot};
use stratune_protocol::{Problem, ProblemKind};
use stratune_runtime::read_f32;
use stratune_store::HostTensor;

use crate::{Hook, HookState, Run, Saved};

pub(super) fn hook(method: &MethodConfig) -> Option<Box<dyn Hook>> {
    AdaLora::of(method).map(|hook| Box::new(hook) as Box<dyn Hook>)
}

/// How slowly the means move.
const SMOOTHING: f32 = 0.85;
/// The factors of a matrix, by the ends of their paths.
const FACTORS: [&str; 3] = ["lora_E", "lora_A", "lora_B"];

/// The directions' importance, and the budget of ranks.
#[derive(Clone, Debug)]
pub struct AdaLora {
    initial: usize,
    target: usize,
    interval: usize,
    /// By the layer's path.
    layers: BTreeMap<String, Layer>,
}

#[derive(Clone, Debug, Default)]
struct Layer {
    /// Ī and Ū of each factor, flattened.
    means: BTreeMap<String, [Tensor<1>; 2]>,
    /// Once the budget is fixed: 1 for the directions that stay.
    kept: Option<Vec<f32>>,
}

impl AdaLora {
    /// Of this method, if it is AdaLoRA.
    pub fn of(method: &MethodConfig) -> Option<Self> {
        let [initial, target, interval] =
            [method.initial_rank, method.rank, method.interval].map(|n| n.unwrap_or(1).max(1));
        (method.kind == MethodKind::Adalora).then_some(Self { initial, target, interval, layers: BTreeMap::new() })
    }

    /// Directions that `matrices` may have between them after `step` of so many steps.
    pub fn rank_budget(&self, step: usize, steps: usize, matrices: usize) -> usize {
        let (start, end) = (steps / 10, steps - steps * 3 / 10);
        let way = step.saturating_sub(start) as f64 / end.saturating_sub(start).max(1) as f64;
        let left = (1.0 - way.min(1.0)).powi(3);
        let rank = self.target as f64 + (self.initial - self.target) as f64 * left;
        (rank * matrices as f64).round() as usize
    }

    /// Takes notice of the gradients of a step, before it is taken.
    pub fn update_importance(&mut self, model: &mut Model, gradients: &Gradients) {
        for (path, (_, value)) in snapshot(model) {
            let Some((layer, factor)) = path.rsplit_once('.').filter(|(_, end)| FACTORS.contains(end)) else {
                continue;
            };
            let layer = self.layers.entry(layer.to_string()).or_default();
            let Some(gradient) = gradients.get(&path) else { continue };
            let now = (value * gradient.clone()).abs();
            let zeros = || Tensor::zeros(now.shape(), &now.device());
            let [mean, spread] = layer.means.remove(factor).unwrap_or_else(|| [zeros(), zeros()]);
            let mean = mean.mul_scalar(SMOOTHING) + now.clone().mul_scalar(1.0 - SMOOTHING);
            let off = (now - mean.clone()).abs();
            let spread = spread.mul_scalar(SMOOTHING) + off.mul_scalar(1.0 - SMOOTHING);
            layer.means.insert(factor.to_string(), [mean, spread]);
        }
    }

    /// Sets the gains that are out of the budget to zero, after `step` of so many steps.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn allocate(&mut self, model: &mut Model, step: usize, steps: usize) -> Result<(), Problem> {
        let (fixed, due) = (step >= steps - steps * 3 / 10, step.is_multiple_of(self.interval));
        let decided = self.layers.values().any(|layer| layer.kept.is_some());
        let masks = match (fixed, decided) {
            (true, true) => self.layers.iter().filter_map(|(p, l)| Some((p.clone(), l.kept.clone()?))).collect(),
            (true, false) => self.rank_directions(step, steps).await?,
            (false, _) if due && step > steps / 10 => self.rank_directions(step, steps).await?,
            (false, _) => return Ok(()),
        };
        if fixed && !decided {
            for (path, mask) in &masks {
                self.layers.entry(path.clone()).or_default().kept = Some(mask.clone());
            }
        }
        let mut values: BTreeMap<String, Tensor<1>> =
            snapshot(model).into_iter().map(|(path, (_, value))| (path, value)).collect();
        for (path, mask) in masks {
            if let Some(gains) = values.get_mut(&format!("{path}.lora_E")) {
                let mask = Tensor::<1>::from_floats(mask.as_slice(), &gains.device());
                *gains = gains.clone() * mask;
            }
        }
        restore(model, &values).map_err(|path| Problem::new(ProblemKind::Internal, format!("lost {path}")))
    }

    /// One for the most important directions, zero for the others, by layer.
    async fn rank_directions(&self, step: usize, steps: usize) -> Result<BTreeMap<String, Vec<f32>>, Problem> {
        let mut scores: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (path, layer) in &self.layers {
            let product = |factor: &str| layer.means.get(factor).map(|[mean, spread]| mean.clone() * spread.clone());
            let [Some(e), Some(a), Some(b)] = FACTORS.map(product) else { continue };
            let rank = e.dims()[0];
            let (inputs, outputs) = (a.dims()[0] / rank, b.dims()[0] / rank);
            let of_a = a.reshape([rank, inputs]).mean_dim(1).reshape([rank]);
            let of_b = b.reshape([outputs, rank]).mean_dim(0).reshape([rank]);
            scores.insert(path.clone(), read_f32(e + of_a + of_b).await?);
        }
        let mut all: Vec<(f32, &String, usize)> =
            scores.iter().flat_map(|(path, s)| s.iter().enumerate().map(move |(k, s)| (*s, path, k))).collect();
        all.sort_by(|one, other| other.0.total_cmp(&one.0));
        all.truncate(self.rank_budget(step, steps, scores.len()));
        let mut masks: BTreeMap<String, Vec<f32>> =
            scores.iter().map(|(path, s)| (path.clone(), vec![0.0; s.len()])).collect();
        for (_, path, k) in all {
            if let Some(mask) = masks.get_mut(path) {
                mask[k] = 1.0;
            }
        }
        Ok(masks)
    }

    /// The means and the fixed choice.
    async fn tensors(&self) -> Result<BTreeMap<String, HostTensor>, Problem> {
        let mut tensors = BTreeMap::new();
        let mut put = |name: String, data: Vec<f32>| {
            tensors.insert(name, HostTensor { shape: vec![data.len()], data });
        };
        for (path, layer) in &self.layers {
            for (factor, [mean, spread]) in &layer.means {
                put(format!("importance/{path}.{factor}"), read_f32(mean.clone()).await?);
                put(format!("uncertainty/{path}.{factor}"), read_f32(spread.clone()).await?);
            }
            if let Some(kept) = &layer.kept {
                put(format!("kept/{path}"), kept.clone());
            }
        }
        Ok(tensors)
    }
}

impl Hook for AdaLora {
    fn name(&self) -> &'static str {
        "adalora"
    }

    fn after_backward<'a>(
        &'a mut self,
        run: &'a mut Run<'_>,
        gradients: &'a mut Gradients,
    ) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.update_importance(run.model, gradients);
        Box::pin(async { Ok(()) })
    }

    fn after_step<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.allocate(run.model, run.step, run.steps))
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        Box::pin(async { Ok(HookState { tensors: self.tensors().await?, ..HookState::default() }) })
    }

    fn load(&mut self, saved: &Saved<'_>) -> Result<(), Problem> {
        let Saved { tensors, device, .. } = *saved;
        let tensor =
            |host: &HostTensor| Tensor::<1>::from_data(TensorData::new(host.data.clone(), [host.data.len()]), device);
        for (name, mean) in tensors {
            let spread = |path: &str| tensors.get(&format!("uncertainty/{path}"));
            if let Some(path) = name.strip_prefix("importance/")
                && let Some((layer, factor)) = path.rsplit_once('.')
                && let Some(spread) = spread(path)
            {
                let means = &mut self.layers.entry(layer.to_string()).or_default().means;
                means.insert(factor.to_string(), [tensor(mean), tensor(spread)]);
            }
            if let Some(layer) = name.strip_prefix("kept/") {
                self.layers.entry(layer.to_string()).or_default().kept = Some(mean.data.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_falls_along_a_cubic() {
        let method = MethodConfig { initial_rank: Some(12), rank: Some(4), ..MethodConfig::new(MethodKind::Adalora) };
        let budget = AdaLora::of(&method).unwrap();
        // 4 + 8 · (1 − (t − 10) / 60)³, for ten matrices.
        for (step, want) in [(0, 120), (10, 120), (25, 74), (40, 50), (70, 40), (100, 40)] {
            assert_eq!(budget.rank_budget(step, 100, 10), want, "step {step}");
        }
        assert!(AdaLora::of(&MethodConfig::default()).is_none());
    }
}
