//! Splitting on the CPU.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::Several;
use super::reference::{self, SeveralOps};

impl SeveralOps for Flex {
    /// Copies: a slice that begins within its memory would be copied at every use.
    fn split(joined: FloatTensor<Self>, counts: Vec<usize>) -> Several<Self> {
        let Several(parts) = reference::split::<Self>(joined, &counts);
        Several(parts.into_iter().map(|part| part.to_contiguous()).collect())
    }
}
