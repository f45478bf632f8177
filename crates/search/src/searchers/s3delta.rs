//! S3Delta (Hu et al. 2022, arXiv 2206.07382): gates whose expected size is the budget at each step.
//!
//! Each module i of `nᵢ` numbers has a parameter αᵢ, 0 at the start unless IST has scored its block, and is there with `pᵢ = σ(αᵢ − b)`, where the shift b,
//! the same for all, makes `Σ pᵢ nᵢ` the budget. What it adds is multiplied by `z = σ(log(u p / ((1 − u)(1 − p))))` with u
//! drawn evenly. On the way back b counts as a constant and p as `p / Σp · Σp`, the second sum a constant. At the end the
//! modules with the largest p are taken that fit. Modules are whole or not there.
//!
//! The step of the architecture is a first-order one, or, as released, a [second-order](crate::second_order_slopes) one.

use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratune_protocol::{Problem, SearchConfig, draws};

use super::prior;
use crate::adam::Adam;
use crate::searcher::{Moment, Searcher};
use crate::space::{Sizes, Space};
use crate::supernet::{Gate, Slopes};

/// How many times the interval of the shift is halved: from 2·64 to less than an f64 can tell.
const HALVINGS: usize = 80;
/// The shift is looked for within the largest α and the smallest, and so much beyond.
const BEYOND: f64 = 64.0;

/// S3Delta's parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct S3Delta {
    alpha: Vec<f64>,
    adam: Adam,
    #[serde(skip)]
    rate: f64,
    #[serde(skip)]
    second_order: bool,
}

impl S3Delta {
    /// At its start.
    ///
    /// # Errors
    /// There are scores, and not one for each block.
    pub fn new(config: &SearchConfig, space: &Space) -> Result<Self, Problem> {
        let (rate, second_order) = (config.learning_rate, config.second_order);
        Ok(Self { alpha: prior(config, space)?, adam: Adam::default(), rate, second_order })
    }

    /// p of each module.
    pub fn probabilities(&self, space: &Space) -> Vec<f64> {
        let counts: Vec<f64> = space.modules.iter().map(|module| module.count(module.largest()) as f64).collect();
        let of = |shift: f64| -> Vec<f64> { self.alpha.iter().map(|alpha| sigmoid(alpha - shift)).collect() };
        let expected = |shift: f64| of(shift).iter().zip(&counts).map(|(p, n)| p * n).sum::<f64>();
        let ends = self.alpha.iter().fold([0.0_f64, 0.0], |[least, most], a| [least.min(*a), most.max(*a)]);
        // The expected size falls as the shift grows.
        let [mut low, mut high] = [ends[0] - BEYOND, ends[1] + BEYOND];
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if expected(middle) > space.budget as f64 { low = middle } else { high = middle }
        }
        of((low + high) / 2.0)
    }

    fn relaxed(&self, at: Moment<'_>, what: &str) -> Vec<Gate> {
        let mut rng = draws(at.seed, what, [at.step as u64, 0]);
        let gate = |(module, p): (&crate::Module, f64)| {
            let u: f64 = rng.random_range(f64::EPSILON..1.0);
            let z = sigmoid((u / (1.0 - u)).ln() + (p / (1.0 - p)).ln());
            Gate { size: module.largest(), scale: z as f32 }
        };
        at.space.modules.iter().zip(self.probabilities(at.space)).map(gate).collect()
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Searcher for S3Delta {
    fn explore(&mut self, at: Moment<'_>) -> Option<Vec<Gate>> {
        Some(self.relaxed(at, "s3delta_architecture"))
    }

    fn is_second_order(&self) -> bool {
        self.second_order
    }

    fn learn(&mut self, at: Moment<'_>, gates: &[Gate], slopes: &[Slopes]) {
        let p = self.probabilities(at.space);
        let of_p = |((gate, slopes), p): ((&Gate, &Slopes), &f64)| {
            let z = f64::from(gate.scale);
            // dz/dp: both are sigmoids, and their arguments differ by what u says.
            slopes.of_size(gate.size) * z * (1.0 - z) / (p * (1.0 - p)).max(f64::MIN_POSITIVE)
        };
        let gradients: Vec<f64> = gates.iter().zip(slopes).zip(&p).map(of_p).collect();
        let (sum, along): (f64, f64) = (p.iter().sum(), gradients.iter().zip(&p).map(|(g, p)| g * p).sum());
        let of_alpha = |(g, p): (&f64, &f64)| (g - along / sum) * p * (1.0 - p);
        let gradients: Vec<f64> = gradients.iter().zip(&p).map(of_alpha).collect();
        self.adam.step(&mut self.alpha, &gradients, self.rate, 0.0);
    }

    fn gates(&self, at: Moment<'_>) -> Vec<Gate> {
        self.relaxed(at, "s3delta_weights")
    }

    fn found(&self, space: &Space) -> Sizes {
        space.best(&self.alpha)
    }

    fn chances(&self, space: &Space) -> Vec<f32> {
        self.probabilities(space).into_iter().map(|p| p as f32).collect()
    }

    fn save(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn load(&mut self, space: &Space, saved: &Value) -> bool {
        let count = space.modules.len();
        let fits = |read: &Self| read.alpha.len() == count && read.adam.fits(count);
        let read = serde_json::from_value::<Self>(saved.clone()).ok().filter(fits);
        read.map(|read| *self = Self { rate: self.rate, second_order: self.second_order, ..read }).is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::space::tests::{config, model};

    /// Σ p n is the budget to 1e-6, whatever the α: also where nearly all or nearly nothing may stay.
    #[test]
    fn the_expected_size_is_the_budget() {
        for (budget, spread) in [(4, 0.0), (300, 0.0), (300, 5.0), (300, 40.0), (2300, 3.0)] {
            let space = Space::new(&config(budget), &model()).unwrap();
            let mut search = S3Delta::new(&SearchConfig::default(), &space).unwrap();
            search.alpha.iter_mut().enumerate().for_each(|(i, alpha)| *alpha = spread * (i as f64 * 1.7).sin());
            let p = search.probabilities(&space);
            let expected: f64 = space.modules.iter().zip(&p).map(|(m, p)| m.count(m.largest()) as f64 * p).sum();
            assert!((expected - budget as f64).abs() < 1e-6, "{budget}, {spread}: {expected}");
            assert!(space.count(&search.found(&space)) <= budget);
        }
    }

    /// A module that makes the loss fall gains on one that makes it rise, and the order of p is that of α.
    #[test]
    fn what_helps_gains() {
        let space = Space::new(&config(300), &model()).unwrap();
        let mut search = S3Delta::new(&SearchConfig { learning_rate: 0.1, ..SearchConfig::default() }, &space).unwrap();
        let mut slopes = vec![Slopes::default(); space.modules.len()];
        (slopes[2].rest, slopes[3].rest) = (-1.0, 1.0);
        for step in 0..20 {
            let at = Moment { space: &space, step, steps: 20, seed: 1 };
            let gates = search.explore(at).unwrap();
            search.learn(at, &gates, &slopes);
        }
        let p = search.probabilities(&space);
        assert!(p[2] > p[10] && p[10] > p[3], "{p:?}");
        assert!(search.found(&space)[2] > 0);
    }
}
