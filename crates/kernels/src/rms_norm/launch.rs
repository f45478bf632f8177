//! The norm by `shaders/rms_norm.wgsl` and its gradient by `shaders/rms_norm_dx.wgsl`, a workgroup a row.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::reference::{self, RmsNormOps};
use crate::shader::{Bound, Shader, grid, room, suit};

/// The numbers of the shaders, if they can take rows of this tensor.
fn size(x: &CubeTensor, weight: &CubeTensor, eps: f64) -> Option<[u32; 4]> {
    let width = x.shape()[2];
    let fits = suit([x, weight]) && width.is_multiple_of(4);
    fits.then(|| [(x.shape().num_elements() / width) as u32, (width / 4) as u32, (eps as f32).to_bits(), 0])
}

impl RmsNormOps for CubeBackend {
    fn rms_norm_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let Some(size) = size(&x, &weight, eps) else { return reference::forward::<Self>(x, weight, eps) };
        let [x, weight] = [x, weight].map(into_contiguous);
        let y = room(&x, x.shape());
        Shader::new("rms_norm", include_str!("../../../../shaders/rms_norm.wgsl")).launch(
            &[Bound::In(&x), Bound::In(&weight), Bound::Out(&y)],
            &size,
            grid(size[0]),
        );
        y
    }

    fn rms_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let Some(size) = size(&x, &weight, eps).filter(|_| suit([&dy])) else {
            return reference::dx::<Self>(x, weight, dy, eps);
        };
        let [x, weight, dy] = [x, weight, dy].map(into_contiguous);
        let dx = room(&x, x.shape());
        Shader::new("rms_norm_dx", include_str!("../../../../shaders/rms_norm_dx.wgsl")).launch(
            &[Bound::In(&x), Bound::In(&weight), Bound::In(&dy), Bound::Out(&dx)],
            &size,
            grid(size[0]),
        );
        dx
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use crate::testing::{assert_close, on_device, wgpu};

    /// Against the reference: widths below and above a workgroup, one that is left to the reference, small and large rows.
    #[test]
    fn values_and_gradients_are_the_references() {
        let Some(device) = wgpu() else { return };
        for (rows, width) in [(1, 4), (3, 64), (2, 260), (70_000, 4), (5, 7), (2, 576)] {
            for most in [1e-3, 1.0, 1e3] {
                let x = on_device([1, rows, width], 1, most, &device);
                let weight = on_device([width], 2, 2.0, &device);
                let dy = on_device([1, rows, width], 3, 1.0, &device);
                let name = format!("{rows} × {width}, ±{most}");
                let y = CubeBackend::rms_norm_forward(x.clone(), weight.clone(), 1e-6);
                let want = reference::forward::<CubeBackend>(x.clone(), weight.clone(), 1e-6);
                // Sums of 576 squares in another order, and a root.
                assert_close(y, want, 1e-5, 1e-3, &name);
                let dx = CubeBackend::rms_norm_dx(x.clone(), weight.clone(), dy.clone(), 1e-6);
                let want = reference::dx::<CubeBackend>(x, weight, dy, 1e-6);
                assert_close(dx, want, 2e-5, 1e-3, &format!("gradient of {name}"));
            }
        }
    }
}
