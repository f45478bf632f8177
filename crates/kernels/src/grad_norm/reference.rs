//! Sums of squares in burn's own operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::Slice;

use crate::tensor_list::TensorList;

/// Parts that the squares of one tensor are added up in.
pub const PARTS: usize = 64;

/// Sums of squares. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"))]
pub trait GradNormOps: Backend {
    /// Writes numbers that add up to `Σ x²` into places `64 i .. 64 (i + 1)` of `sums`, which are zero.
    fn write_sum_of_squares(sums: FloatTensor<Self>, x: FloatTensor<Self>, i: usize) -> FloatTensor<Self> {
        write_sum_of_squares::<Self>(sums, x, i)
    }

    /// The same for several tensors, from place `64 i` on, and the tensors, which may lie side by side afterwards.
    fn group_gradients(
        sums: FloatTensor<Self>,
        #[extension_type] parts: TensorList<Self>,
        i: usize,
    ) -> (FloatTensor<Self>, TensorList<Self>) {
        group_gradients::<Self>(sums, parts, i)
    }
}

/// One by one, where they are.
pub fn group_gradients<B: GradNormOps>(
    sums: FloatTensor<B>,
    TensorList(parts): TensorList<B>,
    i: usize,
) -> (FloatTensor<B>, TensorList<B>) {
    let put = |sums, (k, part): (usize, &FloatTensor<B>)| B::write_sum_of_squares(sums, part.clone(), i + k);
    (parts.iter().enumerate().fold(sums, put), TensorList(parts))
}

/// The sum in the first place.
pub fn write_sum_of_squares<B: Backend>(sums: FloatTensor<B>, x: FloatTensor<B>, i: usize) -> FloatTensor<B> {
    if x.shape().num_elements() == 0 {
        return sums;
    }
    let sum = B::float_sum(B::float_mul(x.clone(), x));
    B::float_slice_assign(sums, &[Slice::from(i * PARTS..i * PARTS + 1)], sum)
}
