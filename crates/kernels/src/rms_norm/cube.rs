//! The norm and its gradient in CubeCL, a cube for each row.

use burn::backend::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{at_once, cube_for_each, empty, sharing, sum_of_cube};

#[cube(launch_unchecked)]
fn norm<F: Float, N: Size>(
    x: &[Vector<F, N>],
    weight: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    rows: usize,
    width: usize,
    eps: f32,
    #[comptime] units: usize,
    #[define(F)] _kind: ElemType,
) {
    if CUBE_POS >= rows {
        terminate!();
    }
    let start = CUBE_POS * width;
    let mut squares = 0.0_f32;
    for c in range_stepped(UNIT_POS as usize, width, units) {
        let v = Vector::<f32, N>::cast_from(x[start + c]);
        squares += v.dot(v);
    }
    let count = f32::cast_from(width * N::value());
    let r = (sum_of_cube(squares, units) / count + eps).inverse_sqrt();
    for c in range_stepped(UNIT_POS as usize, width, units) {
        let v = Vector::<f32, N>::cast_from(x[start + c]);
        let w = Vector::<f32, N>::cast_from(weight[c]);
        y[start + c] = Vector::cast_from(v * Vector::new(r) * w);
    }
}

#[cube(launch_unchecked)]
fn norm_dx<F: Float, N: Size>(
    x: &[Vector<F, N>],
    weight: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    dx: &mut [Vector<F, N>],
    rows: usize,
    width: usize,
    eps: f32,
    #[comptime] units: usize,
    #[define(F)] _kind: ElemType,
) {
    if CUBE_POS >= rows {
        terminate!();
    }
    let start = CUBE_POS * width;
    let mut squares = 0.0_f32;
    let mut along = 0.0_f32;
    for c in range_stepped(UNIT_POS as usize, width, units) {
        let v = Vector::<f32, N>::cast_from(x[start + c]);
        let dyw = Vector::<f32, N>::cast_from(dy[start + c]) * Vector::<f32, N>::cast_from(weight[c]);
        squares += v.dot(v);
        along += v.dot(dyw);
    }
    let count = f32::cast_from(width * N::value());
    let r = (sum_of_cube(squares, units) / count + eps).inverse_sqrt();
    let pull = r * r * (sum_of_cube(along, units) / count);
    for c in range_stepped(UNIT_POS as usize, width, units) {
        let v = Vector::<f32, N>::cast_from(x[start + c]);
        let dyw = Vector::<f32, N>::cast_from(dy[start + c]) * Vector::<f32, N>::cast_from(weight[c]);
        dx[start + c] = Vector::cast_from((dyw - v * Vector::new(pull)) * Vector::new(r));
    }
}

/// `x r w`, of floats of this kind.
pub fn forward(x: CubeTensor, weight: CubeTensor, eps: f64, kind: ElemType) -> CubeTensor {
    let [x, weight] = [x, weight].map(into_contiguous);
    let y = empty(&x);
    let width = x.shape()[2];
    let size = at_once([width]);
    let units = sharing(width / size, &x);
    let rows = x.shape().num_elements() / width;
    // SAFETY: x and y have `rows` rows of as many numbers as the weight has.
    unsafe {
        norm::launch_unchecked(
            &y.client,
            cube_for_each(rows),
            CubeDim::new_1d(units),
            size,
            x.into_buffer_arg(),
            weight.into_buffer_arg(),
            y.clone().into_buffer_arg(),
            rows,
            width / size,
            eps as f32,
            units as usize,
            kind,
        );
    }
    y
}

/// The gradient with respect to `x`, of floats of this kind.
pub fn dx(x: CubeTensor, weight: CubeTensor, dy: CubeTensor, eps: f64, kind: ElemType) -> CubeTensor {
    let [x, weight, dy] = [x, weight, dy].map(into_contiguous);
    let dx = empty(&x);
    let width = x.shape()[2];
    let size = at_once([width]);
    let units = sharing(width / size, &x);
    let rows = x.shape().num_elements() / width;
    // SAFETY: x, dy and dx have `rows` rows of as many numbers as the weight has.
    unsafe {
        norm_dx::launch_unchecked(
            &dx.client,
            cube_for_each(rows),
            CubeDim::new_1d(units),
            size,
            x.into_buffer_arg(),
            weight.into_buffer_arg(),
            dy.into_buffer_arg(),
            dx.clone().into_buffer_arg(),
            rows,
            width / size,
            eps as f32,
            units as usize,
            kind,
        );
    }
    dx
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::FloatDType;
    use burn_cubecl::CubeBackend;

    use super::*;
    use crate::cube::floats;
    use crate::rms_norm::reference;
    use crate::testing::{assert_close, kinds, of_kind, on_device, wgpu};

    /// Against the reference: widths of every remainder, below and above a cube, more rows than a grid is wide, small and
    /// large numbers, and every kind of float.
    #[test]
    fn values_and_gradients_are_the_references() {
        let Some(device) = wgpu() else { return };
        for (rows, width) in [(1, 1), (3, 7), (2, 254), (70_000, 4), (65, 29), (2, 576), (3, 4099)] {
            for ((dtype, moved), most) in
                kinds(&device).into_iter().flat_map(|kind| [1e-3, 1.0, 1e3].map(|most| (kind, most)))
            {
                let noise = |shape: &[usize], seed, most| of_kind(on_device(shape, seed, most, &device), dtype);
                let x = noise(&[1, rows, width], 1, most);
                let weight = noise(&[width], 2, 2.0);
                let dy = noise(&[1, rows, width], 3, 1.0);
                let name = format!("{rows} × {width} of {dtype:?}, ±{most}");
                let kind = floats([&x, &weight, &dy]).unwrap();
                let y = forward(x.clone(), weight.clone(), 1e-6, kind);
                let got = dx(x.clone(), weight.clone(), dy.clone(), 1e-6, kind);
                let [x, weight, dy] = [x, weight, dy].map(|t| of_kind(t, FloatDType::F32));
                let want = reference::forward::<CubeBackend>(x.clone(), weight.clone(), 1e-6);
                // Sums of 4,099 squares in another order, and a root.
                assert_close(y, want, moved + 1e-5, 1e-3, &name);
                let want = reference::dx::<CubeBackend>(x, weight, dy, 1e-6);
                assert_close(got, want, moved + 2e-5, 1e-3, &format!("gradient of {name}"));
            }
        }
    }
}
