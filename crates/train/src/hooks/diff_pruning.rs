//! Diff pruning's second half: what is largest of the differences trains alone (Guo et al. 2021, arXiv 2012.07463, §3.2).
//!
//! In the authors' runs the differences train with their switches for as long as the kept ones do afterwards. The first half
//! of the steps is the one here, the second half the other.

use futures::future::LocalBoxFuture;
use stratune_models::Model;
use stratune_peft::{Additions, Delta, Diff, MethodConfig, MethodKind, ModuleId, Parameters, Visitor};
use stratune_protocol::Problem;

use crate::{Hook, HookState, Record, Run, Saved, Selection};

pub(super) fn hook(method: &MethodConfig) -> Option<Box<dyn Hook>> {
    (method.kind == MethodKind::DiffPruning).then(|| Box::new(DiffPruning) as Box<dyn Hook>)
}

struct DiffPruning;

/// Before which of so many steps the differences are pruned.
fn prunes_at(steps: usize) -> usize {
    steps / 2
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
/// The device does not answer; then the model is as it was.
pub async fn prune(model: &mut Model) -> Result<Pruned, Problem> {
    let mut kept = Vec::new();
    for diff in differences(model).filter_map(|delta| delta.of::<Diff>()) {
        kept.push(diff.kept().await?);
    }
    // All at once: where it waits it may be dropped.
    let mut kept = kept.into_iter();
    let mut pruned = Vec::new();
    for linear in model.layers.iter_mut().flat_map(|block| block.linears_mut()) {
        for delta in &mut linear.deltas {
            if let Some(diff) = delta.of::<Diff>().cloned()
                && let Some(kept) = kept.next()
            {
                *delta = Box::new(kept);
                pruned.push((linear.id.clone(), diff));
            }
        }
    }
    Ok(Pruned(pruned))
}

fn differences(model: &mut Model) -> impl Iterator<Item = &mut Box<dyn Delta>> {
    let linears = model.layers.iter_mut().flat_map(|block| block.linears_mut());
    linears.flat_map(|linear| &mut linear.deltas).filter(|delta| delta.of::<Diff>().is_some())
}

impl Hook for DiffPruning {
    fn name(&self) -> &'static str {
        "diff_pruning"
    }

    fn before_step<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<Option<Selection>, Problem>> {
        Box::pin(async {
            if run.step == prunes_at(run.steps) {
                let mut pruned = prune(run.model).await?;
                run.release(&mut pruned);
                run.forget_best();
                run.notice("diff pruning has kept its largest differences, which now train alone");
            }
            Ok(None)
        })
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        // What is pruned is the model's, and when that happens follows from the step.
        Box::pin(async { Ok(HookState::default()) })
    }

    /// Makes room for what a checkpoint has of pruned differences.
    fn reshape(&self, model: &mut Model, record: &Record) {
        if record.step > prunes_at(record.steps) {
            for delta in differences(model) {
                if let Some(diff) = delta.of::<Diff>() {
                    *delta = Box::new(diff.placeholder());
                }
            }
        }
    }

    fn load(&mut self, _: &Saved<'_>) -> Result<(), Problem> {
        Ok(())
    }
}
