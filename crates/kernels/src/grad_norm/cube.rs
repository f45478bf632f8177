//! Sums of squares in CubeCL: 64 cubes, of which each makes one of the numbers that add up to a sum.

use burn::backend::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::reference::PARTS;
use crate::cube::{sharing, sum_of_cube};

#[cube(launch_unchecked)]
fn sum_of_squares<F: Float>(
    x: &[F],
    sums: &mut [F],
    count: usize,
    from: usize,
    #[comptime] units: usize,
    #[define(F)] _kind: ElemType,
) {
    let mut sum = 0.0_f32;
    for at in range_stepped(ABSOLUTE_POS, count, CUBE_COUNT * units) {
        let v = f32::cast_from(x[at]);
        sum += v * v;
    }
    let sum = sum_of_cube(sum, units);
    if UNIT_POS == 0 {
        sums[from + CUBE_POS] = F::cast_from(sum);
    }
}

/// Places `from..to` of `joined` are those of the parts, from `starts` to `ends`, with zeros between.
#[cube(launch_unchecked)]
fn lay_side_by_side(
    parts: &Sequence<Box<[f32]>>,
    starts: &Sequence<usize>,
    ends: &Sequence<usize>,
    joined: &mut [f32],
    sums: &mut [f32],
    from: usize,
    to: usize,
    sums_from: usize,
    #[comptime] units: usize,
) {
    let mut sum = 0.0_f32;
    for at in range_stepped(from + ABSOLUTE_POS, to, CUBE_COUNT * units) {
        let mut number = 0.0_f32;
        #[unroll]
        for p in 0..parts.len() {
            let start = *starts.index(p);
            if at >= start && at < *ends.index(p) {
                number = parts.index(p)[at - start];
            }
        }
        joined[at] = number;
        sum += number * number;
    }
    let sum = sum_of_cube(sum, units);
    if UNIT_POS == 0 {
        sums[sums_from + CUBE_POS] = sum;
    }
}

/// Writes places `64 i .. 64 (i + 1)` of sums, which are nobody else's, of floats of this kind.
pub fn put(sums: &CubeTensor, x: CubeTensor, i: usize, kind: ElemType) {
    let x = into_contiguous(x);
    let count = x.shape().num_elements();
    let units = sharing(count.div_ceil(PARTS), &x);
    // SAFETY: x has `count` numbers, and the sums have 64 places of this index.
    unsafe {
        sum_of_squares::launch_unchecked(
            &sums.client,
            CubeCount::Static(PARTS as u32, 1, 1),
            CubeDim::new_1d(units),
            x.into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            count,
            i * PARTS,
            units as usize,
            kind,
        );
    }
}

/// Lays contiguous parts of f32 at their spans of `joined`, of which `from..to` is written, and writes places
/// `64 i .. 64 (i + 1)` of sums, which are nobody else's.
pub fn lay(
    sums: &CubeTensor,
    joined: &CubeTensor,
    parts: &[CubeTensor],
    spans: &[(usize, usize)],
    [from, to]: [usize; 2],
    i: usize,
) {
    let units = sharing((to - from).div_ceil(PARTS), joined);
    // SAFETY: a part has as many numbers as its span, which lies within `joined`.
    unsafe {
        lay_side_by_side::launch_unchecked(
            &sums.client,
            CubeCount::Static(PARTS as u32, 1, 1),
            CubeDim::new_1d(units),
            parts.iter().map(|part| part.clone().into_buffer_arg()).collect(),
            spans.iter().map(|(start, _)| *start).collect(),
            spans.iter().map(|(_, end)| *end).collect(),
            joined.clone().into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            from,
            to,
            i * PARTS,
            units as usize,
        );
    }
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cube::floats;
    use crate::testing::{kinds, noise, numbers, of_kind, of_values, wgpu};

    /// Of lengths below and above what 64 cubes read at once, in every kind of float, beside the places of others, which
    /// stay.
    #[test]
    fn sums_are_made_in_their_places() {
        let Some(device) = wgpu() else { return };
        let counts = [1, 63, 64, 65, 5000, 70_001];
        for ((dtype, moved), count) in kinds(&device).into_iter().flat_map(|kind| counts.map(|count| (kind, count))) {
            let x = of_kind(of_values(noise(count, 7), &device), dtype);
            let want: f64 = numbers(x.clone()).iter().map(|v| f64::from(*v).powi(2)).sum();
            let sums = of_kind(of_values(vec![f32::NAN; 3 * PARTS], &device), dtype);
            let kind = floats([&sums, &x]).unwrap();
            put(&sums, x, 1, kind);
            let sums = numbers(sums);
            let (before, rest) = sums.split_at(PARTS);
            let (own, behind) = rest.split_at(PARTS);
            let got: f64 = own.iter().map(|v| f64::from(*v)).sum();
            // Sums of a thousand squares in f32.
            assert!((got / want - 1.0).abs() < f64::from(moved) + 1e-5, "{count} of {dtype:?}: {got} {want}");
            assert!(before.iter().chain(behind).all(|v| v.is_nan()), "{count} of {dtype:?}");
        }
    }
}
