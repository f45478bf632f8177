//! What can be wrong about a method on a layer.

use stratune_protocol::Problem;

/// A method that does not fit its layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeftError {
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
    /// Matrices that do not belong to this layer.
    #[error("A is {a:?} and B is {b:?}, where the layer is {outputs} × {inputs}")]
    Shape {
        /// Shape of A.
        a: [usize; 2],
        /// Shape of B.
        b: [usize; 2],
        /// Rows of the layer's matrix.
        outputs: usize,
        /// Columns of the layer's matrix.
        inputs: usize,
    },
}

impl PeftError {
    /// As a person reads it; `at` is the layer.
    pub fn at(&self, at: &str) -> Problem {
        let next = match self {
            Self::RankZero => "use a rank of 1 or more",
            Self::RankAboveMatrix { .. } => "use a lower rank, or leave this target out",
            Self::Shape { .. } => "use an adapter that was trained on this model",
        };
        Problem::input(self.to_string()).at(at).next(next)
    }
}
