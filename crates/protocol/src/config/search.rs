//! How a structure is searched for under a budget.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::budget::{BudgetUnit, StepTime};
use super::preset;
use crate::Problem;

/// A search for the modules that a budget is best spent on. The methods of the run are what is searched among: each as large
/// as it can become, at every place that it enters. Read, what is left out is as in the [preset](Self::preset) of who searches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct SearchConfig {
    /// Who searches.
    pub by: SearchBy,
    /// What the structure may have or take, at most.
    pub budget: u64,
    /// What budgets count: numbers that train, or microseconds of a step.
    pub unit: BudgetUnit,
    /// Larger budgets, upwards, whose structures the same search finds on its way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub larger_budgets: Vec<u64>,
    /// Share of a budget that a structure may exceed it by: its last module is whole, and not left out. `bipeft` ends as soon
    /// as what is left is within it.
    pub tolerance: f64,
    /// Ranks (widths, of bottlenecks) that a module may have besides none. The largest is that of the run's methods.
    pub sizes: Vec<usize>,
    /// Share of the training rows that are set apart: what they say of the architecture, the others do not decide.
    pub share: f32,
    /// Steps that the search takes; 0: as many as the run, whose steps are those of the structure's training.
    pub steps: usize,
    /// `bipeft` and `s3delta`: learning rate of the architecture.
    pub learning_rate: f64,
    /// `s3delta`: the architecture learns of the loss behind a step of the weights, as released, which takes as long again.
    pub second_order: bool,
    /// `bipeft`: in how many prunings the budget is reached.
    pub prunings: usize,
    /// `bipeft`: 0: each pruning takes an equal share of what is beyond the budget, as released. Above: the budget itself falls
    /// from all modules to what is asked for, as the share of prunings that are left to this power.
    pub relaxation: f32,
    /// `bipeft`: share of the steps before the first pruning.
    pub begin: f32,
    /// `evolution`: structures in a generation.
    pub population: usize,
    /// `evolution`: generations.
    pub generations: usize,
    /// `autopeft`: steps that each structure trains before it is measured.
    pub evaluation_steps: usize,
    /// A score for each block, of a run under IST: high means that training it matters. `ist` takes the blocks with the
    /// highest; `bipeft` and `s3delta` begin with them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f32>,
    /// `bipeft` and `s3delta`: what a block's logit is at the start for each deviation that its score is above the mean.
    pub prior: f64,
    /// Of budgets in time: what a step takes with each module; measured before the search begins where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_time: Option<StepTime>,
}

impl<'de> Deserialize<'de> for SearchConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        preset::read(deserializer, "by", Self::preset, Self::deserialize)
    }
}

impl Serialize for SearchConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self::preset(SearchBy::Bipeft)
    }
}

/// Who searches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchBy {
    /// BIPEFT: gates on and off and ranks in turn, pruned by sensitivity.
    #[default]
    Bipeft,
    /// S3Delta: gates whose expected size is the budget at each step.
    S3delta,
    /// NOAH and AutoFormer: a network whose parts are all trained at random, and evolution within it.
    Evolution,
    /// What moves most while everything trains.
    Magnitude,
    /// What has the largest gradient before anything trains.
    GradientNorm,
    /// AutoPEFT: short fine-tunes, chosen by Bayesian optimisation.
    Autopeft,
    /// Drawn.
    Random,
    /// Each module of one rank, the largest that the budget has.
    Uniform,
    /// S4: four groups of layers, wide in the middle, each with methods of its own, and as much in each layer.
    S4,
    /// The blocks with the highest scores of a run under IST.
    Ist,
}

impl SearchBy {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Bipeft,
        Self::S3delta,
        Self::Evolution,
        Self::Magnitude,
        Self::GradientNorm,
        Self::Autopeft,
        Self::Random,
        Self::Uniform,
        Self::S4,
        Self::Ist,
    ];

    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bipeft => "bipeft",
            Self::S3delta => "s3delta",
            Self::Evolution => "evolution",
            Self::Magnitude => "magnitude",
            Self::GradientNorm => "gradient_norm",
            Self::Autopeft => "autopeft",
            Self::Random => "random",
            Self::Uniform => "uniform",
            Self::S4 => "s4",
            Self::Ist => "ist",
        }
    }
}

impl SearchBy {
    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bipeft => "BIPEFT",
            Self::S3delta => "S3Delta",
            Self::Evolution => "evolution",
            Self::Magnitude => "magnitude",
            Self::GradientNorm => "gradient norm",
            Self::Autopeft => "AutoPEFT",
            Self::Random => "chance",
            Self::Uniform => "one rank everywhere",
            Self::S4 => "S4",
            Self::Ist => "scores of IST",
        }
    }

    /// How it decides, in one sentence for who chooses.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Bipeft => {
                "Gates on and off and sizes learn in turn, and what matters least is pruned again and again: the default."
            }
            Self::S3delta => "Gates learn which modules stay, and at each step they are worth the budget on average.",
            Self::Evolution => {
                "Each step trains a random part of the network; then structures are bred by their loss on rows set apart."
            }
            Self::Magnitude => "All modules train, and those stay that have moved most for their size.",
            Self::GradientNorm => "Decided before anything trains, by the gradients of the first rows: takes a moment.",
            Self::Autopeft => {
                "Structures are trained for a few steps one after another, each chosen by what the others came to."
            }
            Self::Random => "Drawn: the yardstick for all others. Takes a moment.",
            Self::Uniform => "No search: the largest rank that fits the budget, everywhere. Takes a moment.",
            Self::S4 => "Four groups of layers, wide in the middle, each with methods of its own. Takes a moment.",
            Self::Ist => "The layers that a run under IST has scored highest.",
        }
    }
}

impl std::str::FromStr for SearchBy {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let plain = text.to_lowercase().replace('-', "_");
        Self::ALL.into_iter().find(|by| by.name() == plain).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
            Problem::input(format!("nobody is called '{text}' who searches"))
                .next(format!("use one of {}", names.join(", ")))
        })
    }
}

impl SearchConfig {
    /// As it was released.
    pub fn preset(by: SearchBy) -> Self {
        Self {
            by,
            budget: 100_000,
            sizes: vec![1, 4, 8],
            share: 0.5,
            steps: 0,
            learning_rate: if by == SearchBy::S3delta { 0.1 } else { 0.01 },
            larger_budgets: Vec::new(),
            tolerance: 0.0,
            relaxation: 0.0,
            second_order: false,
            prunings: 100,
            begin: 0.1,
            population: 20,
            generations: 5,
            evaluation_steps: 50,
            scores: Vec::new(),
            prior: 1.0,
            unit: BudgetUnit::Numbers,
            step_time: None,
        }
    }

    /// All budgets, upwards.
    pub fn budgets(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.budget).chain(self.larger_budgets.iter().copied())
    }

    /// The largest size.
    pub fn largest(&self) -> usize {
        self.sizes.last().copied().unwrap_or(0)
    }

    /// Rows to set apart of so many.
    pub fn rows_apart(&self, rows: usize) -> usize {
        (rows as f64 * f64::from(self.share)).floor() as usize
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// Names the first that is out of range.
    pub fn check(&self) -> Result<(), Problem> {
        let bad =
            |field: &str, what: String, next: &str| Err(Problem::input(what).at(format!("search.{field}")).next(next));
        if self.budget == 0 {
            return bad(
                "budget",
                "the budget is 0".into(),
                "give the numbers that may train, or microseconds of a step",
            );
        }
        let budgets: Vec<u64> = self.budgets().collect();
        if budgets.windows(2).any(|pair| pair[0] >= pair[1]) {
            return bad("larger_budgets", format!("budgets are {budgets:?}"), "list them from the smallest upwards");
        }
        if !(0.0..=1.0).contains(&self.tolerance) {
            let next = "use a share of the budget from 0 to 1, such as 0.05";
            return bad("tolerance", format!("the tolerance is {}", self.tolerance), next);
        }
        if !(0.0..=8.0).contains(&self.relaxation) {
            let next = "use 0 for prunings as released, or a power up to 8, such as 3";
            return bad("relaxation", format!("the relaxation is {}", self.relaxation), next);
        }
        if self.sizes.is_empty() || self.sizes[0] == 0 || self.sizes.windows(2).any(|pair| pair[0] >= pair[1]) {
            return bad("sizes", format!("sizes are {:?}", self.sizes), "list them from 1 upwards, such as 1,4,8");
        }
        if !(self.share > 0.0 && self.share < 1.0) {
            let next = "a search learns on rows of its own: use a share such as 0.5";
            return bad("share", format!("the share of rows that are set apart is {}", self.share), next);
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad("learning_rate", format!("learning rate is {}", self.learning_rate), "use a positive number");
        }
        if !(0.0..1.0).contains(&self.begin) {
            return bad("begin", format!("begin is {}", self.begin), "use 0 or more and less than 1");
        }
        let of_scores = match self.by {
            SearchBy::Ist => !self.scores.is_empty(),
            SearchBy::Bipeft | SearchBy::S3delta => true,
            _ => self.scores.is_empty(),
        };
        if !of_scores || self.scores.iter().any(|score| !score.is_finite()) {
            let what = format!("{} scores of blocks are given, and {} searches", self.scores.len(), self.by.name());
            let next = "give those of a run under IST with `ist`, and with `bipeft` or `s3delta` if you like";
            return bad("scores", what, next);
        }
        if let Some(step_time) = &self.step_time {
            let next = "leave it out: it is measured before a search whose budget is in time";
            if self.unit != BudgetUnit::StepTime {
                return bad("step_time", "the budget is in numbers, and times of a step are given".into(), next);
            }
            if let Some(time) = step_time.unbelievable() {
                return bad("step_time", format!("a module takes {time} µs a step"), next);
            }
        }
        if !(0.0..=10.0).contains(&self.prior) {
            let what = format!("the strength of the scores is {}", self.prior);
            return bad("prior", what, "use 0 for none, or up to 10");
        }
        for (field, value, least) in [
            ("prunings", self.prunings, 1),
            ("population", self.population, 4),
            ("generations", self.generations, 1),
            ("evaluation_steps", self.evaluation_steps, 1),
        ] {
            if value < least {
                return bad(field, format!("{field} is {value}"), &format!("use {least} or more"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for by in SearchBy::ALL {
            assert_eq!(by.name().parse::<SearchBy>().unwrap(), by);
            assert_eq!(serde_json::to_value(by).unwrap(), by.name());
            let scores = if by == SearchBy::Ist { vec![0.5, -1.0] } else { Vec::new() };
            SearchConfig { scores, ..SearchConfig::preset(by) }.check().unwrap();
        }
        assert!("darts".parse::<SearchBy>().unwrap_err().next.contains("s3delta"));
    }

    #[test]
    fn what_a_file_leaves_out_is_as_who_searches_has_it() {
        for by in SearchBy::ALL {
            let read: SearchConfig = serde_json::from_value(serde_json::json!({ "by": by, "budget": 7 })).unwrap();
            assert_eq!(read, SearchConfig { budget: 7, ..SearchConfig::preset(by) });
            let whole = serde_json::to_value(&read).unwrap();
            assert_eq!(serde_json::from_value::<SearchConfig>(whole).unwrap(), read);
        }
        assert_eq!(serde_json::from_str::<SearchConfig>("{}").unwrap(), SearchConfig::default());
        for (text, named) in [(r#"{"by": "darts"}"#, "darts"), (r#"{"colour": 3}"#, "colour"), ("3", "map")] {
            assert!(serde_json::from_str::<SearchConfig>(text).unwrap_err().to_string().contains(named), "{text}");
        }
    }

    #[test]
    fn bad_values_name_their_field() {
        type Spoil = fn(&mut SearchConfig);
        let cases: [(&str, Spoil); 21] = [
            ("budget", |c| c.budget = 0),
            ("larger_budgets", |c| c.larger_budgets = vec![c.budget]),
            ("larger_budgets", |c| c.larger_budgets = vec![300_000, 200_000]),
            ("tolerance", |c| c.tolerance = 1.5),
            ("relaxation", |c| c.relaxation = -1.0),
            ("sizes", |c| c.sizes.clear()),
            ("sizes", |c| c.sizes = vec![4, 1]),
            ("sizes", |c| c.sizes = vec![0, 1]),
            ("share", |c| c.share = 0.0),
            ("share", |c| c.share = 1.0),
            ("learning_rate", |c| c.learning_rate = f64::NAN),
            ("begin", |c| c.begin = 1.0),
            ("prunings", |c| c.prunings = 0),
            ("population", |c| c.population = 1),
            ("scores", |c| c.by = SearchBy::Ist),
            ("scores", |c| (c.by, c.scores) = (SearchBy::Random, vec![1.0])),
            ("scores", |c| c.scores = vec![f32::NAN]),
            ("prior", |c| c.prior = -1.0),
            ("evaluation_steps", |c| c.evaluation_steps = 0),
            ("step_time", |c| c.step_time = Some(StepTime::default())),
            ("step_time", |c| {
                c.unit = BudgetUnit::StepTime;
                c.step_time = Some(StepTime { base: u64::MAX, modules: Vec::new() });
            }),
        ];
        for (field, spoil) in cases {
            let mut config = SearchConfig::default();
            spoil(&mut config);
            let problem = config.check().unwrap_err();
            assert_eq!(problem.at, format!("search.{field}"));
            assert!(!problem.next.is_empty());
        }
    }
}
