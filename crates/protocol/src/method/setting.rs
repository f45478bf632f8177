//! The settings that methods have.

use serde::{Deserialize, Serialize};

use crate::Problem;

/// A setting of a method. Which method has which is in [`MethodKind::settings`](crate::MethodKind::settings).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Setting {
    Targets,
    Rank,
    Alpha,
    Dropout,
    Overrides,
    Ratio,
    Width,
    Scale,
    Length,
    Share,
    Dimension,
    Projection,
    InitialRank,
    Penalty,
    Samples,
    Interval,
    Blocks,
    Bits,
    Reduction,
    Gated,
}

impl Setting {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 20] = [
        Self::Targets,
        Self::Rank,
        Self::Alpha,
        Self::Dropout,
        Self::Overrides,
        Self::Ratio,
        Self::Width,
        Self::Scale,
        Self::Length,
        Self::Share,
        Self::Dimension,
        Self::Projection,
        Self::InitialRank,
        Self::Penalty,
        Self::Samples,
        Self::Interval,
        Self::Blocks,
        Self::Bits,
        Self::Reduction,
        Self::Gated,
    ];

    /// The field's name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Targets => "targets",
            Self::Rank => "rank",
            Self::Alpha => "alpha",
            Self::Dropout => "dropout",
            Self::Overrides => "overrides",
            Self::Ratio => "ratio",
            Self::Width => "width",
            Self::Scale => "scale",
            Self::Length => "length",
            Self::Share => "share",
            Self::Dimension => "dimension",
            Self::Projection => "projection",
            Self::InitialRank => "initial_rank",
            Self::Penalty => "penalty",
            Self::Samples => "samples",
            Self::Interval => "interval",
            Self::Blocks => "blocks",
            Self::Bits => "bits",
            Self::Reduction => "reduction",
            Self::Gated => "gated",
        }
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Targets => "the linear layers it enters",
            Self::Rank => "rank of the update",
            Self::Alpha => "the update is scaled by alpha / rank (rsLoRA: alpha / √rank)",
            Self::Dropout => "dropout on the update's input while training",
            Self::Overrides => "another rank or alpha at layers whose path ends so",
            Self::Ratio => "the learning rate of B is this many times that of A",
            Self::Width => "width of the bottleneck; prefix: of the reparametrising layer, 0 for none",
            Self::Scale => "what the adapter's output is multiplied by",
            Self::Length => "positions put before the text",
            Self::Share => "share of each matrix that trains; child_tuning: share of the gradient that a step keeps",
            Self::Dimension => "numbers that steer all weights",
            Self::Projection => "how they do: dense, sparse or fastfood",
            Self::InitialRank => "rank that training starts with; the budget shrinks to `rank`",
            Self::Penalty => "weight of the method's penalty in the loss",
            Self::Samples => {
                "rows that are looked at before training to choose what trains; lt_sft: 0 for as many batches as the run has"
            }
            Self::Interval => "steps between changes of what the method trains or projects on",
            Self::Blocks => "blocks that train at a time",
            Self::Bits => "bits of a base weight: 4 or 8",
            Self::Reduction => "the side network is this many times narrower than the model",
            Self::Gated => "a learned gate decides for each token how much the method adds",
        }
    }
}

/// How a few numbers are spread over many (Li et al. 2018, arXiv 1804.08838).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// A Gaussian matrix: exact, and as large as weights × dimension.
    Dense,
    /// A few signed entries a row.
    Sparse,
    /// Products of diagonal, permutation and Walsh-Hadamard matrices (Le et al. 2013): memory of the size of the weights.
    #[default]
    Fastfood,
}

impl std::str::FromStr for Projection {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Ok(match text {
            "dense" => Self::Dense,
            "sparse" => Self::Sparse,
            "fastfood" => Self::Fastfood,
            _ => {
                return Err(
                    Problem::input(format!("unknown projection '{text}'")).next("use dense, sparse or fastfood")
                );
            }
        })
    }
}
