//! The norm by `shaders/rms_norm.wgsl` and its gradient by `shaders/rms_norm_dx.wgsl`, a row by one or more invocations, or
//! both by `cube.rs`.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::cube;
use super::reference::{self, RmsNormOps};
use crate::cube::floats;
use crate::shader::{Bound, Shader, empty, suit};
use crate::sharing::{grid_of_rows, lanes};

/// The numbers of the shaders, if they can take rows of this tensor.
fn size(x: &CubeTensor, weight: &CubeTensor, eps: f64) -> Option<[u32; 4]> {
    let width = x.shape()[2];
    let fits = suit([x, weight]) && width.is_multiple_of(4);
    fits.then(|| [(x.shape().num_elements() / width) as u32, (width / 4) as u32, (eps as f32).to_bits(), 0])
}

fn forward(x: CubeTensor, weight: CubeTensor, size: [u32; 4], lanes: u32) -> CubeTensor {
    let [x, weight] = [x, weight].map(into_contiguous);
    let y = empty(&x, x.shape());
    Shader::new("rms_norm", include_str!("../../../../shaders/rms_norm.wgsl")).shared_by(lanes).launch(
        &[Bound::In(&x), Bound::In(&weight), Bound::Out(&y)],
        &size,
        grid_of_rows(size[0], lanes),
    );
    y
}

/// The gradient, added to `residual`, if that is given.
fn dx([x, weight, dy]: [CubeTensor; 3], residual: Option<CubeTensor>, size: [u32; 4], lanes: u32) -> CubeTensor {
    let [x, weight, dy] = [x, weight, dy].map(into_contiguous);
    let residual = residual.map(into_contiguous);
    let dx = empty(&x, x.shape());
    let mut bound = vec![Bound::In(&x), Bound::In(&weight), Bound::In(&dy), Bound::Out(&dx)];
    bound.extend(residual.as_ref().map(Bound::In));
    Shader::new("rms_norm_dx", include_str!("../../../../shaders/rms_norm_dx.wgsl"))
        .shared_by(lanes)
        .with("size_binding", bound.len())
        .unrolled("$with_residual", u32::from(residual.is_some()))
        .launch(&bound, &size, grid_of_rows(size[0], lanes));
    dx
}

impl RmsNormOps for CubeBackend {
    fn rms_norm_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let Some(size) = size(&x, &weight, eps) else {
            return match floats([&x, &weight]) {
                Some(kind) => cube::forward(x, weight, eps, kind),
                None => reference::forward::<Self>(x, weight, eps),
            };
        };
        let lanes = lanes(&x, size[1]);
        forward(x, weight, size, lanes)
    }

    fn rms_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let Some(size) = size(&x, &weight, eps).filter(|_| suit([&dy])) else {
            return match floats([&x, &weight, &dy]) {
                Some(kind) => cube::dx(x, weight, dy, eps, kind),
                None => reference::dx::<Self>(x, weight, dy, eps),
            };
        };
        let lanes = lanes(&x, size[1]);
        dx([x, weight, dy], None, size, lanes)
    }

    fn rms_norm_dx_residual(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let Some(size) = size(&x, &weight, eps).filter(|_| suit([&dy, &residual])) else {
            return Self::float_add(residual, Self::rms_norm_dx(x, weight, dy, eps));
        };
        let lanes = lanes(&x, size[1]);
        dx([x, weight, dy], Some(residual), size, lanes)
    }
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sharing::ways;
    use crate::testing::{assert_close, on_device, wgpu};

    /// Against the reference, in the form for each kind of adapter: widths below and above a workgroup, small and large
    /// rows.
    #[test]
    fn values_and_gradients_are_the_references() {
        let Some(device) = wgpu() else { return };
        for (rows, width) in [(1, 4), (3, 64), (2, 260), (70_000, 4), (65, 28), (2, 576)] {
            for most in [1e-3, 1.0, 1e3] {
                let x = on_device([1, rows, width], 1, most, &device);
                let weight = on_device([width], 2, 2.0, &device);
                let dy = on_device([1, rows, width], 3, 1.0, &device);
                let name = format!("{rows} × {width}, ±{most}");
                let size = size(&x, &weight, 1e-6).unwrap();
                let want = reference::forward::<CubeBackend>(x.clone(), weight.clone(), 1e-6);
                let want_dx = reference::dx::<CubeBackend>(x.clone(), weight.clone(), dy.clone(), 1e-6);
                for lanes in ways(size[1]) {
                    let name = format!("{name}, {lanes} to a row");
                    let y = forward(x.clone(), weight.clone(), size, lanes);
                    // Sums of 576 squares in another order, and a root.
                    assert_close(y, want.clone(), 1e-5, 1e-3, &name);
                    let operands = || [&x, &weight, &dy].map(CubeTensor::clone);
                    let alone = dx(operands(), None, size, lanes);
                    assert_close(alone, want_dx.clone(), 2e-5, 1e-3, &format!("gradient of {name}"));
                    let residual = on_device([1, rows, width], 4, 1.0, &device);
                    let want = CubeBackend::float_add(want_dx.clone(), residual.clone());
                    let added = dx(operands(), Some(residual), size, lanes);
                    assert_close(added, want, 2e-5, 1.0, &format!("gradient of {name}, added"));
                }
            }
        }
    }

    /// Widths that are no multiple of 4 are for the other kernels.
    #[test]
    fn odd_widths_are_no_shaders() {
        let Some(device) = wgpu() else { return };
        let (x, weight) = (on_device([1, 5, 7], 1, 1.0, &device), on_device([7], 2, 2.0, &device));
        assert_eq!(size(&x, &weight, 1e-6), None);
        let y = CubeBackend::rms_norm_forward(x.clone(), weight.clone(), 1e-6);
        assert_close(y, reference::forward::<CubeBackend>(x, weight, 1e-6), 1e-6, 1e-3, "5 × 7");
    }
}
