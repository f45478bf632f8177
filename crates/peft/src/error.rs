//! What can be wrong about a method on a layer.

use stratune_protocol::Problem;

use crate::MethodKind;

/// A method that does not fit its layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeftError {
    /// The device did not answer.
    #[error("{0}")]
    Device(Box<Problem>),
    /// No number to steer with.
    #[error("dimension is 0")]
    DimensionZero,
    /// More numbers than a projection onto the matrix can take.
    #[error("dimension {dimension} is above {most}, the most that a fastfood projection onto this matrix can take")]
    DimensionAboveMatrix {
        /// The dimension asked for.
        dimension: usize,
        /// The most it can be.
        most: usize,
    },
    /// More weights than the matrix has.
    #[error("rank {rank} is {entries} weights, and the matrix has {weights}")]
    EntriesAboveMatrix {
        /// The rank asked for.
        rank: usize,
        /// Weights that a LoRA of this rank has.
        entries: usize,
        /// Weights of the matrix.
        weights: usize,
    },
    /// A bottleneck of width zero.
    #[error("width is 0")]
    WidthZero,
    /// A share of a matrix that is less than one of its weights.
    #[error("the share is less than one of the matrix's {weights} weights")]
    ShareBelowOne {
        /// Weights of the matrix.
        weights: usize,
    },
    /// A matrix that is no sum of Kronecker products.
    #[error("width {width} or hidden size {hidden} is not a multiple of {terms}, the terms of Compacter's sums")]
    NotInTerms {
        /// Width of the bottleneck.
        width: usize,
        /// Width of the model.
        hidden: usize,
        /// Terms.
        terms: usize,
    },
    /// Two methods with the same parameters at one place.
    #[error("{method} enters where {by} already has parameters of the same name")]
    Occupied {
        /// The method that comes later.
        method: MethodKind,
        /// The one that is there.
        by: MethodKind,
    },
    /// A rank of zero trains nothing.
    #[error("rank is 0")]
    RankZero,
    /// A rank above the smaller side adds parameters and no freedom.
    #[error("rank {rank} is above {smaller}, the smaller side of the {outputs} × {inputs} matrix")]
    RankAboveMatrix {
        /// The rank asked for.
        rank: usize,
        /// The smaller side.
        smaller: usize,
        /// Rows of the matrix.
        outputs: usize,
        /// Columns of the matrix.
        inputs: usize,
    },
}

impl PeftError {
    /// As a person reads it; `at` is the layer.
    pub fn at(&self, at: &str) -> Problem {
        let next = match self {
            Self::Device(problem) => return (**problem).clone(),
            Self::RankZero => "use a rank of 1 or more",
            Self::RankAboveMatrix { .. } | Self::EntriesAboveMatrix { .. } => {
                "use a lower rank, or leave this target out"
            }
            Self::DimensionZero => "use a dimension of 1 or more",
            Self::DimensionAboveMatrix { .. } => "use a smaller dimension, or --projection sparse",
            Self::ShareBelowOne { .. } => "use a larger share, or leave this target out",
            Self::NotInTerms { .. } => "use a width that is a multiple of 4; the model's must be, too",
            Self::WidthZero => "use a width of 1 or more",
            Self::Occupied { .. } => "give the methods different layers or targets",
        };
        Problem::input(self.to_string()).at(at).next(next)
    }
}
