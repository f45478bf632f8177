//! SparseAdapter: the weights of bottlenecks that matter to the loss at the start, and no others (He et al. 2022,
//! arXiv 2210.04284).

use futures::future::LocalBoxFuture;
use stratune_peft::{Gradients, MethodConfig, MethodKind, named_parameters};
use stratune_protocol::Problem;
use stratune_runtime::read_f32;

use super::rows::{add, freeze, rows_to_look_at, say_chosen, told};

use crate::{Batching, Hook, HookState, Run, Saved};

const KIND: MethodKind = MethodKind::SparseAdapter;

pub(super) fn hook(method: &MethodConfig) -> Option<Box<dyn Hook>> {
    (method.kind == KIND).then(|| Box::new(SparseAdapter(method.clone())) as Box<dyn Hook>)
}

struct SparseAdapter(MethodConfig);

impl SparseAdapter {
    /// Scores each weight of the whole bottlenecks by what it does to the loss, |w · ∂L/∂w| (SNIP, Lee et al. 2019,
    /// arXiv 1810.02340, which the paper found to work best).
    async fn choose(&self, run: &mut Run<'_>) -> Result<(), Problem> {
        let rows = rows_to_look_at(run, &self.0);
        let by = Batching { size: 8, ..run.batching() };
        let mut whole = run.model.clone();
        freeze(&mut whole);
        for (i, block) in whole.layers.iter_mut().enumerate() {
            for adapter in block.adapters.iter_mut().filter(|adapter| adapter.is_sparse()) {
                *adapter = adapter.whole((run.config.train.seed, i));
            }
        }
        let mut sums = Gradients::new();
        for (done, chunk) in rows.chunks(by.size).enumerate() {
            add(&mut sums, run.gradients(&whole, chunk, by));
            told(run, KIND, done + 1, rows.len().div_ceil(by.size)).await;
        }
        let values = named_parameters(&mut whole);
        for block in &mut run.model.layers {
            for adapter in block.adapters.iter_mut().filter(|adapter| adapter.is_sparse()) {
                let path = format!("{}.adapters.{}", block.id.path, adapter.place.name());
                let mut read = Vec::new();
                for matrix in ["down", "up"] {
                    let path = format!("{path}.{matrix}.weight");
                    let Some(((_, value), gradient)) = values.get(&path).zip(sums.get(&path)) else { continue };
                    read.push(read_f32(value.clone()).await?);
                    read.push(read_f32((value.clone() * gradient.clone()).abs()).await?);
                }
                if let [down, down_scores, _, up_scores] = &read[..] {
                    adapter.choose((down, down_scores), up_scores);
                }
            }
        }
        say_chosen(run, KIND, rows.len());
        Ok(())
    }
}

impl Hook for SparseAdapter {
    fn name(&self) -> &'static str {
        "sparse_adapter"
    }

    fn before_training<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.choose(run))
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        // The places are the model's.
        Box::pin(async { Ok(HookState::default()) })
    }

    fn load(&mut self, _: &Saved<'_>) -> Result<(), Problem> {
        Ok(())
    }
}
