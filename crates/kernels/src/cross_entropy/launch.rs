//! Losses of rows of logits by `shaders/cross_entropy.wgsl`, a row by one or more invocations, or
//! by `cube.rs`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::cube;
use super::reference::{self, CrossEntropyOps};
use crate::cube::floats;
use crate::shader::{Bound, Shader, empty, suit};
use crate::sharing::{grid_of_rows, lanes};

impl CrossEntropyOps for CubeBackend {
    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let kind = floats([&logits]).filter(|_| logits.handle.can_mut() && targets.dtype() == DType::I32);
        let Some(kind) = kind else { return reference::cross_entropy::<Self>(logits, targets, scale) };
        if !suit([&logits]) {
            return cube::put_gradient(logits, targets, scale, kind);
        }
        let lanes = lanes(&logits, logits.shape()[1] as u32);
        put_gradient(logits, targets, scale, lanes)
    }
}

/// The losses, and the gradient in the place of the logits.
fn put_gradient(logits: CubeTensor, targets: CubeTensor, scale: f32, lanes: u32) -> (CubeTensor, CubeTensor) {
    let (logits, targets) = (into_contiguous(logits), into_contiguous(targets));
    let [rows, vocabulary] = [0, 1].map(|side| logits.shape()[side]);
    let losses = empty(&logits, [rows]);
    Shader::new("cross_entropy", include_str!("../../../../shaders/cross_entropy.wgsl")).shared_by(lanes).launch(
        &[Bound::InOut(&logits), Bound::In(&targets), Bound::Out(&losses)],
        &[rows as u32, vocabulary as u32, scale.to_bits()],
        grid_of_rows(rows as u32, lanes),
    );
    (losses, logits)
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Int, Tensor, TensorData};

    use super::*;
    use crate::sharing::ways;
    use crate::testing::{assert_close, on_device, wgpu};

    /// Against the reference, in the form for each kind of adapter, for vocabularies below and above a workgroup, and
    /// beyond the turns of a loop on llvmpipe, small and large logits.
    #[test]
    fn losses_and_gradients_are_the_references() {
        let Some(device) = wgpu() else { return };
        for (rows, vocabulary) in [(1_usize, 1_usize), (3, 7), (5, 64), (67, 131), (2, 5000), (2, 70_000)] {
            for most in [0.1, 40.0] {
                let logits = || on_device([rows, vocabulary], 1, most, &device);
                let ids: Vec<i32> = (0..rows).map(|i| ((i * 5 + 2) % vocabulary) as i32).collect();
                let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), &device);
                let targets = targets.try_into_primitive::<CubeBackend>().unwrap();
                let want = reference::cross_entropy::<CubeBackend>(logits(), targets.clone(), 0.25);
                for lanes in ways(vocabulary as u32) {
                    let got = put_gradient(logits(), targets.clone(), 0.25, lanes);
                    let name = format!("{rows} × {vocabulary}, ±{most}, {lanes} to a row");
                    // Exponentials and a sum of 70,000 of them.
                    assert_close(got.0, want.0.clone(), 1e-5, 1e-3, &format!("loss of {name}"));
                    assert_close(got.1, want.1.clone(), 1e-5, 1e-3, &format!("gradient of {name}"));
                }
            }
        }
    }
}
