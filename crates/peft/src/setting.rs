//! The settings that methods have: the names of all, and of each what it is unless said otherwise and what it may be.

use serde::{Deserialize, Serialize};
use stratune_protocol::{Problem, Targets};

/// A setting of a method. Which method has which is in [`Method::settings`](crate::Method::settings).
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
}

/// A setting as a method has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Has {
    /// Which.
    pub setting: Setting,
    /// What it is unless said otherwise.
    pub usual: Usual,
    /// What it may be.
    pub takes: Takes,
    /// Its name for people; empty if it belongs to files and command lines alone.
    pub label: &'static str,
    /// What it does, in a few words; may be empty.
    pub help: &'static str,
    /// Whether most people never need it.
    pub advanced: bool,
}

/// What a setting is unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Usual {
    /// This count.
    Count(usize),
    /// This number.
    Number(f32),
    /// Every linear layer of the blocks.
    AllLinear,
    /// The layers of these names.
    Listed(&'static [&'static str]),
    /// This way to spread numbers.
    Projection(Projection),
    /// No.
    Off,
    /// No entry.
    Empty,
}

impl Usual {
    pub(crate) fn count(self) -> Option<usize> {
        if let Self::Count(count) = self { Some(count) } else { None }
    }

    pub(crate) fn number(self) -> Option<f32> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    pub(crate) fn targets(self) -> Option<Targets> {
        match self {
            Self::AllLinear => Some(Targets::AllLinear),
            Self::Listed(words) => Some(Targets::listed(words)),
            _ => None,
        }
    }

    pub(crate) fn projection(self) -> Option<Projection> {
        if let Self::Projection(projection) = self { Some(projection) } else { None }
    }

    pub(crate) fn flag(self) -> Option<bool> {
        if let Self::Off = self { Some(false) } else { None }
    }
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    /// Linear layers.
    Targets,
    /// Another rank or alpha at some layers.
    Overrides,
    /// A whole number, this or more.
    Count(usize),
    /// A number above 0.
    Positive,
    /// A number of 0 or more.
    NotNegative,
    /// A number above 0 and at most 1.
    Share,
    /// A number of 0 or more and less than 1.
    Rest,
    /// One of these words.
    Words(&'static [&'static str]),
    /// One of these numbers of bits.
    Bits(&'static [usize]),
    /// Yes or no.
    Flag,
}

impl Has {
    const fn new(setting: Setting, usual: Usual, takes: Takes, label: &'static str, help: &'static str) -> Self {
        Self { setting, usual, takes, label, help, advanced: false }
    }

    const fn advanced(self) -> Self {
        Self { advanced: true, ..self }
    }

    /// The same with another usual count.
    pub(crate) const fn count(self, usual: usize) -> Self {
        Self { usual: Usual::Count(usual), ..self }
    }

    /// The same with another usual number.
    pub(crate) const fn number(self, usual: f32) -> Self {
        Self { usual: Usual::Number(usual), ..self }
    }

    /// The same with these usual targets.
    pub(crate) const fn listed(self, usual: &'static [&'static str]) -> Self {
        Self { usual: Usual::Listed(usual), ..self }
    }

    /// The same with another least count.
    pub(crate) const fn least(self, least: usize) -> Self {
        Self { takes: Takes::Count(least), ..self }
    }

    /// The same with other words for it.
    pub(crate) const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }
}

/// The linear layers it enters.
pub const TARGETS: Has = Has::new(Setting::Targets, Usual::AllLinear, Takes::Targets, "Matrices it enters", "");
/// Rank of the update.
pub const RANK: Has =
    Has::new(Setting::Rank, Usual::Count(8), Takes::Count(1), "Rank", "larger learns more and weighs more");
/// The update is scaled by it over the rank.
pub const ALPHA: Has =
    Has::new(Setting::Alpha, Usual::Number(16.0), Takes::Positive, "Alpha", "the update is scaled by alpha / rank");
/// Dropout on the update's input.
pub const DROPOUT: Has =
    Has::new(Setting::Dropout, Usual::Number(0.0), Takes::Rest, "Dropout", "on the update's input while training")
        .advanced();
/// Another rank or alpha at some layers.
pub const OVERRIDES: Has = Has::new(Setting::Overrides, Usual::Empty, Takes::Overrides, "", "");
/// The learning rate of B over that of A.
pub const RATIO: Has = Has::new(
    Setting::Ratio,
    Usual::Number(16.0),
    Takes::Positive,
    "Ratio of the learning rates",
    "B's is this many times A's",
);
/// Width of the bottleneck.
pub const WIDTH: Has = Has::new(Setting::Width, Usual::Count(16), Takes::Count(1), "Width", "of the bottleneck");
/// What the method's output is multiplied by.
pub const SCALE: Has =
    Has::new(Setting::Scale, Usual::Number(4.0), Takes::Positive, "Scale", "of what the method adds");
/// Positions before the text.
pub const LENGTH: Has =
    Has::new(Setting::Length, Usual::Count(20), Takes::Count(1), "Length", "positions put before the text");
/// Share of each matrix that trains.
pub const SHARE: Has = Has::new(
    Setting::Share,
    Usual::Number(0.005),
    Takes::Share,
    "Share of the weights",
    "of each matrix; the others stay",
);
/// Numbers that steer all weights.
pub const DIMENSION: Has =
    Has::new(Setting::Dimension, Usual::Count(1000), Takes::Count(1), "Dimension", "numbers that steer all weights");
/// How they do.
pub const PROJECTION: Has = Has::new(
    Setting::Projection,
    Usual::Projection(Projection::Fastfood),
    Takes::Words(&["dense", "sparse", "fastfood"]),
    "Projection",
    "how the numbers are spread over the weights",
)
.advanced();
/// Rank that training starts with.
pub const INITIAL_RANK: Has = Has::new(
    Setting::InitialRank,
    Usual::Count(12),
    Takes::Count(1),
    "Rank at the start",
    "the budget shrinks to the rank",
);
/// Weight of the method's penalty.
pub const PENALTY: Has =
    Has::new(Setting::Penalty, Usual::Number(0.01), Takes::NotNegative, "Penalty", "its weight in the loss").advanced();
/// Rows that are looked at before training.
pub const SAMPLES: Has =
    Has::new(Setting::Samples, Usual::Count(128), Takes::Count(1), "Rows to choose from", "looked at before training")
        .advanced();
/// Steps between changes.
pub const INTERVAL: Has =
    Has::new(Setting::Interval, Usual::Count(10), Takes::Count(1), "Interval", "steps between changes of what trains")
        .advanced();
/// Blocks that train at a time.
pub const BLOCKS: Has =
    Has::new(Setting::Blocks, Usual::Count(2), Takes::Count(1), "Layers at a time", "drawn anew at every interval");
/// Bits of a base weight.
pub const BITS: Has = Has::new(
    Setting::Bits,
    Usual::Count(4),
    Takes::Bits(&[4, 8]),
    "Bits of the base",
    "fewer take less memory and are less exact",
);
/// How many times narrower than the model.
pub const REDUCTION: Has = Has::new(
    Setting::Reduction,
    Usual::Count(4),
    Takes::Count(1),
    "Reduction",
    "how many times narrower than the model",
);
/// A gate for each token.
pub const GATED: Has =
    Has::new(Setting::Gated, Usual::Off, Takes::Flag, "A gate decides for each token how much it adds", "").advanced();

/// How a few numbers are spread over many (Li et al. 2018, arXiv 1804.08838).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// A Gaussian matrix: exact, and as large as weights × dimension.
    Dense,
    /// A few signed entries a row.
    Sparse,
    /// Products of diagonal, permutation and Walsh-Hadamard matrices (Le et al. 2013): memory of the size of the
    /// weights.
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
