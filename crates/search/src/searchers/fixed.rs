//! What is decided before anything is known: a random structure, and uniform ranks. What others are measured against.

use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
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
