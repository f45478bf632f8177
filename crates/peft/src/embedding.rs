//! The embedding, and the output layer: a matrix with a row for each token.

use std::iter::once;

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::Matrix;
use stratune_protocol::Problem;

use crate::{Additions, ModuleId, Parameters, Visitor, Weight};

/// An embedding, or an output layer: a matrix with a row for each token. Where a device's largest buffer does not hold
/// it, it is kept in pieces of rows: it is read and multiplied piece by piece, and nothing can move it.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// Which module it is.
    pub id: ModuleId,
    first: Weight,
    rest: Vec<Weight>,
}

impl Embedding {
    /// Of pieces with the same columns, from the first row to the last; none of no piece.
    pub fn of(id: ModuleId, pieces: impl IntoIterator<Item = Weight>) -> Option<Self> {
        let mut pieces = pieces.into_iter();
        Some(Self { id, first: pieces.next()?, rest: pieces.collect() })
    }

    /// From the first row to the last.
    pub fn pieces(&self) -> impl Iterator<Item = &Weight> {
        once(&self.first).chain(&self.rest)
    }

    /// The whole matrix, if it is in one piece.
    pub fn single_piece_mut(&mut self) -> Option<&mut Weight> {
        self.rest.is_empty().then_some(&mut self.first)
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.pieces().map(|piece| piece.dims()[0]).sum(), self.first.dims()[1]]
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.first.device()
    }

    /// Whether the run trains it.
    pub fn trains(&self) -> bool {
        self.pieces().any(Weight::trains)
    }

    /// What a product takes.
    pub fn matrices(&self) -> Vec<Matrix> {
        self.pieces().map(Weight::matrix).collect()
    }

    /// Some of its rows as floats. Each piece gives those that it has, and zeros for the others.
    ///
    /// # Shapes
    /// - `ids`: `[n]`
    /// - output: `[n, columns]`
    pub fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        if self.rest.is_empty() {
            return self.first.rows(ids);
        }
        let given_by = |piece: &Weight, start: usize| {
            let wanted = ids.clone().sub_scalar(start as i64);
            let there = wanted.clone().clamp(0, piece.dims()[0] as i64 - 1);
            let elsewhere = there.clone().not_equal(wanted).unsqueeze_dim::<2>(1);
            let columns = self.dims()[1];
            let elsewhere = elsewhere.expand([there.dims()[0], columns]);
            piece.rows(there).mask_fill(elsewhere, 0.0)
        };
        let mut start = self.first.dims()[0];
        let mut rows = given_by(&self.first, 0);
        for piece in &self.rest {
            rows = rows + given_by(piece, start);
            start += piece.dims()[0];
        }
        rows
    }

    /// Its numbers on the host, one row behind the other.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn read(&self) -> Result<Vec<f32>, Problem> {
        let mut numbers = Vec::with_capacity(self.dims().iter().product());
        for piece in self.pieces() {
            numbers.extend(piece.read().await?);
        }
        Ok(numbers)
    }
}

impl Parameters for Embedding {
    fn each(&mut self, visitor: &mut impl Visitor) {
        // A checkpoint has no path for a piece.
        let id = self.id.clone();
        if let Some(whole) = self.single_piece_mut() {
            whole.each(&id, visitor);
        }
    }
}
