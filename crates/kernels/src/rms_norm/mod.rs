//! Root-mean-square normalisation (Zhang and Sennrich 2019, eq. 4).

mod backward;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use stratune_runtime::span;

pub(crate) use reference::RmsNormOps;

/// `x / sqrt(mean(x²) + eps) · weight`, over the last dimension.
///
/// # Shapes
/// - `x`: `[batch, seq, hidden]`, `weight`: `[hidden]`
/// - output: `[batch, seq, hidden]`
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    let _span = span("norm, forward");
    Tensor::from_dispatch(<Dispatch as RmsNormOps>::rms_norm_forward(x.into_dispatch(), weight.into_dispatch(), eps))
}

/// `x` as it is, for what goes past the norm, and [its norm](rms_norm): together, because their gradients are added up
/// where the norm's is made.
pub fn rms_norm_residual(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> (Tensor<3>, Tensor<3>) {
    let _span = span("norm, forward");
    let outputs = <Dispatch as RmsNormOps>::rms_norm_residual(x.into_dispatch(), weight.into_dispatch(), eps);
    let mut outputs = outputs.0.into_iter().map(Tensor::from_dispatch);
    #[allow(clippy::expect_used)] // It has two.
    let mut next = || outputs.next().expect("two outputs");
    (next(), next())
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_row_has_unit_root_mean_square_times_weight() {
        let device = Device::flex();
        let x = Tensor::<3>::from_floats([[[3.0, -4.0, 0.0, 5.0], [1e-3, 1e-3, 1e-3, 1e-3]]], &device);
        let weight = Tensor::<1>::from_floats([1.0, 2.0, 1.0, 1.0], &device);
        let y: Vec<f32> = rms_norm(x, weight, 1e-12).into_data().iter::<f32>().collect();
        let rms = 12.5_f32.sqrt();
        for (got, want) in y.iter().zip([3.0 / rms, -8.0 / rms, 0.0, 5.0 / rms, 1.0, 2.0, 1.0, 1.0]) {
            // f32 rounding of a root and a reciprocal.
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
    }
}
