//! Joining and splitting on GPUs: parts of one buffer are bound as they lie, and nothing is copied.

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{DType, TensorMetadata};
use burn::tensor::{Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::ops::reshape;
use burn_cubecl::tensor::CubeTensor;

use super::reference::{self, TensorListOps};
use super::{STEP, TensorList, offsets};
use crate::shader::{countable, empty};

/// Bytes of a number.
const BYTES: u64 = 4;

impl TensorListOps for CubeBackend {
    fn join(parts: TensorList<Self>) -> FloatTensor<Self> {
        side_by_side(&parts.0).unwrap_or_else(|| reference::join::<Self>(parts))
    }

    fn split(joined: FloatTensor<Self>, counts: Vec<usize>) -> TensorList<Self> {
        match is_viewable(&joined) {
            true => views(&joined, &counts),
            false => reference::split::<Self>(joined, &counts),
        }
    }
}

/// Whether it can lie beside others, or others within it.
pub fn is_viewable(tensor: &CubeTensor) -> bool {
    tensor.dtype == DType::F32 && countable(tensor)
}

/// Tensors of these lengths within a contiguous one.
pub fn views(joined: &CubeTensor, counts: &[usize]) -> TensorList<CubeBackend> {
    let (starts, total) = offsets(counts);
    let view = |(start, count): (usize, &usize)| within(joined, start as u64, *count, (total - start - count) as u64);
    TensorList(starts.into_iter().zip(counts).map(view).collect())
}

/// The numbers of a tensor but the first `before` and the last `behind`.
fn within(tensor: &CubeTensor, before: u64, count: usize, behind: u64) -> CubeTensor {
    let handle = tensor.handle.clone().offset_start(before * BYTES).offset_end(behind * BYTES);
    flat(tensor, handle, count)
}

fn flat(like: &CubeTensor, handle: Handle, count: usize) -> CubeTensor {
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), Shape::from([count]), handle, like.dtype)
}

/// Room for outputs of these shapes, where `like` is: in one buffer, if one binding takes it.
pub fn empty_tensors<const D: usize>(like: &CubeTensor, shapes: &[[usize; D]]) -> Vec<CubeTensor> {
    let counts: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
    let (_, total) = offsets(&counts);
    if shapes.len() == 1 || total as u64 * BYTES > like.client.properties().memory.max_page_size {
        return shapes.iter().map(|shape| empty(like, *shape)).collect();
    }
    let TensorList(parts) = views(&empty(like, [total]), &counts);
    parts.into_iter().zip(shapes).map(|(part, shape)| reshape(part, Shape::from(*shape))).collect()
}

/// The same for a number that is known.
pub fn empty_tensors_of<const D: usize, const N: usize>(like: &CubeTensor, shapes: [[usize; D]; N]) -> [CubeTensor; N] {
    let mut empty_tensors = empty_tensors(like, &shapes).into_iter();
    #[allow(clippy::expect_used)] // One of each.
    std::array::from_fn(|_| empty_tensors.next().expect("a room for each shape"))
}

/// Whether two tensors are parts of one buffer.
pub fn in_one_buffer(a: &CubeTensor, b: &CubeTensor) -> bool {
    let [a, b] = [a, b].map(|tensor| tensor.handle.clone().binding().memory.id());
    a == b
}

/// One tensor that has all of these within it, and where in it each begins, in bytes; if they lie in one buffer, each
/// with its numbers in order.
pub fn common_buffer(parts: &[&CubeTensor]) -> Option<(CubeTensor, Vec<u64>)> {
    let first = *parts.first()?;
    let begin = |part: &CubeTensor| part.handle.offset_start.unwrap_or(0);
    let end = |part: &CubeTensor| begin(part) + part.shape().num_elements() as u64 * BYTES;
    let alike =
        |part: &&CubeTensor| in_one_buffer(part, first) && part.is_contiguous() && part.dtype.size() as u64 == BYTES;
    if !parts.iter().all(alike) {
        return None;
    }
    let start = parts.iter().map(|part| begin(part)).min()?;
    let stop = parts.iter().map(|part| end(part)).max()?;
    let mut handle = first.handle.clone();
    handle.offset_start = Some(start);
    handle.offset_end = Some(handle.size().checked_sub(stop)?);
    let common_buffer = flat(first, handle, ((stop - start) / BYTES) as usize);
    Some((common_buffer, parts.iter().map(|part| begin(part) - start).collect()))
}

/// The same tensors, of floats or of words, copied into one buffer where each begins at a multiple of `step` of its
/// numbers; as they are if one binding does not take them.
pub fn copied_to_one_buffer(parts: Vec<CubeTensor>, step: usize) -> Vec<CubeTensor> {
    let step = lcm(step.max(1), STEP);
    let mut total = 0;
    let mut starts = Vec::new();
    for part in &parts {
        starts.push(total);
        total = (total + part.shape().num_elements()).next_multiple_of(step);
    }
    let Some(first) = parts.first().filter(|_| parts.len() > 1).cloned() else { return parts };
    let alike = parts.iter().all(|part| part.dtype == first.dtype);
    if !alike || total as u64 * BYTES > first.client.properties().memory.max_page_size {
        return parts;
    }
    let (client, device) = (first.client.clone(), first.device.clone());
    let mut whole = empty_device_contiguous_dtype(client, device, Shape::from([total]), first.dtype);
    for (part, start) in parts.iter().zip(&starts) {
        let count = part.shape().num_elements();
        let flat = reshape(into_contiguous(part.clone()), Shape::from([count]));
        let place = [Slice::from(*start..*start + count)];
        whole = match first.dtype {
            DType::F32 => CubeBackend::float_slice_assign(whole, &place, flat),
            _ => CubeBackend::int_slice_assign(whole, &place, flat),
        };
    }
    let view = |(part, start): (&CubeTensor, usize)| {
        let count = part.shape().num_elements();
        reshape(within(&whole, start as u64, count, (total - start - count) as u64), part.shape())
    };
    parts.iter().zip(starts).map(view).collect()
}

/// The least number of which both are divisors.
fn lcm(a: usize, b: usize) -> usize {
    (1..=b).map(|times| times * a).find(|multiple| multiple.is_multiple_of(b)).unwrap_or(a * b)
}

/// The one tensor of which these are the [views], if they are.
fn side_by_side(parts: &[CubeTensor]) -> Option<CubeTensor> {
    let counts: Vec<usize> = parts.iter().map(|part| part.shape().num_elements()).collect();
    let (starts, _) = offsets(&counts);
    let (whole, begins) = common_buffer(&parts.iter().collect::<Vec<_>>())?;
    let lie = begins.iter().zip(starts).all(|(begin, start)| *begin == start as u64 * BYTES);
    (lie && is_viewable(&whole)).then_some(whole)
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
        let (starts, total) = offsets(&counts);
        let values = noise(total, 3);
        let joined = of_values(values.clone(), &device);
        let TensorList(parts) = CubeBackend::split(joined.clone(), counts.to_vec());
        for ((part, start), count) in parts.iter().zip(&starts).zip(counts) {
            assert_eq!(numbers(part.clone()), values[*start..start + count]);
        }
        let memory = |t: &CubeTensor| t.handle.clone().binding().memory.id();
        let again = CubeBackend::join(TensorList(parts.clone()));
        assert_eq!((memory(&again), numbers(again)), (memory(&joined), values.clone()));
        // A run that begins within the memory.
        let later = CubeBackend::join(TensorList(parts[1..].to_vec()));
        assert_eq!((memory(&later), numbers(later)), (memory(&joined), values[64..].to_vec()));

        for others in [vec![2, 0], vec![0, 2], vec![1, 1]] {
            let others: Vec<CubeTensor> = others.into_iter().map(|i: usize| parts[i].clone()).collect();
            assert!(side_by_side(&others).is_none());
            let copied = CubeBackend::join(TensorList(others.clone()));
            let (starts, _) = offsets(&others.iter().map(|o| o.shape().num_elements()).collect::<Vec<_>>());
            let copied = numbers(copied);
            for (other, start) in others.into_iter().zip(starts) {
                let want = numbers(other);
                assert_eq!(copied[start..start + want.len()], want);
            }
        }
    }
}
