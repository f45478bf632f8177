//! Activation functions of feed-forward layers.

mod backward;
#[cfg(feature = "cpu")]
mod flex;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use stratune_runtime::span;

pub(crate) use reference::bounded_tanh;

use reference::ActivationOps;

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x σ(x)`.
    Silu,
    /// `x Φ(x)`, with the normal distribution function (Hendrycks and Gimpel 2016).
    Gelu,
    /// The same approximated: `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²`.
    Relu2,
}

impl Activation {
    /// As transformers names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_pytorch_tanh",
            Self::Relu => "relu",
            Self::Relu2 => "relu2",
        }
    }
}

/// The activation of `x`, elementwise. The backward pass keeps `x` alone.
///
/// # Shapes
/// - `x`, output: `[batch, seq, intermediate]`
pub fn activation(x: Tensor<3>, of: Activation) -> Tensor<3> {
    let _span = span("activation, forward");
    Tensor::from_dispatch(<Dispatch as ActivationOps>::activation_forward(x.into_dispatch(), of))
}

#[cfg(all(test, feature = "cpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    const ALL: [Activation; 5] =
        [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Relu2];

    /// Values of PyTorch's `silu`, `gelu`, `gelu(approximate="tanh")`, `relu` and transformers' `relu2` at -1.5, 0.5 and 2.
    #[test]
    fn values_are_pytorchs() {
        let x = Tensor::<3>::from_floats([[[-1.5, 0.5, 2.0]]], &Device::flex());
        for (of, want) in ALL.into_iter().zip([
            [-0.273_638_79, 0.311_229_65, 1.761_594_2],
            [-0.100_210_8, 0.345_731_23, 1.954_499_8],
            [-0.100_428_35, 0.345_714, 1.954_597_7],
            [0.0, 0.5, 2.0],
            [0.0, 0.25, 4.0],
        ]) {
            let got: Vec<f32> = activation(x.clone(), of).into_data().iter::<f32>().collect();
            // An exponential and a quotient in f32.
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{of:?}: {got:?} for {want:?}");
        }
    }

    /// Far out nothing overflows: what passes, passes whole.
    #[test]
    fn large_inputs_stay_numbers() {
        let x = Tensor::<3>::from_floats([[[-3e4, -90.0, 90.0, 3e4]]], &Device::flex());
        for of in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
            let got: Vec<f32> = activation(x.clone(), of).into_data().iter::<f32>().collect();
            // Of −90 silu leaves what f32 can just hold.
            assert!(got[0] == 0.0 && got[1].abs() < 1e-30 && got[2..] == [90.0, 3e4], "{of:?}: {got:?}");
        }
    }

    /// Against the difference quotient, where the functions have a derivative.
    #[test]
    fn gradients_are_finite_differences() {
        let device = Device::flex();
        let points: Vec<f32> = (0..40).map(|i| (i as f32 - 19.5) * 0.21).collect();
        let at = |by: f32| {
            let moved: Vec<f32> = points.iter().map(|x| x + by).collect();
            Tensor::<3>::from_data(TensorData::new(moved, [1, 1, points.len()]), &device)
        };
        for of in ALL {
            let x = at(0.0).autodiff().require_grad();
            let tape = activation(x.clone(), of).sum().backward();
            let got: Vec<f32> = x.grad(&tape).unwrap().inner().into_data().iter::<f32>().collect();
            let step = 1e-2;
            let slope = (activation(at(step), of) - activation(at(-step), of)).div_scalar(2.0 * step);
            let want: Vec<f32> = slope.into_data().iter::<f32>().collect();
            // The third derivative times step²/6, and the rounding of a difference.
            assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 2e-4), "{of:?}: {got:?} for {want:?}");
        }
    }
}
