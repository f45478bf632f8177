//! Flags that become a [`SearchConfig`].

use std::str::FromStr;

use clap::Args;
use stratune_protocol::{Problem, SearchBy, SearchConfig};
use stratune_train::RunConfig;

use crate::arguments::{choose, set};

/// What a search looks for, and how.
#[derive(Args, Clone)]
#[command(next_help_heading = "Search")]
pub struct SearchFlags {
    /// What the structure may have: numbers that train, such as 100000, or bytes of the adapter, such as 400KB [default: 100000]
    #[arg(long, value_parser = choose::<Budget>)]
    budget: Option<Budget>,
    /// bipeft, s3delta, evolution, magnitude, gradient_norm, random, uniform or s4 [default: bipeft]
    #[arg(long, value_parser = choose::<SearchBy>)]
    by: Option<SearchBy>,
    /// Ranks and widths to choose among, upwards [default: 1,4,8]
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    /// Share of the training rows that the architecture learns on [default: 0.5]
    #[arg(long)]
    search_share: Option<f32>,
    /// bipeft, s3delta: learning rate of the architecture [default: 0.01; s3delta 0.1]
    #[arg(long)]
    search_learning_rate: Option<f64>,
    /// bipeft: in how many prunings the budget is reached [default: 100]
    #[arg(long)]
    prunings: Option<usize>,
    /// bipeft: share of the steps before the first pruning [default: 0.1]
    #[arg(long)]
    begin: Option<f32>,
    /// evolution: structures in a generation [default: 20]
    #[arg(long)]
    population: Option<usize>,
    /// evolution: generations [default: 5]
    #[arg(long)]
    generations: Option<usize>,
}

/// Numbers that a structure may train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(u64);

/// Bytes of a number of an adapter's file.
const NUMBER: u64 = 4;

impl FromStr for Budget {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let upper = text.trim().to_uppercase();
        let units = [("KB", 1000), ("MB", 1_000_000), ("B", 1)];
        let unit = units.into_iter().find_map(|(name, bytes)| Some((upper.strip_suffix(name)?.trim(), bytes)));
        let read = match unit {
            Some((number, bytes)) => number.parse::<u64>().ok().and_then(|n| n.checked_mul(bytes)).map(|n| n / NUMBER),
            None => upper.replace('_', "").parse().ok(),
        };
        read.map(Self).ok_or_else(|| {
            Problem::input(format!("'{text}' is no budget"))
                .next("give a number of parameters, such as 100000, or bytes of the adapter, such as 400KB")
        })
    }
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
            search = SearchConfig { budget: search.budget, sizes: search.sizes, ..SearchConfig::preset(by) };
        }
        set(&mut search.budget, self.budget.map(|budget| budget.0));
        if !self.sizes.is_empty() {
            search.sizes = self.sizes;
        }
        set(&mut search.share, self.search_share);
        set(&mut search.learning_rate, self.search_learning_rate);
        set(&mut search.prunings, self.prunings);
        set(&mut search.begin, self.begin);
        set(&mut search.population, self.population);
        set(&mut search.generations, self.generations);
        let largest = search.largest();
        if !sized {
            config
                .method
                .iter_mut()
                .filter(|m| m.size().is_some())
                .for_each(|method| *method = method.resized(largest));
        }
        config.search = Some(search);
        // What is measured in between would be of all modules together.
        (config.train.eval_every, config.train.patience) = (0, 0);
        config.validate()
    }

    /// Refuses to go on with another search than was begun.
    pub fn check_resumed(&self, config: &RunConfig) -> Result<(), Problem> {
        let Some(search) = &config.search else {
            return Err(Problem::input("the run in --out is no search")
                .at("--resume")
                .next("go on with it by `stratune train`"));
        };
        let (budget, by) = (self.budget.map_or(search.budget, |b| b.0), self.by.unwrap_or(search.by));
        let another = |what: &str, here: String, there: String, flag: &str| {
            let text = format!("the search was begun with {what} {there}, and goes on with {what} {here}");
            Err(Problem::input(text).at(flag).next("leave it out, or start a search in another --out"))
        };
        if budget != search.budget {
            return another("the budget", budget.to_string(), search.budget.to_string(), "--budget");
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
    fn budgets_are_numbers_or_bytes() {
        for (text, numbers) in
            [("100000", 100_000), ("100_000", 100_000), ("400KB", 100_000), ("2 mb", 500_000), ("8b", 2)]
        {
            assert_eq!(text.parse::<Budget>().unwrap(), Budget(numbers), "{text}");
        }
        for text in ["", "many", "-3", "1.5", "KB", "99999999999999999999"] {
            assert!(text.parse::<Budget>().unwrap_err().next.contains("400KB"), "{text}");
        }
    }
}
