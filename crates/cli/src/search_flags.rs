//! Flags that become a [`SearchConfig`].

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use stratune_protocol::{Budget, Problem, SearchBy, SearchConfig};
use stratune_session::settle_search;
use stratune_train::{Event, RunConfig};

use crate::arguments::{choose, set};
use crate::open;

/// What a search looks for, and how.
#[derive(Args, Clone)]
#[command(next_help_heading = "Search")]
pub struct SearchFlags {
    /// What the structure may have or take: numbers that train, such as 100000, bytes of the adapter, such as 400KB, or the time
    /// of a step, such as 250ms, which is measured; several, upwards: a structure for each [default: 100000]
    #[arg(long, value_parser = choose::<Budget>, value_delimiter = ',')]
    budget: Vec<Budget>,
    /// By how much a structure may exceed its budget, such as 5% [default: 0]
    #[arg(long, value_parser = choose::<Share>)]
    tolerance: Option<Share>,
    /// bipeft, s3delta, evolution, magnitude, gradient_norm, autopeft, random, uniform, s4 or ist [default: bipeft]
    #[arg(long, value_parser = choose::<SearchBy>)]
    by: Option<SearchBy>,
    /// Ranks and widths to choose among, upwards [default: 1,4,8]
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    /// Share of the training rows that the architecture learns on [default: 0.5]
    #[arg(long)]
    search_share: Option<f32>,
    /// Steps of the search [default: those of the run]
    #[arg(long)]
    search_steps: Option<usize>,
    /// bipeft, s3delta: learning rate of the architecture [default: 0.01; s3delta 0.1]
    #[arg(long)]
    search_learning_rate: Option<f64>,
    /// s3delta: a second-order step of the architecture, as released
    #[arg(long)]
    second_order: bool,
    /// bipeft: in how many prunings the budget is reached [default: 100]
    #[arg(long)]
    prunings: Option<usize>,
    /// bipeft: 0, or the power by which the budget itself falls from all modules to what is asked for [default: 0]
    #[arg(long, value_name = "POWER")]
    relaxation: Option<f32>,
    /// bipeft: share of the steps before the first pruning [default: 0.1]
    #[arg(long)]
    begin: Option<f32>,
    /// evolution: structures in a generation [default: 20]
    #[arg(long)]
    population: Option<usize>,
    /// evolution: generations [default: 5]
    #[arg(long)]
    generations: Option<usize>,
    /// autopeft: steps that each structure trains before it is measured [default: 50]
    #[arg(long)]
    evaluation_steps: Option<usize>,
    /// ist, and bipeft and s3delta as a prior: folder of a run under IST, whose last scores say which blocks matter
    #[arg(long, value_name = "DIR")]
    scores: Option<PathBuf>,
    /// bipeft, s3delta: how much the scores count at the start [default: 1]
    #[arg(long, requires = "scores")]
    prior: Option<f64>,
}

/// A share, in per cent or as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(f64);

impl FromStr for Share {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let (number, whole) = text.trim().strip_suffix('%').map_or((text.trim(), 1.0), |number| (number, 100.0));
        let read = number.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        read.map(|n| Self(n / whole))
            .ok_or_else(|| Problem::input(format!("'{text}' is no share")).next("give one such as 5% or 0.05"))
    }
}

/// The scores that a run under IST has ended with.
///
/// # Errors
/// The folder has no events, or none of them tells scores.
fn last_scores(run: &Path) -> Result<Vec<f32>, Problem> {
    let path = run.join("metrics.jsonl");
    let text = open::read(&path)?;
    let text = String::from_utf8_lossy(&text);
    let told = |line: &str| match Event::from_line(line) {
        Some(Event::Importance { scores, .. }) => Some(scores),
        _ => None,
    };
    text.lines().rev().find_map(told).ok_or_else(|| {
        Problem::input("the run tells no scores of layers")
            .at(path.display().to_string())
            .next("name a run whose ist.mode has scores, such as practical")
    })
}

impl SearchFlags {
    /// Makes a run a search of what its methods have at each module; `sized` says whether it says itself how large they are.
    ///
    /// # Errors
    /// The configuration is out of range.
    pub fn apply(self, config: &mut RunConfig, sized: bool) -> Result<(), Problem> {
        let begun = config.search.take();
        let mut search = begun.unwrap_or_default();
        if let Some(by) = self.by.filter(|by| *by != search.by) {
            let SearchConfig { budget, larger_budgets, unit, tolerance, sizes, .. } = search;
            search = SearchConfig { budget, larger_budgets, unit, tolerance, sizes, ..SearchConfig::preset(by) };
        }
        if let [budget, larger @ ..] = &self.budget[..] {
            if larger.iter().any(|other| other.unit != budget.unit) {
                return Err(Problem::input("some budgets are of one kind and some of another")
                    .at("--budget")
                    .next("give all of them in numbers or bytes, or all as times"));
            }
            (search.budget, search.unit, search.step_time) = (budget.amount, budget.unit, None);
            search.larger_budgets = larger.iter().map(|budget| budget.amount).collect();
        }
        set(&mut search.tolerance, self.tolerance.map(|share| share.0));
        set(&mut search.relaxation, self.relaxation);
        if !self.sizes.is_empty() {
            search.sizes = self.sizes;
        }
        set(&mut search.share, self.search_share);
        set(&mut search.steps, self.search_steps);
        set(&mut search.learning_rate, self.search_learning_rate);
        search.second_order |= self.second_order;
        set(&mut search.prunings, self.prunings);
        set(&mut search.begin, self.begin);
        set(&mut search.population, self.population);
        set(&mut search.generations, self.generations);
        set(&mut search.evaluation_steps, self.evaluation_steps);
        set(&mut search.prior, self.prior);
        if let Some(run) = &self.scores {
            search.scores = last_scores(run)?;
        }
        let largest = search.largest();
        if !sized {
            config
                .method
                .iter_mut()
                .filter(|m| m.size().is_some())
                .for_each(|method| *method = method.resized(largest));
        }
        config.search = Some(search);
        settle_search(config);
        config.validate()
    }

    /// Refuses to go on with another search than was begun.
    pub fn check_resumed(&self, config: &RunConfig) -> Result<(), Problem> {
        let Some(search) = &config.search else {
            return Err(Problem::input("the run in --out is no search")
                .at("--resume")
                .next("go on with it by `stratune train`"));
        };
        let by = self.by.unwrap_or(search.by);
        let all = |budgets: &mut dyn Iterator<Item = Budget>| {
            budgets.map(|budget| budget.unit.words(budget.amount)).collect::<Vec<_>>().join(", ")
        };
        let mut begun = search.budgets().map(|amount| Budget { amount, unit: search.unit });
        let (begun, asked) = (all(&mut begun), all(&mut self.budget.iter().copied()));
        let another = |what: &str, here: String, there: String, flag: &str| {
            let text = format!("the search was begun with {what} {there}, and goes on with {what} {here}");
            Err(Problem::input(text).at(flag).next("leave it out, or start a search in another --out"))
        };
        if !self.budget.is_empty() && asked != begun {
            return another("the budget", asked, begun, "--budget");
        }
        if by != search.by {
            return another("the searcher", by.name().into(), search.by.name().into(), "--by");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_per_cent_or_not() {
        for (text, share) in [("5%", 0.05), ("0.05", 0.05), (" 12.5 % ", 0.125), ("0", 0.0)] {
            assert_eq!(text.parse::<Share>().unwrap(), Share(share), "{text}");
        }
        for text in ["", "%", "few", "NaN"] {
            assert!(text.parse::<Share>().unwrap_err().next.contains("5%"), "{text}");
        }
    }
}
