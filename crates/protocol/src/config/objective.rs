//! What is learned of a row: its tokens, or its label.

use serde::{Deserialize, Serialize};

use crate::Problem;

/// What is learned of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// As the model and the configuration say: labels where the model is an encoder or a column of labels is named, the
    /// next token otherwise. Labels of which some are decimals are numbers, all others are classes.
    #[default]
    Auto,
    /// The next token of each that is a label.
    NextToken,
    /// Which class a row is of, by cross-entropy.
    Classification,
    /// The number that a row has, by the mean squared error.
    Regression,
}

impl std::str::FromStr for Objective {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Ok(match text {
            "auto" => Self::Auto,
            "next_token" | "next-token" => Self::NextToken,
            "classification" => Self::Classification,
            "regression" => Self::Regression,
            _ => {
                return Err(Problem::input(format!("unknown objective '{text}'"))
                    .next("use auto, next_token, classification or regression"));
            }
        })
    }
}

/// How much each class counts in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// Each row counts the same.
    #[default]
    None,
    /// Each class counts the same, however many rows it has: rows / (classes × rows of the class), as scikit-learn's
    /// `balanced`.
    Balanced,
}

impl std::str::FromStr for ClassWeights {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "none" => Ok(Self::None),
            "balanced" => Ok(Self::Balanced),
            _ => Err(Problem::input(format!("unknown class weights '{text}'")).next("use none or balanced")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_configuration() {
        for objective in [Objective::Auto, Objective::NextToken, Objective::Classification, Objective::Regression] {
            let name = serde_json::to_value(objective).unwrap();
            assert_eq!(name.as_str().unwrap().parse::<Objective>().unwrap(), objective);
        }
        for weights in [ClassWeights::None, ClassWeights::Balanced] {
            let name = serde_json::to_value(weights).unwrap();
            assert_eq!(name.as_str().unwrap().parse::<ClassWeights>().unwrap(), weights);
        }
        assert!("some".parse::<Objective>().unwrap_err().next.contains("regression"));
        assert!("some".parse::<ClassWeights>().unwrap_err().next.contains("balanced"));
    }
}
