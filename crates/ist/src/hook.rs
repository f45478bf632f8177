//! IST as the training loop sees it.

use futures::future::LocalBoxFuture;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratune_protocol::{Candidate, IstConfig, IstMode, Problem, ProblemKind, draws};
use stratune_train::{Event, Hook, HookState, Rows, Run, Saved, Selection};

use crate::{DepthBudget, Floor, Reward, Scores, draw, inclusion};

/// No learning rate is made larger than this. At 0.02 (a quarter of the layers, four times 0.005) the starter did not converge,
/// at 0.01 it ended at a held-out loss of 0.31, at 0.005 at 0.19: AdamW's noise grows with a step, whatever it makes up for.
const LARGEST_RATE: f64 = 5e-3;

/// Chooses the blocks of each step. Its draws are keyed by seed and step, so its whole state is the scores and the set
/// that is training.
#[derive(Clone, Debug)]
pub struct Ist {
    config: IstConfig,
    seed: u64,
    scores: Scores,
    active: Vec<usize>,
    /// What the learning rate of each block of the set is multiplied by: decided when the set is drawn.
    rates: Vec<f64>,
    /// How likely each block is to be drawn with the scores as they are; empty until it is asked for.
    chances: Vec<f64>,
    /// The blocks that have something to train, upwards; all of them until the model has been seen.
    among: Vec<usize>,
    seen: bool,
    /// Forward passes of an importance update, in units of a training batch's.
    forwards: f64,
    /// `cost_aware` only.
    budget: DepthBudget,
}

#[derive(Serialize, Deserialize)]
struct State {
    scores: Vec<f64>,
    active: Vec<usize>,
    #[serde(default)]
    rates: Vec<f64>,
}

impl Ist {
    /// At the first step, for a model of `layers` blocks whose steps take `rows` rows.
    pub fn new(config: &IstConfig, layers: usize, rows: usize, seed: u64) -> Self {
        let forwards = (config.candidates * config.batch_size) as f64 / rows.max(1) as f64;
        let budget = DepthBudget::new(layers, config.depth, forwards, config.interval);
        Self {
            config: config.clone(),
            seed,
            scores: Scores::new(layers),
            active: Vec::new(),
            rates: Vec::new(),
            chances: Vec::new(),
            among: (0..layers).collect(),
            seen: false,
            forwards,
            budget,
        }
    }

    /// Chooses among the blocks of a model that have something to train: a structure may leave some without.
    fn see(&mut self, run: &Run<'_>) {
        let (layers, shared) = (&run.model.layers, &run.model.shared);
        let trains: Vec<usize> = (0..self.among.len()).filter(|i| layers[*i].trains(shared)).collect();
        if !trains.is_empty() && trains != self.among {
            self.budget = DepthBudget::new(trains.len(), self.config.depth, self.forwards, self.config.interval);
            (self.among, self.chances) = (trains, Vec::new());
        }
        self.seen = true;
    }

    /// Of what each block has, what those have that are chosen among.
    fn of_those(&self, weights: &[f64]) -> Vec<f64> {
        self.among.iter().map(|block| weights[*block]).collect()
    }

    /// Which blocks these of those that are chosen among are.
    fn blocks_of(&self, drawn: Vec<usize>) -> Vec<usize> {
        drawn.into_iter().map(|i| self.among[i]).collect()
    }

    /// The scores as they are.
    pub fn scores(&self) -> &Scores {
        &self.scores
    }

    fn blocks(&self, share: f32) -> usize {
        IstConfig::blocks(share, self.among.len())
    }

    /// The importance loop: damps a few sets of blocks in turn and moves the scores by what that does to the loss.
    async fn learn(&mut self, step: usize, run: &Run<'_>) -> Result<Event, Problem> {
        let from = if self.config.mode.sets_apart() { Rows::Importance } else { Rows::Train };
        let count = run.rows(from).len();
        if count == 0 {
            return Err(Problem::new(ProblemKind::Internal, "no rows are set apart to learn the layers' scores on")
                .at(format!("step {step}")));
        }
        let rows = self.importance_rows(step, count);
        let mut candidates: Vec<Candidate> = Vec::new();
        for damped in self.damped_sets(step) {
            let mut damping = vec![1.0; self.scores.0.len()];
            damped.iter().for_each(|i| damping[*i] = self.config.damping);
            let loss = run.loss(from, &rows, &damping).await?;
            candidates.push(Candidate { damped, loss });
        }
        let reward = match self.config.mode {
            IstMode::Scored | IstMode::Practical | IstMode::CostAware => {
                Reward::Normalised { limit: f64::from(self.config.score_limit) }
            }
            _ => Reward::Raw,
        };
        self.scores.update(&candidates, f64::from(self.config.step_size), reward);
        self.chances.clear();
        let mut probabilities = vec![0.0; self.scores.0.len()];
        let training = self.scores.training();
        self.among.iter().for_each(|block| probabilities[*block] = training[*block] as f32);
        let scores = self.scores.0.iter().map(|s| *s as f32).collect();
        Ok(Event::Importance { step, scores, probabilities, candidates })
    }

    /// The sets to damp, each drawn again until it differs from the ones before. A model with few blocks has few sets:
    /// after a hundred draws a repeated one is accepted, which costs a little information and nothing else.
    fn damped_sets(&self, step: usize) -> Vec<Vec<usize>> {
        let weights = self.of_those(&self.scores.damping());
        let count = self.blocks(self.config.damped_fraction);
        let mut rng = draws(self.seed, "ist_damped", [step as u64, 0]);
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for _ in 0..self.config.candidates {
            let mut set = draw(&weights, count, None, &mut rng);
            for _ in 0..100 {
                if !sets.contains(&set) {
                    break;
                }
                set = draw(&weights, count, None, &mut rng);
            }
            sets.push(set);
        }
        sets.into_iter().map(|set| self.blocks_of(set)).collect()
    }

    /// The next rows of a shuffled loader that starts anew when it is through.
    fn importance_rows(&self, step: usize, count: usize) -> Vec<usize> {
        let size = self.config.batch_size;
        let per_pass = count.div_ceil(size).max(1);
        let update = step / self.interval() - 1;
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut draws(self.seed, "ist_rows", [(update / per_pass) as u64, 0]));
        order.into_iter().skip(update % per_pass * size).take(size).collect()
    }

    /// Steps between importance updates.
    fn interval(&self) -> usize {
        if self.config.mode == IstMode::CostAware { self.budget.interval } else { self.config.interval }
    }

    /// `practical` only: keeps the draw from the lowest blocks.
    fn floor(&self) -> Option<Floor> {
        self.config.floor.then_some(Floor { below: self.among.len() / 4 })
    }

    fn choose(&self, step: usize) -> Vec<usize> {
        let weights = self.of_those(&self.scores.training());
        let count = self.blocks(self.config.fraction);
        let mut rng = draws(self.seed, "ist_active", [step as u64, 0]);
        self.blocks_of(match self.config.mode {
            // Also what trains outside these blocks' own numbers, as a run without IST has it.
            IstMode::All | IstMode::Scored => return (0..self.scores.0.len()).collect(),
            IstMode::Random => draw(&vec![0.5; weights.len()], count, None, &mut rng),
            IstMode::Faithful => draw(&weights, count, None, &mut rng),
            IstMode::Practical => draw(&weights, count, self.floor(), &mut rng),
            IstMode::CostAware => self.budget.draw(&weights, count, &mut rng),
        })
    }

    /// The probability of each block to be in a set that is drawn now.
    fn chances(&mut self) -> &[f64] {
        let count = self.blocks(self.config.fraction);
        if self.chances.is_empty() {
            let weights = self.of_those(&self.scores.training());
            let of_those = match self.config.mode {
                // They train, if they have anything.
                IstMode::All | IstMode::Scored => vec![1.0; weights.len()],
                IstMode::Random => vec![count as f64 / weights.len() as f64; weights.len()],
                IstMode::Faithful => inclusion(&weights, count, None),
                IstMode::Practical => inclusion(&weights, count, self.floor()),
                IstMode::CostAware => self.budget.inclusion(&weights, count),
            };
            self.chances = vec![0.0; self.scores.0.len()];
            self.among.iter().zip(of_those).for_each(|(block, chance)| self.chances[*block] = chance);
        }
        &self.chances
    }

    /// What makes a block that trains now and then go as far as one that trains at every step: one over how likely it is to
    /// be drawn, within the limit. The released algorithm does not do it.
    /// `rate` is the run's own.
    fn rates_of(&mut self, blocks: &[usize], rate: f64) -> Vec<f64> {
        if self.config.mode == IstMode::Faithful {
            return vec![1.0; blocks.len()];
        }
        let limit = f64::from(self.config.rate_limit).min(LARGEST_RATE / rate).max(1.0);
        let chances = self.chances();
        blocks.iter().map(|block| (1.0 / chances[*block]).clamp(1.0, limit)).collect()
    }

    async fn select(&mut self, run: &Run<'_>) -> Result<Selection, Problem> {
        let step = run.step;
        if !self.seen {
            self.see(run);
        }
        if self.config.mode.learns() && step > 0 && step.is_multiple_of(self.interval()) {
            (run.emit)(self.learn(step, run).await?);
        }
        let every = if self.config.mode == IstMode::Practical { self.config.redraw_every } else { 1 };
        if self.active.is_empty() || step.is_multiple_of(every) {
            self.active = self.choose(step);
            self.rates = self.rates_of(&self.active.clone(), run.config.train.learning_rate);
        }
        let mut selection = Selection::of(vec![false; self.scores.0.len()]);
        for (block, rate) in self.active.iter().zip(&self.rates) {
            (selection.active[*block], selection.rates[*block]) = (true, *rate);
        }
        Ok(selection)
    }

    fn saved(&self) -> Value {
        let (scores, active, rates) = (self.scores.0.clone(), self.active.clone(), self.rates.clone());
        serde_json::to_value(State { scores, active, rates }).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) -> Result<(), Problem> {
        let saved: State = serde_json::from_value(state.clone())
            .map_err(|e| Problem::new(ProblemKind::Input, format!("the checkpoint's IST state cannot be read: {e}")))?;
        let layers = self.scores.0.len();
        if saved.scores.len() != layers || saved.active.iter().any(|i| *i >= layers) {
            return Err(Problem::input(format!(
                "the checkpoint scores {} blocks, the model has {layers}",
                saved.scores.len()
            ))
            .at("checkpoint.safetensors")
            .next("use the model the run began with"));
        }
        self.scores = Scores(saved.scores);
        self.active = saved.active;
        self.chances.clear();
        // An earlier version's set has none: it goes on at the step's rate until the next draw.
        self.rates = saved.rates;
        self.rates.resize(self.active.len(), 1.0);
        Ok(())
    }
}

impl Hook for Ist {
    fn name(&self) -> &'static str {
        "ist"
    }

    fn before_step<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<Option<Selection>, Problem>> {
        Box::pin(async { self.select(run).await.map(Some) })
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        Box::pin(async { Ok(HookState { numbers: self.saved(), ..HookState::default() }) })
    }

    fn load(&mut self, saved: &Saved<'_>) -> Result<(), Problem> {
        self.restore(saved.numbers)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ist(mode: IstMode, layers: usize) -> Ist {
        Ist::new(&IstConfig::preset(mode), layers, 8, 5)
    }

    #[test]
    fn shares_are_rounded_down_and_never_to_none() {
        for (layers, share, want) in
            [(32, 0.25, 8), (6, 0.25, 1), (3, 0.25, 1), (32, 0.5, 16), (10, 0.3, 3), (4, 1.0, 4)]
        {
            assert_eq!(ist(IstMode::Faithful, layers).blocks(share), want, "{layers} × {share}");
        }
    }

    #[test]
    fn a_pass_of_importance_rows_shows_each_row_once_and_the_next_in_another_order() {
        let ist = ist(IstMode::Faithful, 4);
        let pass =
            |from: usize| (from..from + 3).flat_map(|u| ist.importance_rows(10 * (u + 1), 40)).collect::<Vec<_>>();
        let (first, second) = (pass(0), pass(3));
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..40).collect::<Vec<_>>());
        assert_ne!(first, second);
    }

    #[test]
    fn damped_sets_differ_where_they_can() {
        let sets = ist(IstMode::Faithful, 6).damped_sets(10);
        assert!(sets[0] != sets[1] && sets[1] != sets[2] && sets[0] != sets[2], "{sets:?}");
        assert!(sets.iter().all(|s| s.len() == 3));
        assert_eq!(ist(IstMode::Faithful, 1).damped_sets(10), [[0], [0], [0]]);
    }

    /// Of six blocks three have something to train: what is drawn, damped and likely is among them, shares are of three, and
    /// they train as often as is said.
    #[test]
    fn only_blocks_that_have_something_to_train_are_chosen_among() {
        for mode in [IstMode::Random, IstMode::Faithful, IstMode::Practical, IstMode::CostAware] {
            let mut ist = ist(mode, 6);
            (ist.among, ist.config.fraction) = (vec![1, 2, 5], 0.67);
            ist.budget = DepthBudget::new(3, ist.config.depth, ist.forwards, ist.config.interval);
            ist.scores.0 = vec![9.0, 0.5, -0.5, 9.0, 9.0, 0.0];
            let (mut counts, steps) = ([0.0; 6], 20_000);
            for step in 0..steps {
                let drawn = ist.choose(step);
                assert!((1..=2).contains(&drawn.len()) && drawn.windows(2).all(|pair| pair[0] < pair[1]));
                drawn.into_iter().for_each(|block| counts[block] += 1.0 / steps as f64);
            }
            assert_eq!([counts[0], counts[3], counts[4]], [0.0; 3], "{mode:?}");
            // A share of 20,000 draws spreads by 0.0036; four of these.
            let chances = ist.chances().to_vec();
            assert!(counts.iter().zip(&chances).all(|(got, told)| (got - told).abs() < 0.0145), "{mode:?}: {counts:?}");
            assert!(ist.damped_sets(10).iter().flatten().all(|block| [1, 2, 5].contains(block)));
        }
    }

    #[test]
    fn state_goes_round_and_another_models_is_refused() {
        let mut first = ist(IstMode::Practical, 4);
        first.scores.0 = vec![0.5, -1.0, 0.1, 3.0];
        first.active = vec![1, 3];
        first.rates = vec![1.0 / 0.3, 8.0];
        let mut second = ist(IstMode::Practical, 4);
        second.restore(&first.saved()).unwrap();
        assert_eq!((&second.scores, &second.active, &second.rates), (&first.scores, &first.active, &first.rates));
        let mut earlier = first.saved();
        earlier.as_object_mut().unwrap().remove("rates");
        second.restore(&earlier).unwrap();
        assert_eq!(second.rates, [1.0, 1.0]);
        assert!(ist(IstMode::Practical, 3).restore(&first.saved()).is_err());
    }

    #[test]
    fn no_rate_is_made_larger_than_is_stable() {
        let mut ist = ist(IstMode::Random, 16);
        for (rate, want) in [(1e-3, 4.0), (2.5e-3, 2.0), (5e-3, 1.0), (0.1, 1.0), (0.0, 4.0)] {
            let rates = ist.rates_of(&[0, 3], rate);
            assert!(rates.iter().all(|r| (r - want).abs() < 1e-9), "{rate}: {rates:?}");
        }
    }

    /// Over many draws a block's rates add up to as many as there are draws, as if it had trained at each: but for blocks
    /// that are drawn less often than the limit makes up for, and under `faithful`.
    #[test]
    fn a_rate_means_the_same_however_seldom_a_block_trains() {
        let layers = 16;
        for (mode, limit) in [
            (IstMode::Random, 100.0),
            (IstMode::Practical, 1000.0),
            (IstMode::CostAware, 1000.0),
            (IstMode::Practical, 3.0),
            (IstMode::CostAware, 2.5),
            (IstMode::Random, 1.0),
            (IstMode::Faithful, 100.0),
        ] {
            let mut ist = ist(mode, layers);
            ist.config.rate_limit = limit;
            ist.scores.0 = (0..layers).map(|i| f64::from(i as u32 * 5 % 16) * 0.2 - 1.5).collect();
            let (draws, limit) = (20_000, f64::from(limit));
            let mut sums = vec![0.0; layers];
            for step in 0..draws {
                let drawn = ist.choose(step);
                let rates = ist.rates_of(&drawn, 1e-6);
                assert!(rates.iter().all(|r| (1.0..=limit).contains(r)), "{mode:?}: {rates:?}");
                drawn.iter().zip(rates).for_each(|(i, r)| sums[*i] += r / draws as f64);
            }
            let chances = ist.chances().to_vec();
            for (i, (sum, p)) in sums.iter().zip(&chances).enumerate() {
                let rate = if mode == IstMode::Faithful { 1.0 } else { limit.min(1.0 / p) };
                // The share of the draws spreads by √(p / draws) at most, and the rate multiplies that; four of these.
                let spread = 4.0 * rate * (p / draws as f64).sqrt();
                assert!((sum - rate * p).abs() < spread, "{mode:?}, at most {limit}, block {i}: {sum}");
            }
            assert!(mode == IstMode::Faithful || limit < 20.0 || chances.iter().all(|p| 1.0 / p < limit));
        }
    }
}
