//! AutoPEFT (Zhou et al. 2024, arXiv 2301.12132): multi-objective Bayesian optimisation over real short fine-tunes.
//!
//! A structure is which blocks are on, and for each method the size that it has in all of them, or none. Each trains alone for
//! some steps, from where the run began and with an optimiser of its own, and is measured on the rows that are set apart. The
//! first half of them is drawn; then each is the one whose expected improvement of the front's hypervolume is the largest, by
//! a Gaussian process of the loss ([`GaussianProcess`]): the numbers that train are known. It is looked for among draws and the
//! neighbours of the front, and from the best of these by steps to neighbours.

use futures::future::LocalBoxFuture;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratune_protocol::{FrontPoint, Problem, SearchConfig, draws};

use super::choices::{Choice, Choices};
use super::gaussian_process::{GaussianProcess, Point};
use super::there;
use crate::Front;
use crate::searcher::{Look, Moment, Searcher};
use crate::space::{Sizes, Space};
use crate::supernet::Gate;

/// Draws that are looked at for each structure.
const DRAWS: usize = 256;
/// From how many of the best neighbours are gone to, and how often at most.
const CLIMBS: usize = 4;
const STEPS: usize = 16;

/// The search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AutoPeft {
    #[serde(skip)]
    among: Choices,
    /// Steps of a structure.
    #[serde(skip)]
    steps: usize,
    /// What was measured.
    judged: Vec<(Choice, f64)>,
    /// What trains now.
    now: Choice,
    /// Whether no further structure is to train.
    done: bool,
}

impl AutoPeft {
    /// Before the first structure.
    ///
    /// # Errors
    /// Not even one method in one block is within the smallest budget.
    pub fn new(config: &SearchConfig, space: &Space) -> Result<Self, Problem> {
        let among = Choices::new(space);
        let now = among.smallest(space);
        let least = space.count(&among.spread(&now));
        if least > space.limit() {
            let [budget, least] = [space.budget, least].map(|amount| space.words(amount));
            let what = format!(
                "the budget is {budget}, and autopeft's smallest structure, one method in one block, comes to {least}"
            );
            return Err(Problem::input(what)
                .at("search.budget")
                .next("give more, or search by bipeft, which chooses among single modules"));
        }
        Ok(Self { among, steps: config.evaluation_steps, judged: Vec::new(), now, done: false })
    }

    fn point(&self, space: &Space, choice: &Choice, loss: f64) -> FrontPoint {
        let sizes = self.among.spread(choice);
        FrontPoint { parameters: space.count(&sizes), loss, sizes }
    }

    fn front(&self, space: &Space) -> Front {
        let mut front = Front::default();
        self.judged.iter().for_each(|(choice, loss)| _ = front.add(self.point(space, choice, *loss)));
        front
    }

    /// The next structure.
    fn next(&self, at: Moment<'_>) -> Choice {
        let mut rng = draws(at.seed, "autopeft", [self.judged.len() as u64, 0]);
        let limits = &self.among.limits;
        // The first draws are under each budget in turn, so that each has a structure.
        let drawn = self.among.draw(at.space, limits[self.judged.len() % limits.len()], &mut rng);
        let random = (at.steps / self.steps).div_ceil(2).max(limits.len());
        if self.judged.len() < random { drawn } else { self.likeliest(at.space, &mut rng).unwrap_or(drawn) }
    }

    /// What the front's hypervolume is expected to grow by most with; none if nothing is expected.
    fn likeliest(&self, space: &Space, rng: &mut ChaCha8Rng) -> Option<Choice> {
        let limit = self.among.limits.last().copied().unwrap_or(space.budget);
        let points: Vec<Point> = self.judged.iter().map(|(choice, _)| self.among.point(choice)).collect();
        let losses: Vec<f64> = self.judged.iter().map(|(_, loss)| *loss).collect();
        let process = GaussianProcess::fit(&points, &losses)?;
        let front = self.front(space);
        let reference = [limit as f64, losses.iter().copied().fold(f64::MIN, f64::max)];
        let open = |choice: &Choice| {
            self.among.allows(space, choice, limit) && !self.judged.iter().any(|(there, _)| there == choice)
        };
        let gain = |choice: Choice| {
            let numbers = space.count(&self.among.spread(&choice));
            let gain = front.expected_gain(numbers, process.at(&self.among.point(&choice)), reference);
            (gain, choice)
        };
        let best = |of: Vec<(f64, Choice)>| of.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let on_front = self.judged.iter().filter(|(choice, _)| {
            let sizes = self.among.spread(choice);
            front.points().iter().any(|point| point.sizes == sizes)
        });
        let near: Vec<Choice> = on_front.flat_map(|(choice, _)| self.among.neighbours(choice)).collect();
        let mut all: Vec<Choice> = (0..DRAWS).map(|_| self.among.draw(space, limit, rng)).chain(near).collect();
        all.retain(&open);
        let mut all: Vec<(f64, Choice)> = all.into_iter().map(&gain).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.dedup_by(|a, b| a.1 == b.1);
        all.truncate(CLIMBS);
        let climb = |mut from: (f64, Choice)| {
            for _ in 0..STEPS {
                let around = self.among.neighbours(&from.1).into_iter().filter(&open).map(&gain).collect();
                match best(around).filter(|to| to.0 > from.0) {
                    Some(to) => from = to,
                    None => break,
                }
            }
            from
        };
        best(all.into_iter().map(climb).collect()).filter(|(gain, _)| *gain > 0.0).map(|(_, choice)| choice)
    }

    /// Takes a structure's loss in, and goes to the next.
    fn judge(&mut self, at: Moment<'_>, loss: f64) {
        self.judged.push((self.now.clone(), loss));
        self.done = at.steps - at.step.min(at.steps) < self.steps;
        if !self.done {
            self.now = self.next(at);
        }
    }

    fn best(&self, space: &Space) -> Option<Sizes> {
        self.front(space).within(space.limit()).map(|point| point.sizes.clone())
    }
}

impl Searcher for AutoPeft {
    fn begin<'a>(&'a mut self, at: Moment<'a>, _: &'a mut Look<'_, '_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let least = self.steps * self.among.limits.len();
            if at.steps < least {
                let what = format!(
                    "the search has {} steps: a structure takes {}, and each budget needs one",
                    at.steps, self.steps
                );
                return Err(Problem::input(what)
                    .at("search.evaluation_steps")
                    .next(format!("give {least} steps or more, many times that to choose among structures")));
            }
            self.now = self.next(at);
            Ok(())
        })
    }

    fn trains_alone(&self) -> bool {
        true
    }

    fn starts_anew(&self, at: Moment<'_>) -> bool {
        at.step.is_multiple_of(self.steps)
    }

    fn gates(&self, _: Moment<'_>) -> Vec<Gate> {
        self.among.spread(&self.now).into_iter().map(Gate::of).collect()
    }

    fn after_step<'a>(
        &'a mut self,
        at: Moment<'a>,
        look: &'a mut Look<'_, '_>,
    ) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            if at.step.is_multiple_of(self.steps) {
                let loss = look.loss(at.space, &self.among.spread(&self.now)).await?;
                self.judge(at, loss);
            }
            Ok(())
        })
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn found(&self, space: &Space) -> Sizes {
        self.best(space).unwrap_or_else(|| self.among.spread(&self.among.smallest(space)))
    }

    fn chances(&self, space: &Space) -> Vec<f32> {
        self.best(space).map_or_else(|| vec![1.0; space.modules.len()], |sizes| there(&sizes))
    }

    fn save(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn load(&mut self, space: &Space, saved: &Value) -> bool {
        let limit = self.among.limits.last().copied().unwrap_or(space.budget);
        let Ok(read) = serde_json::from_value::<Self>(saved.clone()) else { return false };
        let known = |choice: &Choice| self.among.allows(space, choice, limit);
        let fits = known(&read.now) && read.judged.iter().all(|(choice, _)| known(choice));
        if fits {
            *self = Self { among: std::mem::take(&mut self.among), steps: self.steps, ..read };
        }
        fits
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::space::tests::config;

    const LAYERS: usize = 8;
    const BUDGETS: [u64; 2] = [700, 3000];

    fn space() -> Space {
        let model = stratune_protocol::testing::model(LAYERS, [8, 20, 8, 4]);
        let mut config = config(BUDGETS[0]);
        config.search.as_mut().unwrap().larger_budgets = vec![BUDGETS[1]];
        config.method[2].layers = (0..LAYERS).collect();
        Space::new(&config, &model).unwrap()
    }

    fn search(space: &Space) -> AutoPeft {
        AutoPeft::new(&SearchConfig { evaluation_steps: 2, ..SearchConfig::default() }, space).unwrap()
    }

    /// What blocks 2 and 5 have counts, and a rank of 4 there; the rest is of little use.
    fn loss(choice: &Choice) -> f64 {
        let lora = [0.0, 0.3, 1.0, 1.0][choice.sizes[0]];
        let of = |i: usize, on: &bool| if *on { [0.02, 0.5][usize::from(i == 2 || i == 5)] } else { 0.0 };
        let blocks: f64 = choice.blocks.iter().enumerate().map(|(i, on)| of(i, on)).sum();
        3.0 - blocks * (lora + 0.2 * choice.sizes[1] as f64)
    }

    /// Evaluations of so many structures, and the volume of the front after each.
    fn run(search: &mut AutoPeft, space: &Space, count: usize, seed: u64, random: bool) -> Vec<f64> {
        let mut volumes = Vec::new();
        for i in 0..count {
            // As if there were steps enough for all draws.
            let steps = 2 * count * if random { 3 } else { 1 };
            let at = |step: usize| Moment { space, step, steps, seed };
            if i == 0 {
                search.now = search.next(at(0));
            }
            let loss = loss(&search.now);
            search.judge(at(2 * (i + 1)), loss);
            volumes.push(search.front(space).hypervolume([BUDGETS[1] as f64, 3.0]));
        }
        volumes
    }

    /// The front's volume never falls, each budget has a structure within it, and in as many evaluations it is larger than that
    /// of draws.
    #[test]
    fn it_finds_more_than_draws_do() {
        let space = space();
        let (mut chosen, mut drawn) = (0.0, 0.0);
        for seed in 0..3 {
            let mut search = search(&space);
            let volumes = run(&mut search, &space, 40, seed, false);
            assert!(search.is_done() && volumes.windows(2).all(|pair| pair[0] <= pair[1]), "{volumes:?}");
            for budget in BUDGETS {
                let found = search.found(&space.under(budget));
                assert!((1..=budget).contains(&space.count(&found)));
                assert!(search.judged.iter().any(|(choice, _)| search.among.spread(choice) == found));
            }
            let choices = search.judged.iter().map(|(choice, _)| choice);
            assert!(choices.clone().all(|choice| search.among.allows(&space, choice, BUDGETS[1])));
            chosen += volumes[39];
            drawn += run(&mut self::search(&space), &space, 40, seed, true)[39];
        }
        println!("volume {chosen} of chosen structures, {drawn} of drawn ones");
        assert!(chosen > 1.05 * drawn, "{chosen} {drawn}");
    }

    /// The same evaluations lead to the same structure; a state that was changed is refused.
    #[test]
    fn evaluations_are_the_state() {
        let space = space();
        let (mut whole, mut first) = (search(&space), search(&space));
        run(&mut whole, &space, 12, 1, false);
        let at = |step: usize| Moment { space: &space, step, steps: 24, seed: 1 };
        first.now = first.next(at(0));
        for i in 0..12 {
            let text = first.save().to_string();
            first = search(&space);
            assert!(first.load(&space, &serde_json::from_str(&text).unwrap()));
            let loss = loss(&first.now);
            first.judge(at(2 * (i + 1)), loss);
        }
        assert_eq!((&first.judged, first.done), (&whole.judged, true));
        let sound = whole.save();
        for (place, other) in [
            ("/now/sizes/0", Value::from(9)),
            ("/now/blocks", Value::from(vec![true])),
            ("/judged/3/0/sizes", Value::from(vec![0, 0, 0])),
            ("/judged/3/1", Value::Null),
            ("/judged", Value::Null),
        ] {
            let mut changed = sound.clone();
            *changed.pointer_mut(place).unwrap() = other;
            assert!(!search(&space).load(&space, &changed), "{place}");
        }
    }

    #[test]
    fn a_budget_below_one_block_is_refused() {
        let space = space().under(15);
        let problem = AutoPeft::new(&SearchConfig::default(), &space).unwrap_err();
        assert!(problem.what.contains("16 numbers") && problem.next.contains("bipeft"), "{problem}");
    }
}
