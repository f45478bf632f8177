//! What a search may spend, as people write it; of a budget in time, what modules take of it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Problem;

/// Bytes of a number of an adapter's file.
pub const NUMBER_BYTES: u64 = 4;

/// The longest time that is believed of a step, in microseconds: eleven days.
const LONGEST: u64 = 1_000_000_000_000;

/// What a budget counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetUnit {
    /// Numbers that train.
    #[default]
    Numbers,
    /// Microseconds of a step of training.
    StepTime,
}

impl BudgetUnit {
    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::StepTime => "step_time",
        }
    }

    /// An amount in words.
    pub fn words(self, amount: u64) -> String {
        match self {
            Self::Numbers => format!("{amount} numbers"),
            Self::StepTime => format!("{} ms a step", milliseconds(amount)),
        }
    }

    /// So much of a budget, in words.
    pub fn share(self, amount: u64, budget: u64) -> String {
        let amount = if self == Self::StepTime { milliseconds(amount) } else { amount.to_string() };
        format!("{amount} of {}", self.words(budget))
    }
}

/// Microseconds as milliseconds, to a hundredth.
fn milliseconds(microseconds: u64) -> String {
    format!("{:.2}", microseconds as f64 / 1e3)
}

/// What a structure may have or take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How much.
    pub amount: u64,
    /// Of what.
    pub unit: BudgetUnit,
}

/// What a step takes, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepTime {
    /// Without any module, but with the backward pass through all blocks.
    pub base: u64,
    /// What modules add.
    pub modules: Vec<ModuleTime>,
}

/// What a method adds to a step at each of the modules of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleTime {
    /// The method's name.
    pub method: String,
    /// The last part of the path of the linear layers, such as `q_proj`; empty of a method of blocks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whatever the size, in microseconds.
    pub fixed: u64,
    /// For each unit of the size.
    #[serde(default)]
    pub each: u64,
}

impl StepTime {
    /// A time in it that no step takes.
    pub(super) fn unbelievable(&self) -> Option<u64> {
        let all = self.modules.iter().flat_map(|module| [module.fixed, module.each]).chain([self.base]);
        all.max().filter(|time| *time > LONGEST)
    }
}

impl FromStr for Budget {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let lower = text.trim().to_lowercase().replace([',', '_', ' '], "");
        let number = |text: &str| text.parse::<u64>().ok();
        let time = |text: &str, unit: f64| {
            let microseconds = text.parse::<f64>().ok()? * unit;
            (0.0..=LONGEST as f64).contains(&microseconds).then_some(microseconds.round() as u64)
        };
        let (unit, amount) = if let Some(text) = lower.strip_suffix("ms") {
            (BudgetUnit::StepTime, time(text, 1e3))
        } else if let Some(text) = lower.strip_suffix('s') {
            (BudgetUnit::StepTime, time(text, 1e6))
        } else if let Some(text) = lower.strip_suffix('b') {
            let (text, bytes) = match (text.strip_suffix('k'), text.strip_suffix('m')) {
                (Some(text), _) => (text, 1_000),
                (_, Some(text)) => (text, 1_000_000),
                _ => (text, 1),
            };
            (BudgetUnit::Numbers, number(text).and_then(|n| n.checked_mul(bytes)).map(|n| n / NUMBER_BYTES))
        } else {
            (BudgetUnit::Numbers, number(&lower))
        };
        amount.filter(|amount| *amount > 0).map(|amount| Self { amount, unit }).ok_or_else(|| {
            Problem::input(format!("'{text}' is no budget")).next(
                "give a number of parameters, such as 100000, bytes of the adapter, such as 400KB, or the time of a step, \
                 such as 250ms",
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_numbers_or_bytes_or_times() {
        use BudgetUnit::{Numbers, StepTime};
        for (text, amount, unit) in [
            ("100000", 100_000, Numbers),
            ("100_000", 100_000, Numbers),
            (" 3,000 ", 3000, Numbers),
            ("400KB", 100_000, Numbers),
            ("2 mb", 500_000, Numbers),
            ("8b", 2, Numbers),
            ("250ms", 250_000, StepTime),
            ("0.5 ms", 500, StepTime),
            ("1.5s", 1_500_000, StepTime),
        ] {
            assert_eq!(text.parse(), Ok(Budget { amount, unit }), "{text}");
        }
        for text in [
            "",
            "0",
            "1B",
            "many",
            "-3",
            "1.5",
            "KB",
            "ms",
            "s",
            "-1s",
            "NaNms",
            "infs",
            "1e30s",
            "99999999999999999999",
        ] {
            let problem = text.parse::<Budget>().unwrap_err();
            assert!(problem.next.contains("400KB") && problem.next.contains("250ms"), "{text}");
        }
    }

    #[test]
    fn amounts_in_words() {
        assert_eq!(BudgetUnit::Numbers.share(60, 100), "60 of 100 numbers");
        assert_eq!(BudgetUnit::StepTime.share(12_345, 250_000), "12.35 of 250.00 ms a step");
        for unit in [BudgetUnit::Numbers, BudgetUnit::StepTime] {
            assert_eq!(serde_json::to_value(unit).unwrap(), unit.name());
        }
    }
}
