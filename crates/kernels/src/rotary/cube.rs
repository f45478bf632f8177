//! Rotary embedding in CubeCL, a unit for each vector of pairs: heads are read where they lie and written side
//! by side.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{at_once, units_for};
use crate::shader::strides;

#[cube(launch_unchecked)]
fn rotate_kernel<F: Float, N: Size>(
    x: &[Vector<F, N>],
    cos: &[Vector<F, N>],
    sin: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    pairs: usize,
    heads: usize,
    seq: usize,
    half: usize,
    row_stride: usize,
    head_stride: usize,
    position_stride: usize,
    angles_of_row: usize,
    sign: f32,
    #[define(F)] _kind: ElemType,
) {
    let pair = ABSOLUTE_POS;
    if pair >= pairs {
        terminate!();
    }
    let k = pair % half;
    let rest = pair / half;
    let head = rest % heads;
    let position = rest / heads % seq;
    let row = rest / heads / seq;
    let from = row * row_stride + head * head_stride + position * position_stride + k;
    let angle = row * angles_of_row + position * half + k;
    let cosine = Vector::<f32, N>::cast_from(cos[angle]);
    let sine = Vector::<f32, N>::cast_from(sin[angle]) * Vector::new(sign);
    let one = Vector::<f32, N>::cast_from(x[from]);
    let other = Vector::<f32, N>::cast_from(x[from + half]);
    let to = rest * 2 * half + k;
    y[to] = Vector::cast_from(one * cosine - other * sine);
    y[to + half] = Vector::cast_from(other * cosine + one * sine);
}

/// Rotated by the angles, or backwards where the sign is −1, of floats of this kind.
pub fn rotated(x: CubeTensor, cos: CubeTensor, sin: CubeTensor, sign: f32, kind: ElemType) -> CubeTensor {
    let [cos, sin] = [cos, sin].map(into_contiguous);
    let (x, strides) = strides(x);
    let [row, head, position] = strides.map(|stride| stride as usize);
    let [batch, heads, seq, head_dim] = [0, 1, 2, 3].map(|side| x.shape()[side]);
    let shape = [batch, seq, heads, head_dim].into();
    let y = empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), shape, x.dtype);
    let half = head_dim / 2;
    let size = at_once([row, head, position, half]);
    let pairs = batch * heads * seq * half / size;
    let (count, dim) = units_for(pairs, &x);
    let angles_of_row = if cos.shape()[0] > 1 { seq * half } else { 0 };
    // SAFETY: a unit reads and writes the two places of a pair of x and y, and the angle of its position.
    unsafe {
        rotate_kernel::launch_unchecked(
            &y.client,
            count,
            dim,
            size,
            x.into_buffer_arg(),
            cos.into_buffer_arg(),
            sin.into_buffer_arg(),
            y.clone().into_buffer_arg(),
            pairs,
            heads,
            seq,
            half / size,
            row / size,
            head / size,
            position / size,
            angles_of_row / size,
            sign,
            kind,
        );
    }
    CubeBackend::float_swap_dims(y, 1, 2)
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::FloatDType;

    use super::*;
    use crate::cube::floats;
    use crate::rotary::reference;
    use crate::testing::{assert_close, kinds, numbers, of_kind, of_values, on_device, wgpu};

    /// Against the reference, for numbers in order and for heads that are a view of them, for half heads of every
    /// remainder, with angles for all rows of the batch or for each, in every kind of float; and back again.
    #[test]
    fn rotated_as_the_reference_and_back() {
        let Some(device) = wgpu() else { return };
        for [batch, heads, seq, head_dim] in [[1, 1, 1, 2], [2, 3, 5, 8], [3, 4, 17, 10], [2, 2, 7, 12], [1, 9, 65, 64]]
        {
            for ((dtype, moved), rows) in kinds(&device).into_iter().flat_map(|kind| [(kind, 1), (kind, batch)]) {
                let angles = numbers(on_device([rows, 1, seq, head_dim / 2], 1, 3.0, &device));
                let table = |f: fn(f32) -> f32| {
                    let values = of_values(angles.iter().map(|a| f(*a)).collect(), &device);
                    of_kind(CubeBackend::float_reshape(values, [rows, 1, seq, head_dim / 2].into()), dtype)
                };
                let (cos, sin) = (table(f32::cos), table(f32::sin));
                let noise = |shape: [usize; 4]| of_kind(on_device(shape, 2, 2.0, &device), dtype);
                let in_order = noise([batch, heads, seq, head_dim]);
                let view = CubeBackend::float_swap_dims(noise([batch, seq, heads, head_dim]), 1, 2);
                let kind = floats([&view, &cos, &sin]).unwrap();
                for x in [in_order, view] {
                    let y = rotated(x.clone(), cos.clone(), sin.clone(), 1.0, kind);
                    let back = rotated(y.clone(), cos.clone(), sin.clone(), -1.0, kind);
                    let [x, cos, sin] = [&x, &cos, &sin].map(|t| of_kind(t.clone(), FloatDType::F32));
                    let want = reference::rotate::<CubeBackend>(x.clone(), cos, sin);
                    assert_close(y, want, moved + 1e-6, 1.0, "rotated");
                    // Angles are rounded, twice.
                    assert_close(back, x, 4.0 * moved + 1e-6, 1.0, "and back");
                }
            }
        }
    }
}
