//! What is searched among: every place that the run's methods enter, the sizes that each may have there, and the budget.

use std::collections::BTreeMap;

use stratune_peft::{MethodConfig, MethodKind, Placed, Structure, Switched};
use stratune_protocol::{BudgetUnit, ModelReport, Problem, SearchPlace};
use stratune_train::RunConfig;

use crate::step_time::timed;

/// A module of the space: a method at a place.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its place, and how it is switched.
    pub at: Switched,
    /// The method, for sizes of it.
    method: MethodConfig,
    /// The sizes that it may have, upwards; of what is there or is not: 1.
    pub sizes: Vec<usize>,
    /// What it takes of the budget whatever its size, and for each unit of it.
    pub(crate) counts: [u64; 2],
}

impl Module {
    /// What it takes of the budget at this size: numbers that train, or microseconds of a step; none at 0.
    pub fn count(&self, size: usize) -> u64 {
        if size == 0 { 0 } else { self.counts[0] + self.counts[1] * size as u64 }
    }

    /// Whether there is more to choose than on or off.
    pub fn has_sizes(&self) -> bool {
        self.method.size().is_some()
    }

    /// Which method it is.
    pub fn kind(&self) -> MethodKind {
        self.method.kind
    }

    /// The largest size.
    pub fn largest(&self) -> usize {
        self.sizes.last().copied().unwrap_or(1)
    }

    /// What it is called: method and place.
    pub fn name(&self) -> String {
        let Placed { site, block, method, .. } = &self.at.placed;
        match (site, block) {
            (Some(site), _) => format!("{method} at {site}"),
            (None, Some(block)) => format!("{method} in block {block}"),
            (None, None) => method.to_string(),
        }
    }

    /// Where it stands in a picture of blocks and modules.
    pub fn place(&self) -> SearchPlace {
        let Placed { site, method, .. } = &self.at.placed;
        SearchPlace {
            block: self.at.placed.block_number().unwrap_or_default(),
            method: method.title().into(),
            name: site.as_deref().and_then(|path| path.rsplit('.').next()).unwrap_or_default().into(),
            largest: self.largest(),
        }
    }

    fn placed(&self, size: usize) -> Placed {
        if !self.has_sizes() {
            return self.at.placed.clone();
        }
        let MethodConfig { rank, alpha, width, .. } = self.method.resized(size);
        Placed { rank, alpha, width, ..self.at.placed.clone() }
    }
}

/// The size of each module, 0 where there is none.
pub type Sizes = Vec<usize>;

/// A space, and what may be taken of it.
#[derive(Clone, Debug)]
pub struct Space {
    /// Where a decision is made, method by method, from the first block to the last.
    pub modules: Vec<Module>,
    /// What all modules together may take.
    pub budget: u64,
    /// What budgets count.
    pub unit: BudgetUnit,
    /// What is taken before there is a module: by a step, if the budget is in time.
    base: u64,
    /// Larger budgets of the same search, upwards.
    pub larger: Vec<u64>,
    /// Share of the budget that the last module to be taken may exceed it by.
    pub tolerance: f64,
    pub(crate) model: ModelReport,
}

impl Space {
    /// The space of a search on this model.
    ///
    /// # Errors
    /// A method cannot be switched off, is of another size than the largest, the budget is below the smallest module or
    /// not below all of them, or it is in time and that of a module is not known.
    pub fn new(config: &RunConfig, model: &ModelReport) -> Result<Self, Problem> {
        let Some(search) = &config.search else {
            return Err(Problem::input("nothing is searched for").at("search").next("give a budget"));
        };
        let mut modules = Vec::new();
        for method in config.method.iter() {
            method.check_on(model)?;
            if method.gated == Some(true) || method.kind.method().switch.is_none() {
                let what = format!("{} cannot be switched off module by module", method.kind);
                return Err(Problem::input(what)
                    .at("method")
                    .next("search among lora, bitfit, layer_norm and adapters"));
            }
            if method.size().is_some_and(|size| size != search.largest()) {
                let (size, largest) = (method.size().unwrap_or(0), search.largest());
                let what = format!("{} has the size {size}, and the largest of search.sizes is {largest}", method.kind);
                return Err(Problem::input(what).at("method").next(format!("make it {largest}")));
            }
            if !method.overrides.is_empty() {
                let what = "a search decides itself how large each layer's update is";
                return Err(Problem::input(what).at("method.overrides").next("leave the overrides out"));
            }
            let sized = |size: usize, at: &Switched| -> Result<u64, Problem> {
                let MethodConfig { rank, alpha, width, .. } = method.resized(size);
                let placed = Placed { rank, alpha, width, ..at.placed.clone() };
                Ok(Structure::new(model, vec![placed]).methods(model)?.trainable(model))
            };
            for at in method.switched(model) {
                let (counts, sizes) = match method.size() {
                    // Counts are straight lines in the size.
                    Some(_) => {
                        let (one, two) = (sized(1, &at)?, sized(2, &at)?);
                        ([2 * one - two, two - one], search.sizes.clone())
                    }
                    None => ([sized(1, &at)?, 0], vec![1]),
                };
                modules.push(Module { at, method: method.clone(), sizes, counts });
            }
        }
        let base = match search.unit {
            BudgetUnit::Numbers => 0,
            BudgetUnit::StepTime => timed(&mut modules, search)?,
        };
        let beyond = |budget: u64| {
            budget.checked_sub(base).filter(|left| *left > 0).ok_or_else(|| {
                let [budget, base] = [budget, base].map(|amount| search.unit.words(amount));
                Problem::input(format!("the budget is {budget}, and without any module it is {base}"))
                    .at("search.budget")
                    .next("give more, or train fewer rows a step")
            })
        };
        let budget = beyond(search.budget)?;
        let larger = search.larger_budgets.iter().map(|budget| beyond(*budget)).collect::<Result<Vec<u64>, _>>()?;
        let largest = larger.last().copied().unwrap_or(budget);
        let space = Self {
            modules,
            budget,
            unit: search.unit,
            base,
            larger,
            tolerance: search.tolerance,
            model: model.clone(),
        };
        let smallest = space.modules.iter().min_by_key(|module| module.count(module.sizes[0]));
        let all = space.all();
        match smallest {
            None => Err(Problem::input("the methods enter no module of this model").at("method").next("name others")),
            Some(module) if module.count(module.sizes[0]) > space.limit() => {
                let least = space.words(module.count(module.sizes[0]));
                let budget = space.words(space.budget);
                let what =
                    format!("the budget is {budget}, and with the smallest module, {}, it is {least}", module.name());
                Err(Problem::input(what).at("search.budget").next(format!("give {least} or more")))
            }
            Some(_) if largest >= all => {
                let [largest, all] = [largest, all].map(|amount| space.words(amount));
                let what = format!("the budget is {largest}, and all modules together come to {all}");
                let next = format!("give less than {all}, or train the methods without a search");
                Err(Problem::input(what).at("search.budget").next(next))
            }
            Some(_) => Ok(space),
        }
    }

    /// What modules of these sizes take of the budget.
    pub fn count(&self, sizes: &[usize]) -> u64 {
        self.modules.iter().zip(sizes).map(|(module, size)| module.count(*size)).sum()
    }

    /// With what is there before them, modules that take so much of the budget.
    pub fn whole(&self, count: u64) -> u64 {
        self.base + count
    }

    /// The same in words.
    pub(crate) fn words(&self, count: u64) -> String {
        self.unit.words(self.whole(count))
    }

    /// What all modules take at their largest sizes.
    pub fn all(&self) -> u64 {
        self.modules.iter().map(|module| module.count(module.largest())).sum()
    }

    /// What no structure exceeds: the budget, and what is tolerated beyond.
    pub fn limit(&self) -> u64 {
        self.budget + (self.budget as f64 * self.tolerance + 1e-9) as u64
    }

    /// The same under another budget.
    #[must_use]
    pub fn under(&self, budget: u64) -> Self {
        Self { budget, ..self.clone() }
    }

    /// Whether these are sizes of its modules.
    pub fn has(&self, sizes: &[usize]) -> bool {
        let known = |(module, size): (&Module, &usize)| *size == 0 || module.sizes.contains(size);
        sizes.len() == self.modules.len() && self.modules.iter().zip(sizes).all(known)
    }

    /// Whether they are, and within the budget.
    pub fn allows(&self, sizes: &[usize]) -> bool {
        self.has(sizes) && self.count(sizes) <= self.limit()
    }

    /// What the smallest module takes at its smallest size.
    pub fn least(&self) -> u64 {
        self.modules.iter().map(|module| module.count(module.sizes[0])).min().unwrap_or(0)
    }

    /// What those take that may stay, at their largest sizes.
    pub(crate) fn left(&self, chances: &[f32]) -> u64 {
        let may_stay = self.modules.iter().zip(chances).filter(|(_, chance)| **chance > 0.0);
        may_stay.map(|(module, _)| module.count(module.largest())).sum()
    }

    /// Takes of these modules, in this order and at these sizes, what fits into the budget; the one that fills it may exceed it
    /// by what is tolerated.
    pub fn filled(&self, order: impl IntoIterator<Item = (usize, usize)>) -> Sizes {
        let (mut sizes, mut spent) = (vec![0; self.modules.len()], 0);
        for (i, size) in order {
            let count = self.modules[i].count(size);
            if sizes[i] == 0 && spent < self.budget && spent + count <= self.limit() {
                sizes[i] = size;
                spent += count;
            }
        }
        sizes
    }

    /// The same of all modules at their largest size, those of the highest score first.
    pub fn best(&self, scores: &[f64]) -> Sizes {
        self.filled(ranked(scores).into_iter().map(|i| (i, self.modules[i].largest())))
    }

    /// Modules of these sizes, as a file: block by block, in the order of the model's table.
    pub fn structure(&self, sizes: &[usize]) -> Structure {
        let there = self.modules.iter().zip(sizes).filter(|(_, size)| **size > 0);
        let mut placed: Vec<Placed> = there.map(|(module, size)| module.placed(*size)).collect();
        let rows = self.model.modules.iter().enumerate().map(|(row, module)| (module.path.as_str(), row));
        let rows: BTreeMap<&str, usize> = rows.collect();
        let row = |of: &Placed| of.site.as_deref().and_then(|path| rows.get(path).copied()).unwrap_or(usize::MAX);
        placed.sort_by_key(|of| (of.block_number(), row(of)));
        Structure::new(&self.model, placed)
    }
}

/// The same run, whose methods that are placed in blocks name all of them: what belongs to none of them, such as the last norm,
/// would train without being chosen.
pub fn in_blocks(mut config: RunConfig, model: &ModelReport) -> RunConfig {
    for method in &mut config.method.0 {
        let by_block = |at: &Switched| at.placed.block.is_some();
        if method.layers.is_empty() && method.switched(model).iter().any(by_block) {
            method.layers = (0..model.layers).collect();
        }
    }
    config
}

/// Indices by their scores, the highest first; of equals the first comes first.
pub(crate) fn ranked(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use stratune_peft::Methods;
    use stratune_protocol::SearchConfig;

    use super::*;

    /// LoRA, BitFit and norms of two blocks under this budget.
    pub fn config(budget: u64) -> RunConfig {
        let lora = MethodConfig { rank: Some(8), alpha: Some(8.0), ..MethodConfig::new(MethodKind::Lora) };
        let bitfit = MethodConfig::new(MethodKind::Bitfit);
        let norm = MethodConfig { layers: vec![0, 1], ..MethodConfig::new(MethodKind::LayerNorm) };
        let search = Some(SearchConfig { budget, ..SearchConfig::default() });
        RunConfig { method: Methods(vec![lora, bitfit, norm]), search, ..RunConfig::default() }
    }

    pub fn model() -> ModelReport {
        stratune_protocol::testing::model(2, [8, 20, 8, 4])
    }

    #[test]
    fn what_is_counted_is_what_a_structure_trains() {
        let space = Space::new(&config(300), &model()).unwrap();
        assert_eq!(space.modules.len(), 2 * (7 + 7 + 1));
        let everywhere: Sizes = space.modules.iter().map(Module::largest).collect();
        let all = space.structure(&everywhere).methods(&model()).unwrap();
        assert_eq!(all.trainable(&model()), space.count(&everywhere));
        assert_eq!(all[0].at("model.layers.0.self_attn.q_proj"), (8, 8.0));
        let sites = space.structure(&everywhere).sites;
        let blocks: Vec<usize> = sites.iter().filter_map(Placed::block_number).collect();
        assert!(blocks.is_sorted() && blocks.len() == sites.len());
        assert_eq!(
            (sites[0].method.name(), sites[1].method.name(), &sites[0].site),
            ("lora", "bitfit", &sites[1].site)
        );

        let some = space.filled([(0, 4), (3, 1), (14, 1), (20, 1), (2, 8), (28, 1)]);
        assert!(space.count(&some) <= 300);
        let structure = space.structure(&some);
        assert_eq!(structure.methods(&model()).unwrap().trainable(&model()), space.count(&some));
        assert_eq!(structure.sites[0].alpha, Some(4.0), "the scale of an update is the same at each rank");
    }

    #[test]
    fn what_cannot_be_searched_is_named() {
        type Spoil = fn(&mut RunConfig);
        let cases: [(&str, Spoil); 7] = [
            ("the smallest module", |c| c.search.as_mut().unwrap().budget = 3),
            ("all modules together", |c| c.search.as_mut().unwrap().budget = 1_000_000),
            ("the budget is 1000000", |c| c.search.as_mut().unwrap().larger_budgets = vec![400, 1_000_000]),
            ("dora cannot be switched off", |c| c.method.push(MethodConfig::new(MethodKind::Dora))),
            ("lora has the size 16", |c| c.method[0].rank = Some(16)),
            ("no linear layer of the model is called 'q_prj'", |c| {
                c.method[1].targets = Some("q_prj".parse().unwrap())
            }),
            ("nothing is searched for", |c| c.search = None),
        ];
        for (named, spoil) in cases {
            let mut config = config(300);
            spoil(&mut config);
            let problem = Space::new(&config, &model()).unwrap_err();
            assert!(problem.what.contains(named) && !problem.next.is_empty(), "{problem}");
        }
    }

    #[test]
    fn the_best_come_first_as_far_as_they_fit() {
        let space = Space::new(&config(300), &model()).unwrap();
        let mut scores = vec![0.0; space.modules.len()];
        // All of rank 8 at up is 224 numbers, at q 128: the second does not fit, and what is smaller does.
        (scores[5], scores[0], scores[14]) = (3.0, 2.0, 1.0);
        let best = space.best(&scores);
        assert_eq!((best[5], best[0], best[14]), (8, 0, 1));
        assert!(space.count(&best) <= 300);
    }

    /// q at rank 8 has 128 numbers: the second of them crosses a budget of 200, and stays if 28 % are tolerated.
    #[test]
    fn what_crosses_the_budget_stays_within_the_tolerance() {
        for (tolerance, there) in [(0.0, [8, 0, 4]), (0.27, [8, 0, 4]), (0.28, [8, 8, 0])] {
            let mut config = config(200);
            config.search.as_mut().unwrap().tolerance = tolerance;
            let space = Space::new(&config, &model()).unwrap();
            // q of both blocks, then v of the first at rank 4: 48 numbers.
            let sizes = space.filled([(0, 8), (7, 8), (2, 4)]);
            assert_eq!([sizes[0], sizes[7], sizes[2]], there, "{tolerance}");
            assert!(space.count(&sizes) <= space.limit());
        }
    }
}
