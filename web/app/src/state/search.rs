//! A search for a structure: what its grid, its budget line and its cells' histories show, built from its reports.

use serde_json::Value;
use stratune_protocol::{Budget, BudgetUnit, FrontPoint, SearchPlace, SearchReport};

use super::settings::Settings;

/// Where a configuration says what is searched for.
pub const SEARCH: &str = "search";
/// Where it says how much that may be.
pub const BUDGET: &str = "search.budget";
/// And what that counts.
pub const UNIT: &str = "search.unit";

/// How a search stood after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Steps done.
    pub step: usize,
    /// What all modules have or take that may still stay.
    pub left: u64,
    /// What the best structure so far has or takes.
    pub parameters: u64,
    /// How likely each module is to stay; 0 if it is out.
    pub chances: Vec<f32>,
    /// The size of each module in the best structure so far.
    pub sizes: Vec<usize>,
}

impl Moment {
    /// Modules that may still stay.
    pub fn there(&self) -> usize {
        self.chances.iter().filter(|chance| **chance > 0.0).count()
    }
}

/// A search so far; empty where nothing is searched for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// Whether the run is a search.
    pub is_one: bool,
    /// What the structure may have or take.
    pub budget: u64,
    /// What budgets count.
    pub unit: BudgetUnit,
    /// Where the modules stand.
    pub places: Vec<SearchPlace>,
    /// In order of their steps.
    pub moments: Vec<Moment>,
    /// The best structures measured so far, from the smallest to the largest.
    pub front: Vec<FrontPoint>,
    /// Whether it is over.
    pub done: bool,
}

/// A column of the grid: a method at the layers of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The method.
    pub method: String,
    /// The layers; empty of a method of blocks.
    pub name: String,
    /// The module of each block, if there is one.
    pub modules: Vec<Option<usize>>,
}

impl Column {
    /// The name as it stands above a narrow column.
    pub fn short(&self) -> &str {
        if self.name.is_empty() { "block" } else { self.name.trim_end_matches("_proj") }
    }
}

impl Search {
    /// Nothing known yet of a run with these settings.
    pub fn begin(config: &Settings) -> Self {
        Self { is_one: is_search(config), ..Self::default() }
    }

    /// Takes in a report.
    pub fn hear(&mut self, report: &SearchReport) {
        if !report.places.is_empty() {
            self.places.clone_from(&report.places);
        }
        if !report.front.is_empty() {
            self.front.clone_from(&report.front);
        }
        (self.budget, self.unit, self.done) = (report.budget, report.unit, report.done);
        self.moments.retain(|moment| moment.step < report.step);
        self.moments.push(Moment {
            step: report.step,
            left: report.left,
            parameters: report.parameters,
            chances: decided(report),
            sizes: report.sizes.clone(),
        });
    }

    /// Blocks, from the first to the last that has a module.
    pub fn blocks(&self) -> usize {
        self.places.iter().map(|place| place.block + 1).max().unwrap_or(0)
    }

    /// Methods and layers, in the order in which they come.
    pub fn columns(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        for (module, SearchPlace { block, method, name, .. }) in self.places.iter().enumerate() {
            let found = columns.iter().position(|column| column.method == *method && column.name == *name);
            let at = found.unwrap_or_else(|| {
                let modules = vec![None; self.blocks()];
                columns.push(Column { method: method.clone(), name: name.clone(), modules });
                columns.len() - 1
            });
            columns[at].modules[*block] = Some(module);
        }
        columns
    }

    /// How likely a module is to stay, and its size in the best structure so far.
    pub fn now(&self, module: usize) -> (f32, usize) {
        let of = |m: &Moment| Some((*m.chances.get(module)?, *m.sizes.get(module)?));
        self.moments.last().and_then(of).unwrap_or((0.5, 0))
    }

    /// How likely a module was to stay, and its size, at each step that was told.
    pub fn history(&self, module: usize) -> impl Iterator<Item = (usize, f32, usize)> + '_ {
        self.moments.iter().filter_map(move |m| Some((m.step, *m.chances.get(module)?, *m.sizes.get(module)?)))
    }

    /// Steps at which modules were pruned, and how many were.
    pub fn prunings(&self) -> Vec<(usize, usize)> {
        let fewer = |pair: &[Moment]| {
            let out = pair[0].there().saturating_sub(pair[1].there());
            (out > 0).then_some((pair[1].step, out))
        };
        self.moments.windows(2).filter_map(fewer).collect()
    }

    /// A module in words: what it is, and how it stands.
    pub fn words(&self, module: usize) -> String {
        let Some(SearchPlace { block, method, name, largest }) = self.places.get(module) else { return String::new() };
        let at = if name.is_empty() { String::new() } else { format!(" at {name}") };
        let (chance, size) = self.now(module);
        let size = match (size, *largest > 1) {
            (0, _) if chance == 0.0 => "out".into(),
            (0, _) => "not in the best structure so far".into(),
            (_, false) => "in the best structure".to_string(),
            (size, true) => format!("{size} in the best structure"),
        };
        format!("{method}{at}, block {}: probability {chance:.2}, {size}", block + 1)
    }

    /// How the search stands, in a sentence.
    pub fn sentence(&self) -> String {
        let Some(last) = self.moments.last() else { return String::new() };
        let chosen = last.sizes.iter().filter(|size| **size > 0).count();
        let all = self.places.len();
        let share = match self.unit {
            BudgetUnit::Numbers => {
                let [numbers, budget] = [last.parameters, self.budget].map(crate::units::grouped);
                format!("{numbers} of {budget} numbers")
            }
            BudgetUnit::StepTime => self.unit.share(last.parameters, self.budget),
        };
        match self.done {
            true => format!("Found: {chosen} of {all} modules, {share}."),
            false => {
                let there = last.there();
                format!("{there} of {all} modules left; the best so far has {chosen}, {share}.")
            }
        }
    }
}

/// How likely each module is to stay; in the end it is decided, and one that is not in the structure is out.
fn decided(report: &SearchReport) -> Vec<f32> {
    let of = report.chances.iter().zip(&report.sizes);
    of.map(|(chance, size)| if report.done && *size == 0 { 0.0 } else { *chance }).collect()
}

/// Whether these settings are of a search.
pub fn is_search(config: &Settings) -> bool {
    config.get(SEARCH).is_some_and(Value::is_object)
}

/// The budget of these settings.
pub fn budget_of(config: &Settings) -> Budget {
    let in_time = config.get(UNIT).and_then(Value::as_str) == Some(BudgetUnit::StepTime.name());
    let unit = if in_time { BudgetUnit::StepTime } else { BudgetUnit::Numbers };
    Budget { amount: config.number(BUDGET) as u64, unit }
}

/// Gives these settings another budget.
pub fn set_budget(config: &mut Settings, budget: Budget) {
    config.put(BUDGET, budget.amount.into());
    config.put(UNIT, budget.unit.name().into());
}

/// A budget as it stands in its field.
pub fn written(budget: Budget) -> String {
    match budget.unit {
        BudgetUnit::Numbers => crate::units::grouped(budget.amount),
        BudgetUnit::StepTime => format!("{} ms", budget.amount as f64 / 1e3),
    }
}

/// So much of what a budget counts, in a word.
pub fn told(unit: BudgetUnit, amount: u64) -> String {
    match unit {
        BudgetUnit::Numbers => crate::units::count(amount),
        BudgetUnit::StepTime => format!("{:.1} ms", amount as f64 / 1e3),
    }
}

/// A share of all numbers, with two digits that are not nought.
pub fn share(all: u64, percent: u64) -> u64 {
    let exact = all.saturating_mul(percent) / 100;
    let unit = 10u64.pow(exact.max(1).ilog10().saturating_sub(1));
    (exact / unit * unit).max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::settings::tests::settings;

    fn place(block: usize, method: &str, name: &str) -> SearchPlace {
        let largest = if method == "LoRA" { 8 } else { 1 };
        SearchPlace { block, method: method.into(), name: name.into(), largest }
    }

    fn report(step: usize, chances: &[f32], sizes: &[usize]) -> SearchReport {
        let (chances, sizes) = (chances.to_vec(), sizes.to_vec());
        SearchReport { step, budget: 100, parameters: 60, left: 10 * step as u64, chances, sizes, ..Default::default() }
    }

    fn search() -> Search {
        let mut search = Search::begin(&settings(json!({ "search": { "budget": 100 } })));
        let places = vec![place(0, "LoRA", "q_proj"), place(1, "LoRA", "q_proj"), place(1, "norms", "")];
        search.hear(&SearchReport { places, ..report(0, &[0.5; 3], &[1, 0, 1]) });
        search.hear(&report(10, &[0.75, 0.0, 0.5], &[8, 0, 1]));
        search
    }

    #[test]
    fn modules_stand_in_blocks_and_columns() {
        let search = search();
        assert!(search.is_one && !Search::begin(&settings(json!({ "search": null }))).is_one);
        let columns = search.columns();
        let shown: Vec<_> = columns.iter().map(|c| (c.method.as_str(), c.short(), c.modules.clone())).collect();
        assert_eq!(shown, [("LoRA", "q", vec![Some(0), Some(1)]), ("norms", "block", vec![None, Some(2)])]);
        assert_eq!((search.blocks(), search.now(0), search.now(1)), (2, (0.75, 8), (0.0, 0)));
        assert_eq!(search.words(0), "LoRA at q_proj, block 1: probability 0.75, 8 in the best structure");
        assert_eq!(search.words(1), "LoRA at q_proj, block 2: probability 0.00, out");
        assert_eq!(search.words(2), "norms, block 2: probability 0.50, in the best structure");
        assert_eq!(search.words(9), "");
    }

    #[test]
    fn what_was_pruned_is_marked_where_it_was() {
        let mut search = search();
        assert_eq!(search.prunings(), [(10, 1)]);
        assert_eq!(search.history(0).collect::<Vec<_>>(), [(0, 0.5, 1), (10, 0.75, 8)]);
        assert_eq!(search.sentence(), "2 of 3 modules left; the best so far has 2, 60 of 100 numbers.");
        // A run that goes on tells its earlier reports again.
        search.hear(&report(10, &[0.75, 0.5, 0.5], &[8, 0, 1]));
        assert_eq!((search.moments.len(), search.prunings().len()), (2, 0));
        search.hear(&SearchReport { done: true, ..report(20, &[1.0, 0.0, 0.0], &[8, 0, 0]) });
        assert_eq!((search.now(0), search.now(2)), ((1.0, 8), (0.0, 0)));
        search.hear(&SearchReport { done: true, ..report(20, &[0.5, 0.0, 0.0], &[0, 0, 0]) });
        assert_eq!(search.now(0), (0.0, 0), "in the end it is decided");
        assert_eq!(search.history(0).last(), Some((20, 0.0, 0)), "its history says so too");
        search.hear(&SearchReport { done: true, ..report(20, &[1.0, 0.0, 0.0], &[8, 0, 0]) });
        assert_eq!(search.sentence(), "Found: 1 of 3 modules, 60 of 100 numbers.");
        assert_eq!(search.prunings(), [(20, 2)]);
    }

    #[test]
    fn a_budget_is_what_its_field_says() {
        let mut config = settings(json!({ "search": { "budget": 7, "unit": "numbers" } }));
        for (text, amount, unit) in
            [("20,000", 20_000, BudgetUnit::Numbers), ("250.5 ms", 250_500, BudgetUnit::StepTime)]
        {
            let budget = Budget { amount, unit };
            assert_eq!((written(budget), text.parse()), (text.to_string(), Ok(budget)));
            set_budget(&mut config, budget);
            assert_eq!(budget_of(&config), budget);
        }
        assert_eq!(
            (&told(BudgetUnit::Numbers, 20_000)[..], &told(BudgetUnit::StepTime, 20_000)[..]),
            ("20.0 k", "20.0 ms")
        );
        assert_eq!((share(95_232, 10), share(95_232, 5), share(3, 10), share(0, 5)), (9500, 4700, 1, 1));
    }
}
