//! BIPEFT's early selection: when to prune, how much and what, and when a size is fixed (arXiv 2410.09079, as its code has it).
//!
//! **Sensitivity.** `S = (Σ|θ ⊙ ∂L_w/∂θ| + c Σ|θ ⊙ ∂L_a/∂θ|) / n` of a module of n numbers, w on the rows that train and a on
//! those set apart, c the cosine of the two; smoothed with 0.85.
//!
//! **When.** After each step the modules are listed that fill the budget in the order of S. If the list has been much the same
//! for five steps (a mean cosine of 0.85), it is time.
//!
//! **How much.** Of what is expected to stay beyond the budget one Z-th, Z the prunings that are left; the lowest S first.
//!
//! Relaxed, which the code has not: pruning r of R takes all that is expected beyond a budget of its own,
//! `B + (N − B) (1 − r/R)^k`, N the numbers of all modules.
//!
//! **Sizes.** Between two prunings the sizes' parameters move; those that move least and end where they began are fixed at
//! their likeliest: of those not fixed yet one Z-th, times the cosine of the likeliest sizes then and now.

use serde::{Deserialize, Serialize};
use stratune_protocol::SearchConfig;

use super::bipeft::Alphas;
use super::gumbel::{argmax, softmax};
use crate::space::{Sizes, Space, ranked};
use crate::supernet::Sensitivity;

/// How slowly sensitivity moves.
const SMOOTHING: f64 = 0.85;
/// How alike lists must be.
const ALIKE: f64 = 0.85;
/// How many lists must be alike.
const WINDOW: usize = 5;
/// From so many prunings left on, modules count whole in what is expected.
const WHOLE: usize = 10;

/// What is kept, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pruning {
    /// Whether each module is still there.
    pub keep: Vec<bool>,
    /// Which of its sizes each module has for good.
    fixed: Vec<Option<usize>>,
    /// S of each module.
    sensitivity: Vec<f64>,
    /// The last lists, and how many there have been.
    lists: Vec<Vec<bool>>,
    listed: usize,
    /// Prunings left, Z.
    left: usize,
    #[serde(skip)]
    pub rounds: Rounds,
    /// The sizes' parameters after the last pruning.
    begun: Vec<Vec<f64>>,
    /// Since then: steps, and of each parameter the sum and the sum of squares.
    steps: usize,
    sums: Vec<Vec<[f64; 2]>>,
}

/// How the budget is gone down to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rounds {
    /// Prunings in all.
    count: usize,
    /// The power of the budget's own way down; 0: it stays.
    relaxation: f64,
}

impl Rounds {
    /// Of a configuration.
    pub fn of(config: &SearchConfig) -> Self {
        Self { count: config.prunings, relaxation: f64::from(config.relaxation) }
    }
}

impl Pruning {
    /// Of so many modules in these prunings.
    pub fn new(modules: usize, rounds: Rounds, alphas: &Alphas) -> Self {
        let mut new = Self {
            keep: vec![true; modules],
            fixed: vec![None; modules],
            sensitivity: vec![0.0; modules],
            lists: Vec::new(),
            listed: 0,
            left: rounds.count,
            rounds,
            begun: Vec::new(),
            steps: 0,
            sums: Vec::new(),
        };
        new.watch(alphas);
        new
    }

    /// Whether nothing is left to prune.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Whether the size of a module is still open.
    pub fn is_free(&self, module: usize) -> bool {
        self.keep[module] && self.fixed[module].is_none()
    }

    /// The size of each module, whether it is kept or not: the one that is fixed, or the likeliest.
    pub fn sizes(&self, space: &Space, alphas: &Alphas) -> Sizes {
        let of = |(i, module): (usize, &crate::Module)| {
            let at = self.fixed[i].unwrap_or_else(|| argmax(&alphas.sizes[i]));
            module.sizes.get(at).copied().unwrap_or(1)
        };
        space.modules.iter().enumerate().map(of).collect()
    }

    /// Of what is kept, what fits into the budget in the order of S.
    pub fn within_budget(&self, space: &Space, alphas: &Alphas) -> Sizes {
        let sizes = self.sizes(space, alphas);
        let kept = ranked(&self.sensitivity).into_iter().filter(|i| self.keep[*i]);
        space.filled(kept.map(|i| (i, sizes[i])))
    }

    /// Numbers of all that is kept.
    pub fn kept(&self, space: &Space, alphas: &Alphas) -> u64 {
        let sizes = self.sizes(space, alphas);
        (0..sizes.len()).filter(|i| self.keep[*i]).map(|i| space.modules[i].count(sizes[i])).sum()
    }

    /// Whether it can be of this space and of parameters of these lengths: what a file says is not believed.
    pub fn fits(&self, space: &Space, alphas: &Alphas, rounds: Rounds) -> bool {
        let modules = space.modules.len();
        let lengths = |lists: &[Vec<f64>]| lists.iter().map(Vec::len).collect::<Vec<_>>();
        let size = |(fixed, module): (&Option<usize>, &crate::Module)| fixed.is_none_or(|at| at < module.sizes.len());
        [self.keep.len(), self.fixed.len(), self.sensitivity.len()] == [modules; 3]
            && self.fixed.iter().zip(&space.modules).all(size)
            && self.lists.len() == self.listed.min(WINDOW)
            && self.lists.iter().all(|list| list.len() == modules)
            && self.left <= rounds.count
            && lengths(&self.begun) == lengths(&alphas.sizes)
            && self.sums.iter().map(Vec::len).eq(alphas.sizes.iter().map(Vec::len))
            && self.steps.max(self.listed) < usize::MAX / 2
    }

    /// Takes notice of the sizes' parameters after they have moved.
    pub fn remember(&mut self, alphas: &Alphas) {
        self.steps += 1;
        for (sums, alpha) in self.sums.iter_mut().zip(&alphas.sizes) {
            for ([sum, squares], alpha) in sums.iter_mut().zip(alpha) {
                *sum += alpha;
                *squares += alpha * alpha;
            }
        }
    }

    /// Takes notice of a step, and prunes when it is time, if it `may`.
    pub fn weigh(&mut self, space: &Space, alphas: &Alphas, found: &[Sensitivity], may: bool) {
        let sizes = self.sizes(space, alphas);
        for (i, of) in found.iter().enumerate() {
            let now = (of.train + of.cosine * of.apart) / space.modules[i].count(sizes[i]).max(1) as f64;
            self.sensitivity[i] = SMOOTHING * self.sensitivity[i] + (1.0 - SMOOTHING) * now;
        }
        let list: Vec<bool> = self.within_budget(space, alphas).iter().map(|size| *size > 0).collect();
        let cosines = self.lists.iter().map(|earlier| cosine(earlier, &list));
        let alike = cosines.sum::<f64>() / self.lists.len().max(1) as f64 >= ALIKE;
        let time = self.listed > WINDOW && alike;
        self.lists.push(list);
        self.listed += 1;
        if self.lists.len() > WINDOW {
            self.lists.remove(0);
        }
        if may && time && !self.is_done() {
            self.prune(space, alphas);
            self.fix(alphas);
            // A soft budget is met as soon as what is left is within it.
            let met = space.tolerance > 0.0 && self.kept(space, alphas) <= space.limit();
            self.left = if met { 0 } else { self.left - 1 };
            self.watch(alphas);
        }
    }

    /// Numbers that are expected to train.
    pub fn expected(&self, space: &Space, alphas: &Alphas) -> f64 {
        let chances = alphas.chances();
        let of = |(i, module): (usize, &crate::Module)| {
            let chance = if self.left <= WHOLE { 1.0 } else { chances[i] };
            let count = |at: usize| module.count(module.sizes[at]) as f64;
            let size = match self.fixed[i] {
                Some(at) => count(at),
                None if alphas.sizes[i].is_empty() => count(0),
                None => softmax(&alphas.sizes[i]).iter().enumerate().map(|(at, p)| p * count(at)).sum(),
            };
            chance * size
        };
        space.modules.iter().enumerate().filter(|(i, _)| self.keep[*i]).map(of).sum()
    }

    /// The budget of this pruning.
    fn budget(&self, space: &Space) -> f64 {
        let Rounds { count, relaxation } = self.rounds;
        let left = (self.left - 1) as f64 / count.max(1) as f64;
        let (all, budget) = (space.all() as f64, space.budget as f64);
        if relaxation > 0.0 { budget + (all - budget) * left.powf(relaxation) } else { budget }
    }

    fn prune(&mut self, space: &Space, alphas: &Alphas) {
        let beyond = self.expected(space, alphas) - self.budget(space);
        let amount = if self.rounds.relaxation > 0.0 { beyond } else { beyond / self.left as f64 };
        let (sizes, mut gone) = (self.sizes(space, alphas), 0.0);
        for i in ranked(&self.sensitivity).into_iter().rev() {
            if gone >= amount {
                break;
            }
            if std::mem::replace(&mut self.keep[i], false) {
                gone += space.modules[i].count(sizes[i]) as f64;
            }
        }
    }

    fn fix(&mut self, alphas: &Alphas) {
        let open: Vec<usize> =
            (0..self.keep.len()).filter(|i| self.is_free(*i) && !alphas.sizes[*i].is_empty()).collect();
        let likeliest = |alphas: &[Vec<f64>]| -> Vec<f64> {
            alphas.iter().filter(|alpha| !alpha.is_empty()).map(|alpha| argmax(alpha) as f64).collect()
        };
        // The released code takes the cosine of the indices themselves, and 1 where all are 0.
        let alike = cosine_of(&likeliest(&self.begun), &likeliest(&alphas.sizes)).unwrap_or(1.0);
        let count = if self.left <= 1 { open.len() } else { (alike * open.len() as f64 / self.left as f64) as usize };
        let instability: Vec<f64> = open.iter().map(|i| -self.instability(*i, &alphas.sizes[*i])).collect();
        for of in ranked(&instability).into_iter().take(count) {
            let i = open[of];
            self.fixed[i] = Some(argmax(&alphas.sizes[i]));
        }
    }

    /// DSI: the mean deviation of a module's parameters since the last pruning, times KL(now ‖ then) of what they say.
    fn instability(&self, i: usize, now: &[f64]) -> f64 {
        let steps = self.steps.max(1) as f64;
        let deviation = |[sum, squares]: &[f64; 2]| (squares / steps - (sum / steps).powi(2)).max(0.0).sqrt();
        let mean = self.sums[i].iter().map(deviation).sum::<f64>() / now.len().max(1) as f64;
        let (now, then) = (softmax(now), softmax(&self.begun[i]));
        mean * now.iter().zip(&then).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
    }

    /// Begins to watch the sizes' parameters anew.
    fn watch(&mut self, alphas: &Alphas) {
        self.begun.clone_from(&alphas.sizes);
        self.sums = alphas.sizes.iter().map(|alpha| vec![[0.0; 2]; alpha.len()]).collect();
        self.steps = 0;
    }
}

/// Of two lists; 0 if one is empty.
fn cosine(one: &[bool], other: &[bool]) -> f64 {
    let of = |list: &[bool]| -> Vec<f64> { list.iter().map(|there| f64::from(u8::from(*there))).collect() };
    cosine_of(&of(one), &of(other)).unwrap_or(0.0)
}

/// None if one has no direction.
fn cosine_of(one: &[f64], other: &[f64]) -> Option<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms = (dot(one, one) * dot(other, other)).sqrt();
    (norms > 0.0).then(|| dot(one, other) / norms)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::space::tests::{config, model};

    fn start(prunings: usize) -> (Space, Alphas, Pruning) {
        let space = Space::new(&config(300), &model()).unwrap();
        let sizes = space.modules.iter().map(|m| if m.has_sizes() { vec![0.0, 0.5, 0.1] } else { Vec::new() });
        let alphas = Alphas { binary: vec![[0.0, 0.0]; space.modules.len()], sizes: sizes.collect() };
        let rounds = Rounds { count: prunings, relaxation: 0.0 };
        let pruning = Pruning::new(space.modules.len(), rounds, &alphas);
        (space, alphas, pruning)
    }

    /// Module i matters the more the larger i is.
    fn weights(space: &Space) -> Vec<Sensitivity> {
        let of = |i: usize| Sensitivity { train: i as f64 * space.modules[i].count(1) as f64, apart: 0.0, cosine: 0.0 };
        (0..space.modules.len()).map(of).collect()
    }

    /// From the seventh step on the lists are alike: one pruning a step, what matters least goes first, sizes are fixed, and
    /// in the end exactly what fits is there.
    #[test]
    fn what_matters_least_goes_first_and_the_budget_holds() {
        let (space, alphas, mut pruning) = start(4);
        let mut kept = Vec::new();
        for _ in 0..10 {
            pruning.remember(&alphas);
            pruning.weigh(&space, &alphas, &weights(&space), true);
            kept.push(pruning.keep.iter().filter(|keep| **keep).count());
            let lowest = pruning.keep.iter().position(|keep| *keep).unwrap();
            assert!(pruning.keep[lowest..].iter().all(|keep| *keep), "the lowest go first: {:?}", pruning.keep);
        }
        assert!(kept[..6].iter().all(|count| *count == space.modules.len()), "{kept:?}");
        assert!(kept[6..].windows(2).all(|pair| pair[1] <= pair[0]) && kept[6] < kept[5], "{kept:?}");
        assert!(pruning.is_done());
        let open = |i: &usize| pruning.is_free(*i) && !alphas.sizes[*i].is_empty();
        assert_eq!((0..space.modules.len()).filter(open).count(), 0, "every size is fixed");
        let found = pruning.within_budget(&space, &alphas);
        assert!(space.count(&found) <= 300);
        assert_eq!(found[space.modules.len() - 1], 1);
    }

    /// With a tolerance it ends at the first pruning that leaves no more than that; without it takes all of them.
    #[test]
    fn a_soft_budget_is_met_early() {
        let prunings = |tolerance: f64| {
            let (mut space, alphas, mut pruning) = start(20);
            space.tolerance = tolerance;
            let mut taken = 0;
            for _ in 0..60 {
                let before = (pruning.left, pruning.kept(&space, &alphas));
                pruning.weigh(&space, &alphas, &weights(&space), true);
                taken += usize::from(pruning.left != before.0);
                if pruning.is_done() && before.0 > 0 && tolerance > 0.0 {
                    assert!(before.1 > space.limit() && pruning.kept(&space, &alphas) <= space.limit());
                }
            }
            assert!(pruning.is_done());
            (taken, space.count(&pruning.within_budget(&space, &alphas)))
        };
        let (hard, soft) = (prunings(0.0), prunings(0.5));
        assert!(hard.0 == 20 && hard.1 <= 300, "{hard:?}");
        assert!(soft.0 < 20 && soft.1 <= 450, "{soft:?}");
    }

    /// By hand: of four prunings at the power 2 the budgets are 9/16, 4/16, 1/16 and none of what is beyond; after each no
    /// more is expected than that.
    #[test]
    fn a_relaxed_budget_falls_by_its_schedule() {
        let (space, alphas, mut pruning) = start(4);
        pruning.rounds.relaxation = 2.0;
        let beyond = (space.all() - 300) as f64;
        for share in [9.0, 4.0, 1.0, 0.0] {
            let budget = 300.0 + beyond * share / 16.0;
            assert!((pruning.budget(&space) - budget).abs() < 1e-9);
            (pruning.sensitivity, pruning.lists) = ((0..30).map(f64::from).collect(), Vec::new());
            pruning.prune(&space, &alphas);
            assert!(pruning.kept(&space, &alphas) as f64 <= budget + 224.0, "by one module's worth");
            pruning.left -= 1;
        }
        assert!(pruning.expected(&space, &alphas) <= 300.0);
    }

    #[test]
    fn nothing_is_pruned_before_it_may_or_while_lists_differ() {
        let (space, alphas, mut pruning) = start(4);
        for step in 0..20 {
            pruning.weigh(&space, &alphas, &weights(&space), false);
            assert!(pruning.keep.iter().all(|keep| *keep), "step {step}");
        }
        let (space, alphas, mut pruning) = start(4);
        for step in 0..20 {
            let mut found = vec![Sensitivity::default(); space.modules.len()];
            // What mattered is forgotten faster than lists become alike.
            (0..14).for_each(|i| found[(step * 11 + i) % 30].train = 10.0_f64.powi(3 * step as i32));
            pruning.weigh(&space, &alphas, &found, true);
        }
        assert!(pruning.keep.iter().all(|keep| *keep));
    }

    /// Expected by hand: half of each module, at the sizes' mean; all of it when few prunings are left; what is fixed counts
    /// as it is.
    #[test]
    fn what_is_expected_is_counted_by_hand() {
        let (space, alphas, mut pruning) = start(100);
        let p = softmax(&[0.0, 0.5, 0.1]);
        let mean = p[0] + 4.0 * p[1] + 8.0 * p[2];
        // Two blocks: a rank of 1 is 140 numbers in each, biases are 8 + 4 + 4 + 8 + 20 + 20 + 8, norms 16.
        let (ranks, vectors) = (280.0, 176.0);
        assert!((pruning.expected(&space, &alphas) - 0.5 * (mean * ranks + vectors)).abs() < 1e-9);
        pruning.left = 10;
        assert!((pruning.expected(&space, &alphas) - (mean * ranks + vectors)).abs() < 1e-9);
        pruning.fixed[0] = Some(2);
        assert!((pruning.expected(&space, &alphas) - (mean * (ranks - 16.0) + 8.0 * 16.0 + vectors)).abs() < 1e-9);
        pruning.keep[0] = false;
        assert!((pruning.expected(&space, &alphas) - (mean * (ranks - 16.0) + vectors)).abs() < 1e-9);
    }

    /// What moved less and says the same is fixed first.
    #[test]
    fn the_steadiest_sizes_are_fixed_first() {
        let (_, mut alphas, mut pruning) = start(7);
        for step in 0..10 {
            for i in (0..14).filter(|i| *i != 4 && *i != 9) {
                alphas.sizes[i][2] += 0.05 * f64::from(step % 3);
            }
            pruning.remember(&alphas);
        }
        pruning.fix(&alphas);
        // 14 are open, a seventh of them is two, times a cosine that is not above 1.
        let fixed: Vec<usize> = (0..14).filter(|i| pruning.fixed[*i].is_some()).collect();
        assert!(!fixed.is_empty() && fixed.iter().all(|i| [4, 9].contains(i)), "{fixed:?}");
    }
}
