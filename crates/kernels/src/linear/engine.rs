//! The layer's products by burn's own kernels, which a device has that compiles no WGSL: tensor cores on CUDA.

use burn::backend::ops::FloatTensorOps;
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;

use super::reference;
use super::size::{Orientation, Size};
use super::weight::Weight;
use crate::compute::{Compute, Half};
use crate::quantized;
use crate::shader::{countable, suit};

/// `x wᵀ` or `dy w`.
pub fn product(lhs: CubeTensor, weight: Weight<CubeBackend>, orientation: Orientation, compute: Compute) -> CubeTensor {
    let size = Size::of(lhs.shape().as_slice(), &weight.sides(), orientation);
    let suits = size.is_some_and(Size::suits_half);
    // Where shaders work, this is for what is too odd for them.
    match compute.half(orientation == Orientation::Nn).filter(|_| suits && !suit([&lhs])) {
        Some(half) => in_half(lhs, weight, orientation, half),
        None => whole(lhs, weight, orientation),
    }
}

fn whole(lhs: CubeTensor, weight: Weight<CubeBackend>, orientation: Orientation) -> CubeTensor {
    match orientation {
        Orientation::Nt => reference::linear_forward::<CubeBackend>(lhs, weight),
        Orientation::Nn | Orientation::Tn => reference::linear_dx::<CubeBackend>(lhs, weight),
    }
}

/// Of numbers of this kind, added up in f32.
fn in_half(lhs: CubeTensor, weight: Weight<CubeBackend>, orientation: Orientation, half: Half) -> CubeTensor {
    let Half { dtype: kind, loss_scale } = half;
    let times = |t: CubeTensor, by: f32| if by == 1.0 { t } else { CubeBackend::float_mul_scalar(t, by.into()) };
    let rhs = match weight.clone() {
        Weight::Quantized { words, format, columns } if countable(&words) => {
            quantized::cube::dequantize_weight(words, format, columns, kind)
        }
        weight => CubeBackend::float_cast(weight.floats(), kind),
    };
    let rhs = if orientation == Orientation::Nt { CubeBackend::float_transpose(rhs) } else { rhs };
    let left = CubeBackend::float_cast(times(lhs.clone(), loss_scale), kind);
    match matmul(left, rhs, None, MatmulStrategy::default(), DType::F32) {
        Ok(made) => times(made, 1.0 / loss_scale),
        // Burn has no kernel for these.
        Err(_) => whole(lhs, weight, orientation),
    }
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{FloatDType, Tensor};

    use super::*;
    use crate::testing::{assert_close, kinds, on_device, wgpu};
    use crate::{Quantized, QuantizedDtype};

    /// Both products, by floats and quantized, as far from those of f32 as rounding to the kind makes them; a gradient
    /// that is too small for f16 too.
    #[test]
    fn half_precision_is_multiplied_and_f32_added_up() {
        let Some(device) = wgpu() else { return };
        for (kind, moved) in kinds(&device).into_iter().filter(|(kind, _)| *kind != FloatDType::F32) {
            for (rows, inner, out) in [(37, 40, 36), (131, 72, 68)] {
                for orientation in [Orientation::Nt, Orientation::Nn] {
                    let (depth, small) = if orientation == Orientation::Nt { (inner, 1.0) } else { (out, 1e-6) };
                    let half = Half { dtype: kind, loss_scale: if small < 1.0 { 65_536.0 } else { 1.0 } };
                    let lhs = on_device([rows, depth], 1, small, &device);
                    let floats = on_device([out, inner], 2, 1.0, &device);
                    let values = crate::testing::numbers(floats.clone());
                    let quantized = Quantized::new(&values, [out, inner], QuantizedDtype::Int8, &device);
                    let (packing, columns) = (quantized.format(), inner);
                    let words = quantized.words().try_into_primitive::<CubeBackend>().unwrap();
                    for weight in
                        [Weight::Floats(floats.clone()), Weight::Quantized { words, format: packing, columns }]
                    {
                        let want = whole(lhs.clone(), weight.clone(), orientation);
                        let got = in_half(lhs.clone(), weight.clone(), orientation, half);
                        assert_eq!(got.dtype(), DType::F32);
                        let by = if matches!(weight, Weight::Floats(_)) { "floats" } else { "words" };
                        let what = format!("{kind:?} {orientation:?} {rows}×{inner}×{out} by {by}");
                        let off = CubeBackend::float_sub(got.clone(), want.clone());
                        let off = Tensor::<2>::from_primitive::<CubeBackend>(off).abs().max().into_scalar::<f32>();
                        assert!(off > 1e-6 * small, "{what}: this is no half precision");
                        assert_close(got, want, 4.0 * moved, 0.0, &what);
                    }
                }
            }
        }
    }
}
