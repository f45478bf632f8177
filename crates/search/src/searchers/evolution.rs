//! Evolution within a network whose parts share their weights: AutoFormer (Chen et al. 2021, arXiv 2107.00651) and NOAH (Zhang
//! et al. 2022, arXiv 2206.04673), which has it for adapters.
//!
//! At each step a network is drawn evenly, a size or none for each module, and trains: a smaller size is the first rows of
//! the larger one's weights. Then structures within the budget are bred: the better half of a generation has children, half
//! of them changed at random, half crossed of two, and what exceeds the budget loses modules until it fits. They are judged
//! by the loss on rows that are set apart, with the weights that they inherit.

use futures::future::LocalBoxFuture;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use stratune_protocol::{Problem, SearchConfig, draws};

use super::there;
use crate::searcher::{Look, Moment, Searcher};
use crate::space::{Sizes, Space};
use crate::supernet::Gate;

/// How likely a module of a changed child is drawn anew.
const MUTATION: f64 = 0.1;

/// What was judged, and how it is bred.
#[derive(Clone, Debug)]
pub(crate) struct Evolution {
    population: usize,
    generations: usize,
    /// Structures and their losses. Breeding is the same each time, but for what of it is known: one that was stopped goes on.
    judged: Vec<(Sizes, f64)>,
}

impl Evolution {
    /// Before the first generation.
    pub fn new(config: &SearchConfig) -> Self {
        Self { population: config.population, generations: config.generations, judged: Vec::new() }
    }

    /// The loss of a structure, which is measured once.
    async fn judge(&mut self, space: &Space, sizes: &Sizes, look: &mut Look<'_, '_>) -> Result<f64, Problem> {
        if let Some((_, loss)) = self.judged.iter().find(|(there, _)| there == sizes) {
            return Ok(*loss);
        }
        let loss = look.loss(space, sizes).await?;
        self.judged.push((sizes.clone(), loss));
        Ok(loss)
    }

    /// The best that is within the budget.
    fn best(&self, space: &Space) -> Option<&Sizes> {
        let fit = self.judged.iter().filter(|(sizes, _)| space.count(sizes) <= space.limit());
        fit.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(sizes, _)| sizes)
    }

    async fn breed(&mut self, at: Moment<'_>, look: &mut Look<'_, '_>) -> Result<(), Problem> {
        let mut rng = draws(at.seed, "evolution", [0, 0]);
        let mut born: Vec<Sizes> = (0..self.population).map(|_| random(at.space, &mut rng)).collect();
        let mut judged: Vec<(Sizes, f64)> = Vec::new();
        for generation in 0..self.generations {
            for sizes in born.drain(..) {
                if !judged.iter().any(|(there, _)| *there == sizes) {
                    let loss = self.judge(at.space, &sizes, look).await?;
                    judged.push((sizes, loss));
                }
            }
            judged.sort_by(|a, b| a.1.total_cmp(&b.1));
            judged.truncate((self.population / 2).max(2));
            if generation + 1 < self.generations {
                let mut parent = || judged[rng.random_range(0..judged.len())].0.clone();
                let pairs: Vec<[Sizes; 2]> = (0..self.population / 2).map(|_| [parent(), parent()]).collect();
                for [one, other] in pairs {
                    born.push(changed(at.space, one.clone(), &mut rng));
                    born.push(crossed(at.space, &one, &other, &mut rng));
                }
            }
        }
        Ok(())
    }
}

/// A size or none, evenly.
fn any(module: &crate::Module, rng: &mut ChaCha8Rng) -> usize {
    let drawn = rng.random_range(0..=module.sizes.len());
    drawn.checked_sub(1).map_or(0, |i| module.sizes[i])
}

/// Any structure within the budget: modules in a random order as far as they fit.
fn random(space: &Space, rng: &mut ChaCha8Rng) -> Sizes {
    let mut order: Vec<usize> = (0..space.modules.len()).collect();
    order.shuffle(rng);
    let sized: Vec<(usize, usize)> = order.into_iter().map(|i| (i, any(&space.modules[i], rng))).collect();
    space.filled(sized.into_iter().filter(|(_, size)| *size > 0))
}

/// Takes modules out at random until it fits; then puts in what fits, so that the budget is used.
fn fitted(space: &Space, mut sizes: Sizes, rng: &mut ChaCha8Rng) -> Sizes {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.shuffle(rng);
    for i in &order {
        if space.count(&sizes) <= space.limit() {
            break;
        }
        sizes[*i] = 0;
    }
    for i in order.into_iter().rev().filter(|i| sizes[*i] == 0).collect::<Vec<_>>() {
        sizes[i] = any(&space.modules[i], rng);
        if space.count(&sizes) > space.limit() {
            sizes[i] = 0;
        }
    }
    sizes
}

fn changed(space: &Space, mut sizes: Sizes, rng: &mut ChaCha8Rng) -> Sizes {
    for (size, module) in sizes.iter_mut().zip(&space.modules) {
        if rng.random_bool(MUTATION) {
            *size = any(module, rng);
        }
    }
    fitted(space, sizes, rng)
}

fn crossed(space: &Space, one: &[usize], other: &[usize], rng: &mut ChaCha8Rng) -> Sizes {
    let sizes = one.iter().zip(other).map(|(a, b)| if rng.random_bool(0.5) { *a } else { *b }).collect();
    fitted(space, sizes, rng)
}

impl Searcher for Evolution {
    fn gates(&self, at: Moment<'_>) -> Vec<Gate> {
        let mut rng = draws(at.seed, "evolution_network", [at.step as u64, 0]);
        at.space.modules.iter().map(|module| Gate::of(any(module, &mut rng))).collect()
    }

    fn finish<'a>(&'a mut self, at: Moment<'a>, look: &'a mut Look<'_, '_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.breed(at, look))
    }

    fn found(&self, space: &Space) -> Sizes {
        match self.best(space) {
            Some(sizes) => sizes.clone(),
            // Before the first generation there is a draw.
            None => random(space, &mut draws(0, "evolution", [0, 0])),
        }
    }

    fn chances(&self, space: &Space) -> Vec<f32> {
        self.best(space).map_or_else(|| vec![1.0; space.modules.len()], |sizes| there(sizes))
    }

    fn save(&self) -> Value {
        json!({ "judged": self.judged })
    }

    fn load(&mut self, space: &Space, saved: &Value) -> bool {
        let fits = |judged: &Vec<(Sizes, f64)>| judged.iter().all(|(sizes, _)| space.has(sizes));
        let judged = serde_json::from_value(saved["judged"].clone()).ok().filter(fits);
        judged.map(|judged| self.judged = judged).is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::space::tests::{config, model};

    #[test]
    fn all_that_are_bred_are_within_the_budget_and_use_it() {
        let space = Space::new(&config(300), &model()).unwrap();
        let mut rng = draws(1, "test", [0, 0]);
        let mut others = 0;
        for _ in 0..50 {
            let (one, other) = (random(&space, &mut rng), random(&space, &mut rng));
            let children = [changed(&space, one.clone(), &mut rng), crossed(&space, &one, &other, &mut rng)];
            for sizes in children.iter().chain([&one, &other]) {
                assert!((1..=300).contains(&space.count(sizes)), "{sizes:?}");
                let known = |(size, module): (&usize, &crate::Module)| *size == 0 || module.sizes.contains(size);
                assert!(sizes.iter().zip(&space.modules).all(known));
            }
            others += children.iter().filter(|sizes| **sizes != one && **sizes != other).count();
        }
        assert!(others > 50, "children are others than their parents: {others} of 100");
    }
}
