//! The gated activation and its gradients in CubeCL, a unit for each vector of numbers.

use burn::backend::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{at_once, empty, units_for};

/// `σ(gate)`; the exponential stays within f32.
#[cube]
fn opened<N: Size>(gate: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0);
    one / (one + (-max(gate, Vector::new(-80.0))).exp())
}

#[cube(launch_unchecked)]
fn gated<F: Float, N: Size>(
    gate: &[Vector<F, N>],
    up: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    vectors: usize,
    #[define(F)] _kind: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= vectors {
        terminate!();
    }
    let gate = Vector::<f32, N>::cast_from(gate[at]);
    let up = Vector::<f32, N>::cast_from(up[at]);
    y[at] = Vector::cast_from(gate * opened(gate) * up);
}

#[cube(launch_unchecked)]
fn gated_back<F: Float, N: Size>(
    gate: &[Vector<F, N>],
    up: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    d_gate: &mut [Vector<F, N>],
    d_up: &mut [Vector<F, N>],
    vectors: usize,
    #[define(F)] _kind: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= vectors {
        terminate!();
    }
    let gate = Vector::<f32, N>::cast_from(gate[at]);
    let up = Vector::<f32, N>::cast_from(up[at]);
    let one = Vector::<f32, N>::new(1.0);
    let open = opened(gate);
    let dy_open = Vector::<f32, N>::cast_from(dy[at]) * open;
    d_gate[at] = Vector::cast_from(dy_open * up * (one + gate * (one - open)));
    d_up[at] = Vector::cast_from(dy_open * gate);
}

/// `gate σ(gate) up`, of floats of this kind.
pub fn forward(gate: CubeTensor, up: CubeTensor, kind: ElemType) -> CubeTensor {
    let [gate, up] = [gate, up].map(into_contiguous);
    let y = empty(&gate);
    let numbers = gate.shape().num_elements();
    let size = at_once([numbers]);
    let (count, dim) = units_for(numbers / size, &gate);
    // SAFETY: all three have `numbers` numbers, of which no unit touches others than its own.
    unsafe {
        gated::launch_unchecked(
            &y.client,
            count,
            dim,
            size,
            gate.into_buffer_arg(),
            up.into_buffer_arg(),
            y.clone().into_buffer_arg(),
            numbers / size,
            kind,
        );
    }
    y
}

/// The gradients with respect to gate and up, of floats of this kind.
pub fn backward(gate: CubeTensor, up: CubeTensor, dy: CubeTensor, kind: ElemType) -> (CubeTensor, CubeTensor) {
    let [gate, up, dy] = [gate, up, dy].map(into_contiguous);
    let (d_gate, d_up) = (empty(&gate), empty(&gate));
    let numbers = gate.shape().num_elements();
    let size = at_once([numbers]);
    let (count, dim) = units_for(numbers / size, &gate);
    // SAFETY: as in `forward`.
    unsafe {
        gated_back::launch_unchecked(
            &d_up.client,
            count,
            dim,
            size,
            gate.into_buffer_arg(),
            up.into_buffer_arg(),
            dy.into_buffer_arg(),
            d_gate.clone().into_buffer_arg(),
            d_up.clone().into_buffer_arg(),
            numbers / size,
            kind,
        );
    }
    (d_gate, d_up)
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::FloatDType;
    use burn_cubecl::CubeBackend;

    use super::*;
    use crate::cube::floats;
    use crate::swiglu::reference;
    use crate::testing::{assert_close, kinds, of_kind, on_device, wgpu};

    /// Against the reference, for lengths that are multiples of 4, of 2 and of nothing, gates that close and open
    /// altogether, and every kind of float.
    #[test]
    fn values_and_gradients_are_the_references() {
        let Some(device) = wgpu() else { return };
        for count in [1, 2, 7, 252, 257, 260, 70_001] {
            for ((dtype, moved), most) in kinds(&device).into_iter().flat_map(|kind| [(kind, 1.0), (kind, 200.0)]) {
                let noise = |seed| of_kind(on_device([1, 1, count], seed, most, &device), dtype);
                let [gate, up, dy] = [1, 2, 3].map(noise);
                let name = format!("{count} of {dtype:?}, ±{most}");
                let kind = floats([&gate, &up, &dy]).unwrap();
                let y = forward(gate.clone(), up.clone(), kind);
                let (d_gate, d_up) = backward(gate.clone(), up.clone(), dy.clone(), kind);
                let [gate, up, dy] = [gate, up, dy].map(|t| of_kind(t, FloatDType::F32));
                let want = reference::forward::<CubeBackend>(gate.clone(), up.clone());
                // An exponential and a quotient.
                assert_close(y, want, moved + 2e-6, 1e-3, &name);
                let (want_gate, want_up) = reference::backward::<CubeBackend>(gate, up, dy);
                assert_close(d_gate, want_gate, moved + 4e-6, 1e-3, &format!("gate's gradient of {name}"));
                assert_close(d_up, want_up, moved + 4e-6, 1e-3, &format!("up's gradient of {name}"));
            }
        }
    }
}
