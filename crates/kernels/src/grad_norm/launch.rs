//! Sums of squares by `shaders/squares.wgsl`, one dispatch a tensor, and by `shaders/gather.wgsl`, which also lays tensors side
//! by side, those of as many buffers as the adapter binds at once; or both by `cube.rs`.

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::cube;
use super::reference::{self, GradNormOps, PARTS};
use crate::cube::floats;
use crate::shader::{Bound, INVOCATIONS, Shader, empty, is_software, suit};
use crate::tensor_list::{TensorList, common_buffer, in_one_buffer, is_viewable, offsets, views};

/// Numbers that one workgroup of a software adapter adds up before 64 of them have met at their barriers.
const FEW: usize = 1 << 16;

/// Bytes of a number.
const BYTES: u64 = 4;
/// Most buffers, and most tensors within them, that are gathered at once.
const MAX: usize = 14;
const MAX_PARTS: usize = 31;

/// The invocations that share a sum of so many numbers; there are as many workgroups.
fn lanes(like: &CubeTensor, count: usize) -> u32 {
    if is_software(like) && count <= FEW { 1 } else { INVOCATIONS }
}

/// Buffers that a shader may read at once: the adapter takes one binding more than burn says, and the shader has
/// three of its own.
fn at_once(like: &CubeTensor) -> usize {
    (like.client.properties().hardware.max_bindings as usize).saturating_sub(2).clamp(1, MAX)
}

fn put(sums: &CubeTensor, x: CubeTensor, i: usize, lanes: u32) {
    let x = into_contiguous(x);
    Shader::new("squares", include_str!("../../../../shaders/squares.wgsl")).shared_by(lanes).launch(
        &[Bound::In(&x), Bound::InOut(sums)],
        &[x.shape().num_elements() as u32, (i * PARTS) as u32],
        [lanes, 1, 1],
    );
}

impl GradNormOps for CubeBackend {
    fn write_sum_of_squares(sums: FloatTensor<Self>, x: FloatTensor<Self>, i: usize) -> FloatTensor<Self> {
        let kind = floats([&sums, &x]).filter(|_| sums.handle.can_mut());
        let Some(kind) = kind else { return reference::write_sum_of_squares::<Self>(sums, x, i) };
        if suit([&sums, &x]) {
            let lanes = lanes(&x, x.shape().num_elements());
            put(&sums, x, i, lanes);
        } else {
            cube::put(&sums, x, i, kind);
        }
        sums
    }

    fn group_gradients(
        sums: FloatTensor<Self>,
        TensorList(parts): TensorList<Self>,
        i: usize,
    ) -> (FloatTensor<Self>, TensorList<Self>) {
        let alone = parts.len() < 2;
        if alone || !parts.iter().chain([&sums]).all(is_viewable) || !sums.handle.can_mut() {
            return reference::group_gradients::<Self>(sums, TensorList(parts), i);
        }
        let at_once = at_once(&sums);
        let by_shader = suit([&sums]);
        let parts = lay(&sums, parts.into_iter().map(into_contiguous).collect(), i, at_once, by_shader);
        (sums, parts)
    }
}

/// The buffers that tensors lie in, each with the numbers of its tensors.
fn memories(parts: &[CubeTensor]) -> Vec<Vec<usize>> {
    let mut memories: Vec<Vec<usize>> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        match memories.iter_mut().find(|memory| in_one_buffer(&parts[memory[0]], part)) {
            Some(memory) => memory.push(i),
            None => memories.push(vec![i]),
        }
    }
    memories
}

/// Tensors in runs, each of at most so many buffers if a shader is to read them, and of so many tensors.
fn runs(parts: &[CubeTensor], at_once: usize, by_shader: bool) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut first = 0;
    for end in 1..=parts.len() {
        let next = &parts[first..parts.len().min(end + 1)];
        let full = match by_shader {
            true => memories(next).len() > at_once || next.len() > MAX_PARTS,
            false => next.len() > at_once,
        };
        if full || end == parts.len() {
            runs.push(first..end);
            first = end;
        }
    }
    runs
}

/// Lays tensors side by side, those of `at_once` buffers in a dispatch, each of which has its place among the sums.
fn lay(
    sums: &CubeTensor,
    parts: Vec<CubeTensor>,
    i: usize,
    at_once: usize,
    by_shader: bool,
) -> TensorList<CubeBackend> {
    let counts: Vec<usize> = parts.iter().map(|part| part.shape().num_elements()).collect();
    let (starts, total) = offsets(&counts);
    let joined = empty(&parts[0], [total]);
    let runs = runs(&parts, at_once, by_shader);
    let lanes = lanes(sums, total.div_ceil(runs.len()));
    for (k, run) in runs.into_iter().enumerate() {
        let some = &parts[run.clone()];
        let (from, to) = (starts[run.start], starts.get(run.end).copied().unwrap_or(total));
        let spans: Vec<_> = run.map(|p| (starts[p], starts[p] + counts[p])).collect();
        if !by_shader {
            cube::lay(sums, &joined, some, &spans, [from, to], i + k);
            continue;
        }
        let mut size = vec![0; 4 * (1 + MAX_PARTS)];
        size[..4].copy_from_slice(&[from, to, (i + k) * PARTS, some.len()].map(|number| number as u32));
        let mut wholes = Vec::new();
        for (m, memory) in memories(some).into_iter().enumerate() {
            let within: Vec<&CubeTensor> = memory.iter().map(|p| &some[*p]).collect();
            #[allow(clippy::expect_used)] // They are in order, and burn's own.
            let (whole, begins) = common_buffer(&within).expect("parts of one buffer");
            for (p, begin) in memory.into_iter().zip(begins) {
                let (start, end) = spans[p];
                let of_part = [start, end, m, (begin / BYTES) as usize].map(|number| number as u32);
                size[4 * (1 + p)..4 * (2 + p)].copy_from_slice(&of_part);
            }
            wholes.push(whole);
        }
        let count = wholes.len();
        let mut bound: Vec<Bound> = wholes.iter().map(Bound::In).collect();
        bound.extend([Bound::Out(&joined), Bound::InOut(sums)]);
        Shader::new("gather", include_str!("../../../../shaders/gather.wgsl"))
            .with("joined_binding", count)
            .with("sums_binding", count + 1)
            .with("size_binding", count + 2)
            .with("sizes", 1 + MAX_PARTS)
            .shared_by(lanes)
            .unrolled("$m", count as u32)
            .launch(&bound, &size, [lanes, 1, 1]);
    }
    views(&joined, &counts)
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::group_gradients;
    use crate::tensor_list::copied_to_one_buffer;
    use crate::testing::{noise, numbers, of_values, on_device, wgpu};

    #[test]
    fn the_norm_is_that_of_the_host() {
        let Some(device) = wgpu() else { return };
        let all: Vec<Vec<f32>> = [1, 63, 64, 5000, 70_001].iter().map(|n| noise(*n, *n as u32)).collect();
        let tensors: Vec<Tensor<1>> = all.iter().map(|v| Tensor::from_floats(&v[..], &device)).collect();
        let want = all.iter().flatten().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        for groups in [vec![tensors.clone()], tensors.chunks(2).map(<[_]>::to_vec).collect()] {
            let gathered = group_gradients(groups, &device);
            let got = f64::from(gathered.norm.into_scalar::<f32>());
            // Sums of a thousand squares in f32.
            assert!((got / want - 1.0).abs() < 1e-5, "{got} {want}");
            let after: Vec<Vec<f32>> =
                gathered.groups.into_iter().flatten().map(|t| t.into_data().iter::<f32>().collect()).collect();
            assert_eq!(after, all);
        }
    }

    /// Whatever the adapter binds, in the form for each kind of it: each part at its place, zeros between, and sums
    /// in their places alone.
    #[test]
    fn parts_are_laid_side_by_side() {
        let Some(device) = wgpu() else { return };
        let counts = [64, 1, 130, 63, 4096, 7];
        let (starts, total) = offsets(&counts);
        for (at_once, by_shader) in [1, 2, 4, 5, 7].into_iter().flat_map(|n| [(n, true), (n, false)]) {
            let mut parts: Vec<CubeTensor> = counts.iter().map(|n| on_device([*n], *n as u32, 1.0, &device)).collect();
            // Some in one buffer, in another order than they are to lie in.
            let beside = copied_to_one_buffer(vec![parts[2].clone(), parts[0].clone()], 1);
            (parts[2], parts[0]) = (beside[0].clone(), beside[1].clone());
            let held: Vec<Vec<f32>> = parts.iter().cloned().map(numbers).collect();
            let dispatches = runs(&parts, at_once, by_shader).len();
            let memories = if by_shader && at_once > 1 { 5 } else { 6_usize };
            assert_eq!(dispatches, memories.div_ceil(at_once), "{at_once}, {by_shader}");
            let sums = of_values(vec![f32::NAN; (dispatches + 2) * PARTS], &device);
            drop(Tensor::<1>::full([total], f32::NAN, &device));
            let TensorList(views) = lay(&sums, parts, 1, at_once, by_shader);
            let mut want = vec![0.0; total];
            for ((start, part), view) in starts.iter().zip(&held).zip(&views) {
                want[*start..start + part.len()].copy_from_slice(part);
                assert_eq!(&numbers(view.clone()), part);
            }
            let joined = <CubeBackend as crate::tensor_list::TensorListOps>::join(TensorList(views));
            assert_eq!(numbers(joined), want, "{at_once} at once");
            let sums = numbers(sums);
            let (own, others): (Vec<_>, Vec<_>) =
                sums.iter().enumerate().partition(|(at, _)| (PARTS..(dispatches + 1) * PARTS).contains(at));
            let squares: f64 = want.iter().map(|v| f64::from(*v).powi(2)).sum();
            let got: f64 = own.iter().map(|(_, v)| f64::from(**v)).sum();
            // Sums of a thousand squares in f32.
            assert!((got / squares - 1.0).abs() < 1e-5, "{at_once} at once: {got} {squares}");
            assert!(others.iter().all(|(_, v)| v.is_nan()), "{at_once} at once");
        }
    }

    /// In the form for each kind of adapter, beside the places of others, which stay.
    #[test]
    fn every_form_makes_sums_in_its_places() {
        let Some(device) = wgpu() else { return };
        let ways = [1, INVOCATIONS];
        let cases = [1, 63, 64, 65, 5000, 70_001].into_iter().flat_map(|n| ways.iter().map(move |way| (n, *way)));
        for (count, lanes) in cases {
            let values = noise(count, 7);
            let want: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
            let sums = of_values(vec![f32::NAN; 3 * PARTS], &device);
            put(&sums, of_values(values, &device), 1, lanes);
            let sums = numbers(sums);
            let (before, rest) = sums.split_at(PARTS);
            let (own, behind) = rest.split_at(PARTS);
            let got: f64 = own.iter().map(|v| f64::from(*v)).sum();
            // Sums of a thousand squares in f32.
            assert!((got / want - 1.0).abs() < 1e-5, "{count}, {lanes} to a sum: {got} {want}");
            assert!(before.iter().chain(behind).all(|v| v.is_nan()), "{count}, {lanes} to a sum");
        }
    }
}
