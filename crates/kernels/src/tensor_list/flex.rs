//! Splitting on the CPU.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::TensorList;
use super::reference::{self, TensorListOps};

impl TensorListOps for Flex {
    /// Copies: a slice that begins within its memory would be copied at every use.
    fn split(joined: FloatTensor<Self>, counts: Vec<usize>) -> TensorList<Self> {
        let TensorList(parts) = reference::split::<Self>(joined, &counts);
        TensorList(parts.into_iter().map(|part| part.to_contiguous()).collect())
    }
}
