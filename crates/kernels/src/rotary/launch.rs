//! Turning pairs by `shaders/rotary.wgsl`, forth and back: heads are read where they lie and written side by side.
//! Where it cannot be taken, by `cube.rs`.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::cube;
use super::reference::{self, RotaryOps};
use crate::cube::floats;
use crate::shader::{Bound, INVOCATIONS, Shader, grid, room, strides, suit};

impl RotaryOps for CubeBackend {
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        match floats([&x, &cos, &sin]) {
            Some(_) if suit([&x, &cos, &sin]) => turned(x, cos, sin, 1.0),
            Some(kind) => cube::turned(x, cos, sin, 1.0, kind),
            None => reference::rotate::<Self>(x, cos, sin),
        }
    }

    fn rotate_back(dy: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        match floats([&dy, &cos, &sin]) {
            Some(_) if suit([&dy, &cos, &sin]) => turned(dy, cos, sin, -1.0),
            Some(kind) => cube::turned(dy, cos, sin, -1.0, kind),
            None => reference::rotate::<Self>(dy, cos, Self::float_neg(sin)),
        }
    }
}

fn turned(x: CubeTensor, cos: CubeTensor, sin: CubeTensor, sign: f32) -> CubeTensor {
    let [cos, sin] = [cos, sin].map(into_contiguous);
    let (x, strides) = strides(x);
    let [batch, heads, seq, head_dim] = [0, 1, 2, 3].map(|side| x.shape()[side]);
    let y = room(&x, [batch, seq, heads, head_dim]);
    let half = (head_dim / 2) as u32;
    let fours = strides.iter().chain([&half]).all(|numbers| numbers.is_multiple_of(4));
    let (part, count) = if fours { ("vec4<f32>", 4) } else { ("f32", 1) };
    let pairs = (x.shape().num_elements() / 2) as u32 / count;
    let each_row = u32::from(cos.shape()[0] > 1);
    let size = [pairs, heads as u32, seq as u32, half / count];
    let [row, head, position] = strides.map(|stride| stride / count);
    Shader::new("rotary", include_str!("../../../../shaders/rotary.wgsl")).with("part", part).launch(
        &[Bound::In(&x), Bound::In(&cos), Bound::In(&sin), Bound::Out(&y)],
        &[size, [row, head, position, each_row], [sign.to_bits(), 0, 0, 0]].concat(),
        grid(pairs.div_ceil(INVOCATIONS)),
    );
    CubeBackend::float_swap_dims(y, 1, 2)
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers, of_values, on_device, wgpu};

    /// Against the reference, for numbers in order and for heads that are a view of them, with angles for all rows of the
    /// batch or for each; and back again.
    #[test]
    fn turned_as_the_reference_and_back() {
        let Some(device) = wgpu() else { return };
        for [batch, heads, seq, head_dim] in [[1, 1, 1, 2], [2, 3, 5, 8], [3, 4, 17, 10], [1, 9, 65, 64]] {
            for rows in [1, batch] {
                let angles = numbers(on_device([rows, 1, seq, head_dim / 2], 1, 3.0, &device));
                let table = |f: fn(f32) -> f32| {
                    let values = of_values(angles.iter().map(|a| f(*a)).collect(), &device);
                    CubeBackend::float_reshape(values, [rows, 1, seq, head_dim / 2].into())
                };
                let (cos, sin) = (table(f32::cos), table(f32::sin));
                let in_order = on_device([batch, heads, seq, head_dim], 2, 2.0, &device);
                let view =
                    CubeBackend::float_swap_dims(on_device([batch, seq, heads, head_dim], 3, 2.0, &device), 1, 2);
                for x in [in_order, view] {
                    let y = CubeBackend::rotate(x.clone(), cos.clone(), sin.clone());
                    let want = reference::rotate::<CubeBackend>(x.clone(), cos.clone(), sin.clone());
                    assert_close(y.clone(), want, 1e-6, 1.0, "turned");
                    let back = CubeBackend::rotate_back(y, cos.clone(), sin.clone());
                    assert_close(back, x, 1e-6, 1.0, "and back");
                }
            }
        }
    }
}
