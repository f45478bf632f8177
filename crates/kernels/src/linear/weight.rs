//! The matrix of a layer.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, ExtensionType, TensorMetadata};
use burn::tensor::Tensor;

use crate::packed::{Packed, PackedDtype, PackedOps};

/// The matrix of a layer, `[out, in]`.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// Floats, which may be tracked.
    Floats(Tensor<2>),
    /// Fewer bits, which are only read.
    Packed(Packed),
}

impl From<Tensor<2>> for Matrix {
    fn from(tensor: Tensor<2>) -> Self {
        Self::Floats(tensor)
    }
}

impl Matrix {
    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Floats(tensor) => tensor.dims(),
            Self::Packed(packed) => packed.dims(),
        }
    }

    pub(crate) fn into_dispatch(self) -> Weight<Dispatch> {
        match self {
            Self::Floats(tensor) => Weight::Floats(tensor.into_dispatch()),
            Self::Packed(packed) => {
                let (dtype, [_, columns]) = (packed.dtype(), packed.dims());
                Weight::Packed { words: packed.words().into_dispatch(), dtype, columns }
            }
        }
    }
}

/// The same as a backend has it.
#[derive(Clone, Debug, ExtensionType)]
pub enum Weight<B: Backend> {
    Floats(FloatTensor<B>),
    Packed { words: IntTensor<B>, dtype: PackedDtype, columns: usize },
}

impl<B: PackedOps> Weight<B> {
    /// Rows and columns.
    pub fn sides(&self) -> [usize; 2] {
        match self {
            Self::Floats(tensor) => [tensor.shape()[0], tensor.shape()[1]],
            Self::Packed { words, columns, .. } => [words.shape()[0], *columns],
        }
    }

    /// As floats, unpacked if need be.
    pub fn floats(self) -> FloatTensor<B> {
        match self {
            Self::Floats(tensor) => tensor,
            Self::Packed { words, dtype, columns } => B::unpack(words, dtype, columns),
        }
    }
}
