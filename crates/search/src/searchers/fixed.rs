//! What is decided before anything is known: a random structure, uniform ranks, and S4's groups of layers. What others are
//! measured against.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use stratune_peft::{MethodKind, s4_groups};
use stratune_protocol::{Problem, draws};

use super::there;
use crate::searcher::Searcher;
use crate::space::{Sizes, Space};

/// A structure that is there from the start.
#[derive(Clone, Debug)]
pub(crate) struct Fixed(Sizes);

impl Fixed {
    /// Modules in a random order, each of a random size, as far as they fit.
    pub fn random(space: &Space, seed: u64) -> Self {
        let mut rng = draws(seed, "random_structure", [0, 0]);
        let mut order: Vec<usize> = (0..space.modules.len()).collect();
        order.shuffle(&mut rng);
        let sized = |i: usize| {
            let sizes = &space.modules[i].sizes;
            (i, sizes[rng.random_range(0..sizes.len())])
        };
        Self(space.filled(order.into_iter().map(sized)))
    }

    /// Every module that has sizes at the same one, the largest that fits; no other.
    ///
    /// # Errors
    /// Not even a size of one fits.
    pub fn uniform(space: &Space) -> Result<Self, Problem> {
        let of = |size: usize| -> Sizes {
            let sized = |m: &crate::Module| if m.has_sizes() { size.min(m.largest()) } else { 0 };
            space.modules.iter().map(sized).collect()
        };
        let largest = space.modules.iter().map(crate::Module::largest).max().unwrap_or(1);
        let fits = |size: &usize| (1..=space.budget).contains(&space.count(&of(*size)));
        (1..=largest).rev().find(fits).map(|size| Self(of(size))).ok_or_else(|| {
            let least = space.count(&of(1));
            let what = match least {
                0 => "none of the methods has a rank or a width to make uniform".to_string(),
                _ => format!("a rank of 1 everywhere has {least} numbers, and the budget is {}", space.budget),
            };
            Problem::input(what).at("search.budget").next("give more, or let another search")
        })
    }
}

impl Fixed {
    /// S4 (Chen et al. 2023, arXiv 2301.01821): four groups of layers of its spindle, in each the methods of the group that the
    /// space has (all, if it has none of them), and as many numbers in each layer. A layer's share is divided evenly among its
    /// methods: first those that are there or not, then those of a size, the same at each module.
    pub fn s4(space: &Space) -> Self {
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
        Self(sizes)
    }
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

    fn found(&self, _: &Space) -> Sizes {
        self.0.clone()
    }

    fn chances(&self, _: &Space) -> Vec<f32> {
        there(&self.0)
    }

    fn save(&self) -> Value {
        json!({ "sizes": self.0 })
    }

    fn load(&mut self, saved: &Value) -> bool {
        serde_json::from_value::<Sizes>(saved["sizes"].clone()).is_ok_and(|sizes| sizes == self.0)
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
            let sizes = Fixed::uniform(&space).unwrap().0;
            assert!(
                sizes[..14].iter().all(|size| *size == rank) && sizes[14..].iter().all(|size| *size == 0),
                "{sizes:?}"
            );
        }
        let problem = Fixed::uniform(&Space::new(&config(279), &model()).unwrap()).unwrap_err();
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
        let sizes = Fixed::s4(&space).0;
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
    fn random_structures_differ_by_their_seeds_and_use_the_budget() {
        let space = Space::new(&config(300), &model()).unwrap();
        let drawn: Vec<Sizes> = (0..5).map(|seed| Fixed::random(&space, seed).0).collect();
        assert_eq!(drawn[0], Fixed::random(&space, 0).0);
        assert!((1..5).all(|i| drawn[i] != drawn[0]));
        // The smallest module has 4 numbers: what is left is less, or all such modules are there.
        assert!(drawn.iter().all(|sizes| (250..=300).contains(&space.count(sizes))));
    }
}
