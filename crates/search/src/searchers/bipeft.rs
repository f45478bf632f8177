//! BIPEFT: budget-guided iterative search (Chang et al. 2024, arXiv 2410.09079), first-order, as its code has it.
//!
//! A module has two parameters that say whether it stays, and one for each size. On the rows that are set apart they learn in
//! turn: at even steps on or off at the size that is likeliest, at odd steps the size, by the straight-through Gumbel-softmax
//! at a temperature that falls from 5 to 1. On the other rows the weights learn, modules drawn on or off. What is kept and
//! how large it is decides [`Pruning`].
//!
//! A LoRA's gates get their gradient through A alone, with B as it was drawn: none while the module is off.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratune_protocol::{Problem, SearchConfig, draws, normals};

use super::gumbel::{Drawn, softmax};
use super::prior;
use super::pruning::{Pruning, Rounds};
use crate::adam::Adam;
use crate::searcher::{Moment, Searcher};
use crate::space::{Sizes, Space};
use crate::supernet::{Gate, Sensitivity, Slopes};

/// Deviation of the parameters at the start.
const START: f32 = 1e-3;
/// Weight of Σ |softmax(α) − α| in the loss.
const PULL: f64 = 0.01;
/// Adam's weight decay.
const DECAY: f64 = 1e-4;

/// What learns at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Whether modules are there.
    Binary,
    /// How large they are.
    Dimension,
}

impl Stage {
    fn of(step: usize) -> Self {
        if step.is_multiple_of(2) { Self::Binary } else { Self::Dimension }
    }
}

/// The architecture's parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alphas {
    /// Of each module: not there, there.
    pub binary: Vec<[f64; 2]>,
    /// Of each module one for each size; none where there is but one.
    pub sizes: Vec<Vec<f64>>,
}

impl Alphas {
    /// How likely each module is to be there.
    pub fn chances(&self) -> Vec<f64> {
        self.binary.iter().map(|alpha| softmax(alpha)[1]).collect()
    }
}

/// The search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bipeft {
    alphas: Alphas,
    adams: [Adam; 2],
    #[serde(skip)]
    rate: f64,
    #[serde(skip)]
    begin: f64,
    pruning: Pruning,
    /// What was drawn in the pass that is being learned from.
    #[serde(skip)]
    drawn: Vec<Option<Drawn>>,
}

impl Bipeft {
    /// At its start: a module stays with a chance of about 1/2, or σ of its block's logit if IST has scored it.
    ///
    /// # Errors
    /// There are scores, and not one for each block.
    pub fn new(config: &SearchConfig, space: &Space, seed: u64) -> Result<Self, Problem> {
        let mut rng = draws(seed, "bipeft_start", [0, 0]);
        let mut some = |count: usize| normals(&mut rng, count, START).into_iter().map(f64::from).collect::<Vec<f64>>();
        let logits = prior(config, space)?;
        let binary =
            logits.iter().map(|logit| (some(2), logit / 2.0)).map(|(two, by)| [two[0] - by, two[1] + by]).collect();
        let sizes = space.modules.iter().map(|m| if m.sizes.len() > 1 { some(m.sizes.len()) } else { Vec::new() });
        let alphas = Alphas { binary, sizes: sizes.collect() };
        let pruning = Pruning::new(space.modules.len(), Rounds::of(config), &alphas);
        let (adams, begin) = (Default::default(), f64::from(config.begin));
        Ok(Self { alphas, adams, rate: config.learning_rate, begin, pruning, drawn: Vec::new() })
    }

    /// The parameters of on and off, and those of the sizes.
    pub fn parameters(&self) -> (&[[f64; 2]], &[Vec<f64>]) {
        (&self.alphas.binary, &self.alphas.sizes)
    }

    /// Whether each module is still there.
    pub fn kept(&self) -> &[bool] {
        &self.pruning.keep
    }

    fn temperature(at: Moment<'_>) -> f64 {
        5.0 - 4.0 * at.step as f64 / at.steps.max(1) as f64
    }

    /// Draws of modules on or off; none for what is out.
    fn binary(&self, at: Moment<'_>, what: &str) -> Vec<Option<Drawn>> {
        let mut rng = draws(at.seed, what, [at.step as u64, 0]);
        // Every module draws, whether it counts or not: what is out changes nobody's luck.
        let all = self.alphas.binary.iter().map(|alpha| Drawn::new(alpha, Self::temperature(at), &mut rng));
        all.zip(&self.pruning.keep).map(|(drawn, keep)| keep.then_some(drawn)).collect()
    }

    /// Draws of sizes; none for what is out, or fixed.
    fn dimension(&self, at: Moment<'_>) -> Vec<Option<Drawn>> {
        let mut rng = draws(at.seed, "bipeft_sizes", [at.step as u64, 0]);
        let draw = |alpha: &Vec<f64>| (!alpha.is_empty()).then(|| Drawn::new(alpha, Self::temperature(at), &mut rng));
        let all: Vec<Option<Drawn>> = self.alphas.sizes.iter().map(draw).collect();
        let free = |(i, drawn): (usize, Option<Drawn>)| drawn.filter(|_| self.pruning.is_free(i));
        all.into_iter().enumerate().map(free).collect()
    }

    fn gates_of(&self, space: &Space, drawn: &[Option<Drawn>], stage: Stage) -> Vec<Gate> {
        let sizes = self.pruning.sizes(space, &self.alphas);
        let gate = |(i, size): (usize, usize)| match (&drawn[i], stage) {
            _ if !self.pruning.keep[i] => Gate::OFF,
            (Some(drawn), Stage::Binary) => Gate::of(if drawn.taken == 1 { size } else { 0 }),
            (Some(drawn), Stage::Dimension) => Gate::of(space.modules[i].sizes[drawn.taken]),
            (None, _) => Gate::of(size),
        };
        sizes.into_iter().enumerate().map(gate).collect()
    }
}

/// The gradient of Σ |softmax(α) − α|.
fn pull(alpha: &[f64]) -> Vec<f64> {
    let soft = softmax(alpha);
    let signs: Vec<f64> = soft.iter().zip(alpha).map(|(s, a)| (s - a).signum()).collect();
    let mean: f64 = signs.iter().zip(&soft).map(|(sign, s)| sign * s).sum();
    signs.iter().zip(&soft).map(|(sign, s)| s * (sign - mean) - sign).collect()
}

impl Searcher for Bipeft {
    fn explore(&mut self, at: Moment<'_>) -> Option<Vec<Gate>> {
        let stage = Stage::of(at.step);
        self.drawn = match stage {
            Stage::Binary => self.binary(at, "bipeft_architecture"),
            Stage::Dimension => self.dimension(at),
        };
        Some(self.gates_of(at.space, &self.drawn, stage))
    }

    fn learn(&mut self, at: Moment<'_>, gates: &[Gate], slopes: &[Slopes]) {
        let stage = Stage::of(at.step);
        let (mut values, mut gradients) = (Vec::new(), Vec::new());
        for (i, drawn) in self.drawn.iter().enumerate() {
            let Some(drawn) = drawn else { continue };
            let (module, gate, slopes) = (&at.space.modules[i], gates[i], &slopes[i]);
            // What is off has no B for A's gradient to come through.
            let off = gate.size == 0 && module.has_sizes();
            let of_choices: Vec<f64> = match stage {
                Stage::Binary => vec![0.0, if off { 0.0 } else { slopes.of_size(gate.size.max(1)) }],
                Stage::Dimension => module.sizes.iter().map(|size| slopes.of_size((*size).min(gate.size))).collect(),
            };
            let alpha: &[f64] = match stage {
                Stage::Binary => &self.alphas.binary[i],
                Stage::Dimension => &self.alphas.sizes[i],
            };
            values.extend_from_slice(alpha);
            gradients.extend(drawn.backward(&of_choices).into_iter().zip(pull(alpha)).map(|(g, p)| g + PULL * p));
        }
        // Moments keep to their parameters: what does not learn any more has none that count.
        let places = self.places(stage);
        let adam = &mut self.adams[usize::from(stage == Stage::Dimension)];
        let all = self.drawn.iter().enumerate().filter(|(_, drawn)| drawn.is_some()).map(|(i, _)| i);
        let indices: Vec<usize> = all.flat_map(|i| places[i].clone()).collect();
        adam.step_at(&indices, &mut values, &gradients, (self.rate, DECAY));
        let mut values = values.into_iter();
        for (i, _) in self.drawn.iter().enumerate().filter(|(_, drawn)| drawn.is_some()) {
            let alpha: &mut [f64] = match stage {
                Stage::Binary => &mut self.alphas.binary[i],
                Stage::Dimension => &mut self.alphas.sizes[i],
            };
            alpha.iter_mut().for_each(|alpha| *alpha = values.next().unwrap_or(*alpha));
        }
        if stage == Stage::Dimension {
            self.pruning.remember(&self.alphas);
        }
    }

    fn gates(&self, at: Moment<'_>) -> Vec<Gate> {
        self.gates_of(at.space, &self.binary(at, "bipeft_weights"), Stage::Binary)
    }

    fn weighs(&self) -> bool {
        true
    }

    fn weigh(&mut self, at: Moment<'_>, found: &[Sensitivity]) {
        let may = at.step as f64 >= self.begin * at.steps as f64;
        self.pruning.weigh(at.space, &self.alphas, found, may);
    }

    fn is_within(&self, space: &Space) -> bool {
        self.pruning.kept(space, &self.alphas) <= space.limit()
    }

    fn is_done(&self) -> bool {
        self.pruning.is_done()
    }

    fn found(&self, space: &Space) -> Sizes {
        self.pruning.within_budget(space, &self.alphas)
    }

    fn chances(&self, _: &Space) -> Vec<f32> {
        let kept = self.alphas.chances().into_iter().zip(&self.pruning.keep);
        kept.map(|(p, keep)| if *keep { p as f32 } else { 0.0 }).collect()
    }

    fn save(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn load(&mut self, space: &Space, saved: &Value) -> bool {
        let lengths = |alphas: &Alphas| alphas.sizes.iter().map(Vec::len).collect::<Vec<_>>();
        let count = |stage| self.places(stage).last().map_or(0, |place| place.end);
        let fits = |read: &Self| {
            read.alphas.binary.len() == space.modules.len()
                && lengths(&read.alphas) == lengths(&self.alphas)
                && read.adams[0].fits(count(Stage::Binary))
                && read.adams[1].fits(count(Stage::Dimension))
                && read.pruning.fits(space, &self.alphas, self.pruning.rounds)
        };
        let Some(mut read) = serde_json::from_value::<Self>(saved.clone()).ok().filter(fits) else { return false };
        read.pruning.rounds = self.pruning.rounds;
        *self = Self { rate: self.rate, begin: self.begin, ..read };
        true
    }
}

impl Bipeft {
    /// Where each module's parameters of a stage are among all of them.
    fn places(&self, stage: Stage) -> Vec<std::ops::Range<usize>> {
        let mut end = 0;
        let lengths = self.alphas.sizes.iter().map(|alpha| if stage == Stage::Binary { 2 } else { alpha.len() });
        lengths
            .map(|length| {
                end += length;
                end - length..end
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::space::tests::{config, model};

    fn search() -> (Space, Bipeft) {
        let space = Space::new(&config(300), &model()).unwrap();
        let search = Bipeft::new(&SearchConfig { prunings: 4, begin: 0.0, ..SearchConfig::default() }, &space, 3);
        (space, search.unwrap())
    }

    fn slopes(space: &Space) -> Vec<Slopes> {
        let of = |(i, m): (usize, &crate::Module)| {
            let ranks = if m.has_sizes() { (0..8).map(|k| ((i * 8 + k) as f64).sin()).collect() } else { Vec::new() };
            Slopes { ranks, rest: if m.has_sizes() { 0.0 } else { (i as f64).cos() } }
        };
        space.modules.iter().enumerate().map(of).collect()
    }

    /// Stages take turns, and only the parameters of the stage move.
    #[test]
    fn only_what_the_stage_is_about_moves() {
        let (space, mut search) = search();
        for step in 0..6 {
            let at = Moment { space: &space, step, steps: 6, seed: 3 };
            let before = search.alphas.clone();
            let gates = search.explore(at).unwrap();
            search.learn(at, &gates, &slopes(&space));
            let (binary, sizes) = (search.alphas.binary != before.binary, search.alphas.sizes != before.sizes);
            assert_eq!((binary, sizes), (step % 2 == 0, step % 2 == 1), "step {step}");
        }
    }

    #[test]
    fn the_pull_is_the_gradient_of_its_sum() {
        let alpha = [0.3, -0.2, 0.9];
        let sum = |alpha: &[f64]| softmax(alpha).iter().zip(alpha).map(|(s, a)| (s - a).abs()).sum::<f64>();
        for (i, got) in pull(&alpha).into_iter().enumerate() {
            let moved = |by: f64| {
                let mut alpha = alpha;
                alpha[i] += by;
                sum(&alpha)
            };
            assert!((got - (moved(1e-6) - moved(-1e-6)) / 2e-6).abs() < 1e-7);
        }
    }

    /// A size's gate sees the ranks that it shares with the size that was drawn; a LoRA that is off sees nothing.
    #[test]
    fn what_is_off_does_not_learn_of_its_weights() {
        let (space, mut search) = search();
        let none = vec![Slopes::default(); space.modules.len()];
        let (mut on, mut off) = (0, 0);
        for step in [0, 2, 4, 6] {
            let at = Moment { space: &space, step, steps: 8, seed: 3 };
            let mut without = search.clone();
            let gates = search.explore(at).unwrap();
            search.learn(at, &gates, &slopes(&space));
            without.explore(at).unwrap();
            without.learn(at, &gates, &none);
            // Of one step Adam takes the sign alone, so that zero or not shows in the moments.
            for (i, module) in space.modules.iter().enumerate().filter(|(_, m)| m.has_sizes()) {
                let same = search.alphas.binary[i] == without.alphas.binary[i];
                let there = gates[i].size > 0;
                assert!(there || same, "{} is off at step {step}", module.name());
                if there { on += usize::from(!same) } else { off += 1 }
            }
            search = without;
        }
        assert!(on > 5 && off > 5, "{on} {off}");
    }

    #[test]
    fn what_is_saved_is_what_is_read() {
        let (space, mut search) = search();
        for step in 0..3 {
            let at = Moment { space: &space, step, steps: 6, seed: 3 };
            let gates = search.explore(at).unwrap();
            search.learn(at, &gates, &slopes(&space));
        }
        let text = search.save().to_string();
        let (_, mut again) = self::search();
        assert!(again.load(&space, &serde_json::from_str(&text).unwrap()));
        assert_eq!((&again.alphas, &again.adams, &again.pruning), (&search.alphas, &search.adams, &search.pruning));
        assert!(!again.load(&space, &Value::Null));
    }

    /// Whatever number of a state is another, it is refused, or a step of the search goes on without a panic.
    #[test]
    fn a_state_that_was_changed_is_no_panic() {
        let (space, mut search) = search();
        for step in 0..3 {
            step_of(&space, &mut search, step);
        }
        let sound = search.save();
        let (mut refused, mut taken) = (0, 0);
        for at in places_in(&sound) {
            for other in [json!(-1), json!(1e300), json!(u64::MAX), json!([]), Value::Null, json!(i32::MAX)] {
                let mut changed = sound.clone();
                *changed.pointer_mut(&at).unwrap() = other;
                let mut again = self::search().1;
                match again.load(&space, &changed) {
                    false => refused += 1,
                    true => {
                        taken += 1;
                        (3..5).for_each(|step| step_of(&space, &mut again, step));
                        assert!(again.found(&space).len() == space.modules.len(), "{at}");
                    }
                }
            }
        }
        assert!(refused > 50 && taken > 50, "{refused} {taken}");
    }

    fn step_of(space: &Space, search: &mut Bipeft, step: usize) {
        let at = Moment { space, step, steps: 6, seed: 3 };
        let gates = search.explore(at).unwrap();
        search.learn(at, &gates, &slopes(space));
        search.gates(at);
        search.weigh(at, &vec![Sensitivity { train: 1.0, apart: 0.5, cosine: 0.1 }; space.modules.len()]);
        search.chances(space);
    }

    /// Where values are: of each list the first and the last.
    fn places_in(value: &Value) -> Vec<String> {
        let below = |name: String, value: &Value| places_in(value).into_iter().map(move |at| format!("/{name}{at}"));
        let inner: Vec<String> = match value {
            Value::Object(fields) => fields.iter().flat_map(|(name, of)| below(name.clone(), of)).collect(),
            Value::Array(list) => {
                let ends = [0, list.len().saturating_sub(1)].into_iter().filter(|i| *i < list.len());
                ends.flat_map(|i| below(i.to_string(), &list[i])).collect()
            }
            _ => Vec::new(),
        };
        inner.into_iter().chain([String::new()]).collect()
    }
}
