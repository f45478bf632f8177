//! FISH Mask: what trains is chosen by the Fisher information of the weights (Sung et al. 2021, arXiv 2111.09839).

use futures::future::LocalBoxFuture;
use stratune_peft::{Gradients, MethodConfig, MethodKind};
use stratune_protocol::Problem;

use super::rows::{FullGradientModel, add, rows_to_look_at, say_chosen, told};

use crate::{Hook, HookState, Run, Saved};

const KIND: MethodKind = MethodKind::Fish;

pub(super) fn hook(method: &MethodConfig) -> Option<Box<dyn Hook>> {
    (method.kind == KIND).then(|| Box::new(Fish(method.clone())) as Box<dyn Hook>)
}

struct Fish(MethodConfig);

impl Fish {
    /// Scores weights by the diagonal of the empirical Fisher information: the mean over rows of the squared gradients (eq. 3).
    async fn choose(&self, run: &mut Run<'_>) -> Result<(), Problem> {
        let (rows, full_gradient_model) = (rows_to_look_at(run, &self.0), FullGradientModel::of(run.model, KIND));
        let mut sums = Gradients::new();
        for (done, row) in rows.iter().enumerate() {
            let gradients = run.gradients(&full_gradient_model.model, &[row], run.batching());
            add(&mut sums, gradients.into_iter().map(|(path, gradient)| (path, gradient.square())));
            told(run, KIND, done + 1, rows.len()).await;
        }
        full_gradient_model.choose(run.model, &sums).await?;
        say_chosen(run, KIND, rows.len());
        Ok(())
    }
}

impl Hook for Fish {
    fn name(&self) -> &'static str {
        "fish"
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
