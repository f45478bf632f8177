//! Joining and splitting in burn's own operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::Slice;

use super::{TensorList, offsets};

/// Joining and splitting. A default body is the definition; a device may have a way that copies less.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"))]
pub trait TensorListOps: Backend {
    /// All of them in one tensor, each at its [place](offsets).
    fn join(#[extension_type] parts: TensorList<Self>) -> FloatTensor<Self> {
        join::<Self>(parts)
    }

    /// The tensors of these lengths that [`join`](Self::join) has put into one.
    fn split(joined: FloatTensor<Self>, counts: Vec<usize>) -> TensorList<Self> {
        split::<Self>(joined, &counts)
    }
}

/// One behind the other, with zeros between.
pub fn join<B: Backend>(TensorList(mut parts): TensorList<B>) -> FloatTensor<B> {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let counts: Vec<usize> = parts.iter().map(|part| part.shape().num_elements()).collect();
    let (starts, _) = offsets(&counts);
    let mut pieces = Vec::new();
    let mut end = 0;
    for ((part, start), count) in parts.into_iter().zip(starts).zip(counts) {
        if start > end {
            pieces.push(B::float_zeros([start - end].into(), &part.device(), part.dtype().into()));
        }
        pieces.push(part);
        end = start + count;
    }
    B::float_cat(pieces, 0)
}

/// A slice for each.
pub fn split<B: Backend>(joined: FloatTensor<B>, counts: &[usize]) -> TensorList<B> {
    if counts.len() == 1 {
        return TensorList(vec![joined]);
    }
    let (starts, _) = offsets(counts);
    let slice = |(start, count): (usize, &usize)| B::float_slice(joined.clone(), &[Slice::from(start..start + count)]);
    TensorList(starts.into_iter().zip(counts).map(slice).collect())
}
