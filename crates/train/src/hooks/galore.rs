//! GaLore chooses the directions of its gradients anew now and then (Zhao et al. 2024, arXiv 2403.03507, algorithm 2). How
//! the optimiser moves in them is in `projected.rs`.

use futures::future::LocalBoxFuture;
use stratune_peft::Gradients;
use stratune_protocol::{MethodConfig, MethodKind, Problem};

use crate::{Hook, HookState, Run, Saved};

pub(super) fn hook(method: &MethodConfig) -> Option<Box<dyn Hook>> {
    (method.kind == MethodKind::Galore).then(|| Box::new(GaLore) as Box<dyn Hook>)
}

struct GaLore;

impl Hook for GaLore {
    fn name(&self) -> &'static str {
        "galore"
    }

    fn after_backward<'a>(
        &'a mut self,
        run: &'a mut Run<'_>,
        gradients: &'a mut Gradients,
    ) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(run.optimiser.choose_directions(run.model, gradients))
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        // The directions are the optimiser's, beside the moments that are in them.
        Box::pin(async { Ok(HookState::default()) })
    }

    fn load(&mut self, _: &Saved<'_>) -> Result<(), Problem> {
        Ok(())
    }
}
