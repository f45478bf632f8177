//! What is decided before anything trains: a random structure, uniform ranks, S4's groups of layers, what others are measured
//! against; and the blocks that IST has found to matter.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use stratune_peft::{MethodKind, s4_groups};
use stratune_protocol::{Problem, draws};

use super::there;
use crate::searcher::Searcher;
use crate::space::{Sizes, Space};

/// A structure for each budget that is there from the start.
#[derive(Clone, Debug)]
pub(crate) struct Fixed(Vec<(u64, Sizes)>);

impl Fixed {
    /// Under each budget of the space that which `of` gives.
    ///
    /// # Errors
    /// Those of `of`.
    pub fn each(space: &Space, of: impl Fn(&Space) -> Result<Sizes, Problem>) -> Result<Self, Problem> {
        let budgets = std::iter::once(space.budget).chain(space.larger.iter().copied());
        budgets.map(|budget| Ok((budget, of(&space.under(budget))?))).collect::<Result<_, _>>().map(Self)
    }
}

/// Modules in a random order, each of a random size, as far as they fit.
pub(crate) fn random(space: &Space, seed: u64) -> Sizes {
    let mut rng = draws(seed, "random_structure", [0, 0]);
    let mut order: Vec<usize> = (0..space.modules.len()).collect();
    order.shuffle(&mut rng);
    let sized = |i: usize| {
        let sizes = &space.modules[i].sizes;
        (i, sizes[rng.random_range(0..sizes.len())])
    };
    space.filled(order.into_iter().map(sized))
}

/// Every module that has sizes at the same one, the largest that fits; no other.
///
/// # Errors
/// Not even a size of one fits.
pub(crate) fn uniform(space: &Space) -> Result<Sizes, Problem> {
    let of = |size: usize| -> Sizes {
        let sized = |m: &crate::Module| if m.has_sizes() { size.min(m.largest()) } else { 0 };
        space.modules.iter().map(sized).collect()
    };
    let largest = space.modules.iter().map(crate::Module::largest).max().unwrap_or(1);
    let fits = |size: &usize| (1..=space.limit()).contains(&space.count(&of(*size)));
    (1..=largest).rev().find(fits).map(of).ok_or_else(|| {
        let least = space.count(&of(1));
        let what = match least {
            0 => "none of the methods has a rank or a width to make uniform".to_string(),
            _ => {
                let [budget, least] = [space.budget, least].map(|amount| space.words(amount));
                format!("a rank of 1 everywhere comes to {least}, and the budget is {budget}")
            }
        };
        Problem::input(what).at("search.budget").next("give more, or let another search")
    })
}

/// What the blocks with the highest scores have, at the largest size, as far as it fits.
///
/// # Errors
/// There is not one score for each block.
pub(crate) fn of_blocks(space: &Space, scores: &[f32]) -> Result<Sizes, Problem> {
    Ok(space.best(&scores_of_modules(space, scores)?))
}

/// Of each module the score of its block; of what is in no block less than all.
///
/// # Errors
/// There is not one score for each block.
pub(crate) fn scores_of_modules(space: &Space, scores: &[f32]) -> Result<Vec<f64>, Problem> {
    let layers = space.model.layers;
    if scores.len() != layers {
        let what = format!("there are {} scores, and the model has {layers} blocks", scores.len());
        return Err(Problem::input(what).at("search.scores").next("take those of a run on this model"));
    }
    let block = |module: &crate::Module| module.at.placed.block_number().filter(|block| *block < layers);
    let score = |module| block(module).map_or(f64::NEG_INFINITY, |block| f64::from(scores[block]));
    Ok(space.modules.iter().map(score).collect())
}

/// S4 (Chen et al. 2023, arXiv 2301.01821): four groups of layers of its spindle, in each the methods of the group that the
/// space has (all, if it has none of them), and as many numbers in each layer. A layer's share is divided evenly among its
/// methods: first those that are there or not, then those of a size, the same at each module.
pub(crate) fn s4(space: &Space) -> Sizes {
    let mut sizes = vec![0; space.modules.len()];
    let layers = space.model.layers;
    for (group, kinds) in s4_groups(layers) {
        for layer in group {
            let here = |i: &usize| space.modules[*i].at.placed.block_number() == Some(layer);
            let mut modules: Vec<usize> = (0..sizes.len()).filter(here).collect();
            if modules.iter().any(|i| kinds.contains(&space.modules[*i].kind())) {
                modules.retain(|i| kinds.contains(&space.modules[*i].kind()));
            }
            fill(space, &modules, space.budget / layers.max(1) as u64, &mut sizes);
        }
    }
    sizes
}

/// Spends so many numbers on these modules.
fn fill(space: &Space, modules: &[usize], mut left: u64, sizes: &mut Sizes) {
    let of = |i: usize| &space.modules[i];
    let kinds = |sized: bool| -> BTreeSet<MethodKind> {
        modules.iter().filter(|i| of(**i).has_sizes() == sized).map(|i| of(*i).kind()).collect()
    };
    let all: Vec<MethodKind> = kinds(false).into_iter().chain(kinds(true)).collect();
    for (k, kind) in all.iter().enumerate() {
        let modules: Vec<usize> = modules.iter().copied().filter(|i| of(*i).kind() == *kind).collect();
        // The last one takes what others have left.
        let share = left / (all.len() - k) as u64;
        let count = |size: usize| modules.iter().map(|i| of(*i).count(size)).sum::<u64>();
        let largest = modules.iter().map(|i| of(*i).largest()).max().unwrap_or(1);
        let size = (1..=largest).rev().find(|size| count(*size) <= share);
        let mut room = share;
        for i in modules {
            // Where not even the smallest fits everywhere, the first that do are there.
            let count = of(i).count(size.unwrap_or(1));
            if count <= room {
                sizes[i] = size.unwrap_or(1);
                (room, left) = (room - count, left - count);
            }
        }
    }
}

impl Searcher for Fixed {
    fn is_done(&self) -> bool {
        true
    }

    fn found(&self, space: &Space) -> Sizes {
        let of = self.0.iter().find(|(budget, _)| *budget == space.budget);
        of.map_or_else(|| vec![0; space.modules.len()], |(_, sizes)| sizes.clone())
    }

    fn chances(&self, space: &Space) -> Vec<f32> {
        there(&self.found(space))
    }

    fn save(&self) -> Value {
        json!({ "sizes": self.0 })
    }

    fn load(&mut self, _: &Space, saved: &Value) -> bool {
        serde_json::from_value::<Vec<(u64, Sizes)>>(saved["sizes"].clone()).is_ok_and(|sizes| sizes == self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::space::tests::{config, model};

    #[test]
    fn uniform_is_the_largest_rank_that_fits_everywhere() {
        // Two blocks of q 16, k and v 12, o 16, gate, up and down 28: 280 numbers for a rank of 1.
        for (budget, rank) in [(280, 1), (559, 1), (560, 2), (1400, 5)] {
            let space = Space::new(&config(budget), &model()).unwrap();
            let sizes = uniform(&space).unwrap();
            assert!(
                sizes[..14].iter().all(|size| *size == rank) && sizes[14..].iter().all(|size| *size == 0),
                "{sizes:?}"
            );
        }
        let problem = uniform(&Space::new(&config(279), &model()).unwrap()).unwrap_err();
        assert!(problem.what.contains("280 numbers"), "{problem}");
    }

    /// Each layer has as much as any other, to a rank of what it has, and the groups are S4's: biases in the third and the
    /// fourth, LoRA in the first and the fourth.
    #[test]
    fn s4_gives_each_layer_as_many_numbers() {
        let model = stratune_protocol::testing::model(12, [8, 20, 8, 4]);
        let mut config = config(12 * 600);
        config.method[2].layers = (0..12).collect();
        let space = Space::new(&config, &model).unwrap();
        let sizes = s4(&space);
        let of_layer = |layer: usize| -> (u64, BTreeSet<&str>) {
            let there =
                (0..sizes.len()).filter(|i| sizes[*i] > 0 && space.modules[*i].at.placed.block_number() == Some(layer));
            let there: Vec<usize> = there.collect();
            let count = there.iter().map(|i| space.modules[*i].count(sizes[*i])).sum();
            (count, there.iter().map(|i| space.modules[*i].kind().name()).collect())
        };
        for layer in 0..12 {
            let (count, kinds) = of_layer(layer);
            let want: &[&str] = match layer {
                // Pfeiffer and LoRA; Pfeiffer and prefix, none of which is here; those and biases; prefix, biases and LoRA.
                0..2 => &["lora"],
                2..6 => &["bitfit", "layer_norm", "lora"],
                6..10 => &["bitfit"],
                _ => &["bitfit", "lora"],
            };
            assert_eq!(kinds, want.iter().copied().collect(), "layer {layer}");
            // A rank of LoRA everywhere is 140 numbers; biases alone are 72.
            assert!(
                count <= 600 && (count > 600 - 140 || kinds.len() == 1 && kinds.contains("bitfit")),
                "{layer}: {count}"
            );
        }
    }

    #[test]
    fn blocks_with_the_highest_scores_come_first() {
        let space = Space::new(&config(1300), &model()).unwrap();
        for (scores, first) in [([0.3, -0.2], 0), ([-4.0, 0.0], 1)] {
            let sizes = of_blocks(&space, &scores).unwrap();
            let of = |block| -> u64 {
                let here = |i: &usize| space.modules[*i].at.placed.block_number() == Some(block);
                (0..sizes.len()).filter(here).map(|i| space.modules[i].count(sizes[i])).sum()
            };
            // All of a block is 8 · 140 + 72 + 16 numbers, and the other has what is left.
            assert_eq!(of(first), 1208, "{scores:?}");
            assert!((1..=92).contains(&of(1 - first)), "{scores:?}");
        }
        assert!(of_blocks(&space, &[1.0]).unwrap_err().what.contains("1 scores"));
    }

    #[test]
    fn random_structures_differ_by_their_seeds_and_use_the_budget() {
        let space = Space::new(&config(300), &model()).unwrap();
        let drawn: Vec<Sizes> = (0..5).map(|seed| random(&space, seed)).collect();
        assert_eq!(drawn[0], random(&space, 0));
        assert!((1..5).all(|i| drawn[i] != drawn[0]));
        // The smallest module has 4 numbers: what is left is less, or all such modules are there.
        assert!(drawn.iter().all(|sizes| (250..=300).contains(&space.count(sizes))));
    }
}
