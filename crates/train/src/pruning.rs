//! Diff pruning's second half: what is largest of the differences trains alone (Guo et al. 2021, arXiv 2012.07463, §3.2).
//!
//! In the authors' runs the differences train with their switches for as long as the kept ones do afterwards. The first half
//! of the steps is the one here, the second half the other.

use stratune_models::Model;
use stratune_peft::{Additions, Diff, MethodConfig, MethodKind, ModuleId, Parameters, Visitor};
use stratune_protocol::Problem;

use crate::{Event, Host, Trainer};

/// Before which of so many steps the differences are pruned, if diff pruning is among the methods.
pub(crate) fn prunes_at(methods: &[MethodConfig], steps: usize) -> Option<usize> {
    methods.iter().any(|m| m.kind == MethodKind::DiffPruning).then_some(steps / 2)
}

/// The differences that were, by their layers.
pub struct Pruned(Vec<(ModuleId, Diff)>);

impl Parameters for Pruned {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.0.iter_mut().for_each(|(of, diff)| diff.each(of, visitor));
    }
}

/// Keeps the largest differences of each matrix, which train from now on. Gives what they were.
///
/// # Errors
/// The device does not answer.
pub async fn prune(model: &mut Model) -> Result<Pruned, Problem> {
    let mut pruned = Vec::new();
    for linear in model.layers.iter_mut().flat_map(|block| block.linears_mut()) {
        for delta in &mut linear.deltas {
            if let Some(diff) = delta.of::<Diff>().cloned() {
                *delta = Box::new(diff.kept().await?);
                pruned.push((linear.id.clone(), diff));
            }
        }
    }
    Ok(Pruned(pruned))
}

/// Makes room for what a checkpoint has of pruned differences.
pub(crate) fn make_room(model: &mut Model) {
    for linear in model.layers.iter_mut().flat_map(|block| block.linears_mut()) {
        for delta in &mut linear.deltas {
            if let Some(diff) = delta.of::<Diff>() {
                *delta = Box::new(diff.first_kept());
            }
        }
    }
}

impl Trainer {
    /// Prunes the differences of diff pruning, if it is their time. What was best before is of another model.
    pub(crate) async fn prune(&mut self, host: &mut dyn Host) -> Result<(), Problem> {
        if prunes_at(&self.config.method, self.steps) != Some(self.state.step) {
            return Ok(());
        }
        self.optimiser.release(&mut prune(&mut self.model).await?);
        (self.state.best, self.state.best_values, self.state.stale) = (None, None, 0);
        host.emit(Event::Notice {
            text: "diff pruning has kept its largest differences, which now train alone".into(),
        });
        Ok(())
    }
}
