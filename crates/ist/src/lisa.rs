//! LISA: a few whole blocks at a time train (Pan et al. 2024, arXiv 2403.17919, algorithm 1).
//!
//! Every `interval` steps `blocks` blocks are drawn evenly; they train until the next draw, and embeddings, last norm and
//! head at every step. The optimiser's state of a block that leaves is given up, so that it is never more than that of
//! `blocks` blocks.

use futures::future::LocalBoxFuture;
use stratune_protocol::{MethodConfig, MethodKind, Problem, draws};
use stratune_train::{Hook, HookState, Run, Saved, Selection};

use crate::draw;

/// Chooses the blocks of each step. What is training follows from seed and step.
#[derive(Clone, Debug)]
pub struct Lisa {
    blocks: usize,
    interval: usize,
    layers: usize,
    seed: u64,
}

impl Lisa {
    /// For a model of `layers` blocks, if LISA is among the methods.
    pub fn of(methods: &[MethodConfig], layers: usize, seed: u64) -> Option<Self> {
        let method = methods.iter().find(|m| m.kind == MethodKind::Lisa)?;
        let blocks = method.blocks.unwrap_or(1).min(layers);
        Some(Self { blocks, interval: method.interval.unwrap_or(1).max(1), layers, seed })
    }

    /// The blocks that train at a step.
    fn at(&self, step: usize) -> Vec<usize> {
        let mut rng = draws(self.seed, "lisa", [(step / self.interval) as u64, 0]);
        draw(&vec![0.5; self.layers], self.blocks, None, &mut rng)
    }

    /// What trains at a step, and the blocks that have left.
    fn select(&self, step: usize) -> (Vec<bool>, Vec<usize>) {
        let now = self.at(step);
        let mut active = vec![false; self.layers];
        now.iter().for_each(|i| active[*i] = true);
        let released = match step.is_multiple_of(self.interval) && step > 0 {
            true => self.at(step - 1).into_iter().filter(|i| !now.contains(i)).collect(),
            false => Vec::new(),
        };
        (active, released)
    }
}

impl Hook for Lisa {
    fn name(&self) -> &'static str {
        "lisa"
    }

    fn before_step<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<Option<Selection>, Problem>> {
        let (active, released) = self.select(run.step);
        released.into_iter().for_each(|block| run.optimiser.release(&mut run.model.layers[block]));
        Box::pin(async { Ok(Some(Selection::of(active))) })
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        // What trains follows from seed and step.
        Box::pin(async { Ok(HookState::default()) })
    }

    fn load(&mut self, _: &Saved<'_>) -> Result<(), Problem> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stay_for_an_interval_and_give_up_their_state_when_they_leave() {
        let method = MethodConfig { interval: Some(5), ..MethodConfig::new(MethodKind::Lisa) };
        let lisa = Lisa::of(&[method], 8, 3).unwrap();
        let mut drawn = vec![0; 8];
        let mut held: Vec<usize> = Vec::new();
        for step in 0..2000 {
            let (active, released) = lisa.select(step);
            let now: Vec<usize> = (0..8).filter(|i| active[*i]).collect();
            assert_eq!(now.len(), 2);
            assert!(step % 5 == 0 || now == held, "step {step}");
            let left: Vec<usize> = held.iter().copied().filter(|i| !now.contains(i)).collect();
            assert_eq!(released, left, "step {step}");
            now.iter().for_each(|i| drawn[*i] += usize::from(step % 5 == 0));
            held = now;
        }
        // 100 of 400 draws expected of each; 5 standard deviations are 43.
        assert!(drawn.iter().all(|n| (57..143).contains(n)), "{drawn:?}");
    }
}
