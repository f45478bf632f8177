//! Joining and splitting on GPUs: parts of one memory are bound as they lie, and nothing is copied.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DType, TensorMetadata};
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::tensor::CubeTensor;

use super::reference::{self, SeveralOps};
use super::{Several, places};
use crate::shader::countable;

/// Bytes of a number.
const BYTES: u64 = 4;

impl SeveralOps for CubeBackend {
    fn join(parts: Several<Self>) -> FloatTensor<Self> {
        side_by_side(&parts.0).unwrap_or_else(|| reference::join::<Self>(parts))
    }

    fn split(joined: FloatTensor<Self>, counts: Vec<usize>) -> Several<Self> {
        match lies(&joined) {
            true => views(&joined, &counts),
            false => reference::split::<Self>(joined, &counts),
        }
    }
}

/// Whether it can lie beside others, or others within it.
pub fn lies(tensor: &CubeTensor) -> bool {
    tensor.dtype == DType::F32 && countable(tensor)
}

/// Tensors of these lengths within a contiguous one.
pub fn views(joined: &CubeTensor, counts: &[usize]) -> Several<CubeBackend> {
    let (starts, total) = places(counts);
    let view = |(start, count): (usize, &usize)| within(joined, start as u64, *count, (total - start - count) as u64);
    Several(starts.into_iter().zip(counts).map(view).collect())
}

/// The numbers of a tensor but the first `before` and the last `behind`.
fn within(tensor: &CubeTensor, before: u64, count: usize, behind: u64) -> CubeTensor {
    let handle = tensor.handle.clone().offset_start(before * BYTES).offset_end(behind * BYTES);
    flat(tensor, handle, count)
}

fn flat(like: &CubeTensor, handle: Handle, count: usize) -> CubeTensor {
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), Shape::from([count]), handle, like.dtype)
}

/// The one tensor of which these are the [views], if they are.
fn side_by_side(parts: &[CubeTensor]) -> Option<CubeTensor> {
    let first = parts.first()?;
    let counts: Vec<usize> = parts.iter().map(|part| part.shape().num_elements()).collect();
    let (starts, total) = places(&counts);
    let memory = |part: &CubeTensor| part.handle.clone().binding().memory.id();
    let begin = |part: &CubeTensor| part.handle.offset_start.unwrap_or(0);
    let beside = |(part, start): (&CubeTensor, &usize)| {
        memory(part) == memory(first) && begin(part) == begin(first) + *start as u64 * BYTES
    };
    let whole = parts.iter().all(|part| lies(part) && part.is_contiguous());
    if !whole || !parts.iter().zip(&starts).all(beside) {
        return None;
    }
    let mut handle = first.handle.clone();
    handle.offset_end = Some(handle.size().checked_sub(begin(first) + total as u64 * BYTES)?);
    Some(flat(first, handle, total))
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use crate::testing::{noise, numbers, of_values, wgpu};

    /// Views are found to be one tensor again without a copy; in another order, or from elsewhere, they are copied.
    #[test]
    fn views_are_joined_as_they_lie() {
        let Some(device) = wgpu() else { return };
        let counts = [64, 1, 130];
        let (starts, total) = places(&counts);
        let values = noise(total, 3);
        let joined = of_values(values.clone(), &device);
        let Several(parts) = CubeBackend::split(joined.clone(), counts.to_vec());
        for ((part, start), count) in parts.iter().zip(&starts).zip(counts) {
            assert_eq!(numbers(part.clone()), values[*start..start + count]);
        }
        let memory = |t: &CubeTensor| t.handle.clone().binding().memory.id();
        let again = CubeBackend::join(Several(parts.clone()));
        assert_eq!((memory(&again), numbers(again)), (memory(&joined), values.clone()));
        // A run that begins within the memory.
        let later = CubeBackend::join(Several(parts[1..].to_vec()));
        assert_eq!((memory(&later), numbers(later)), (memory(&joined), values[64..].to_vec()));

        for others in [vec![2, 0], vec![0, 2], vec![1, 1]] {
            let others: Vec<CubeTensor> = others.into_iter().map(|i: usize| parts[i].clone()).collect();
            assert!(side_by_side(&others).is_none());
            let copied = CubeBackend::join(Several(others.clone()));
            let (starts, _) = places(&others.iter().map(|o| o.shape().num_elements()).collect::<Vec<_>>());
            let copied = numbers(copied);
            for (other, start) in others.into_iter().zip(starts) {
                let want = numbers(other);
                assert_eq!(copied[start..start + want.len()], want);
            }
        }
    }
}
