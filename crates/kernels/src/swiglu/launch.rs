//! The gated activation by `shaders/swiglu.wgsl` and its gradients by `shaders/swiglu_backward.wgsl`, or by `cube.rs`.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::reshape;
use burn_cubecl::tensor::CubeTensor;

use super::cube;
use super::reference::{self, SwigluOps};
use crate::cube::floats;
use crate::shader::{Bound, INVOCATIONS, Shader, empty, grid, suit};
use crate::tensor_list::empty_tensors_of;

/// Vectors of four in tensors that the shaders can take.
fn vectors<const N: usize>(tensors: [&CubeTensor; N]) -> Option<u32> {
    let numbers = tensors[0].shape().num_elements();
    (suit(tensors) && numbers.is_multiple_of(4)).then_some((numbers / 4) as u32)
}

impl SwigluOps for CubeBackend {
    fn swiglu_forward(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let Some(vectors) = vectors([&gate, &up]) else {
            return match floats([&gate, &up]) {
                Some(kind) => cube::forward(gate, up, kind),
                None => reference::forward::<Self>(gate, up),
            };
        };
        let [gate, up] = [gate, up].map(into_contiguous);
        let y = empty(&gate, gate.shape());
        Shader::new("swiglu", include_str!("../../../../shaders/swiglu.wgsl")).launch(
            &[Bound::In(&gate), Bound::In(&up), Bound::Out(&y)],
            &[vectors],
            grid(vectors.div_ceil(INVOCATIONS)),
        );
        y
    }

    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let Some(vectors) = vectors([&gate, &up, &dy]) else {
            return match floats([&gate, &up, &dy]) {
                Some(kind) => cube::backward(gate, up, dy, kind),
                None => reference::backward::<Self>(gate, up, dy),
            };
        };
        let [gate, up, dy] = [gate, up, dy].map(into_contiguous);
        // Side by side, because the layers that made gate and up read both.
        let flat = empty_tensors_of(&gate, [[gate.shape().num_elements()]; 2]);
        let [d_gate, d_up] = flat.map(|part| reshape(part, gate.shape()));
        Shader::new("swiglu_backward", include_str!("../../../../shaders/swiglu_backward.wgsl")).launch(
            &[Bound::In(&gate), Bound::In(&up), Bound::In(&dy), Bound::Out(&d_gate), Bound::Out(&d_up)],
            &[vectors],
            grid(vectors.div_ceil(INVOCATIONS)),
        );
        (d_gate, d_up)
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use crate::testing::{assert_close, on_device, wgpu};

    /// Against the reference, for lengths beside a workgroup's and gates that close and open altogether.
    #[test]
    fn values_and_gradients_are_the_references() {
        let Some(device) = wgpu() else { return };
        for count in [1, 4, 252, 256, 260, 70_000] {
            for most in [1.0, 200.0] {
                let [gate, up, dy] = [1, 2, 3].map(|seed| on_device([1, 1, count], seed, most, &device));
                let name = format!("{count}, ±{most}");
                let y = CubeBackend::swiglu_forward(gate.clone(), up.clone());
                let want = reference::forward::<CubeBackend>(gate.clone(), up.clone());
                // An exponential and a quotient.
                assert_close(y, want, 2e-6, 1e-3, &name);
                let (d_gate, d_up) = CubeBackend::swiglu_backward(gate.clone(), up.clone(), dy.clone());
                let (want_gate, want_up) = reference::backward::<CubeBackend>(gate, up, dy);
                assert_close(d_gate, want_gate, 4e-6, 1e-3, &format!("gate's gradient of {name}"));
                assert_close(d_up, want_up, 4e-6, 1e-3, &format!("up's gradient of {name}"));
            }
        }
    }
}
