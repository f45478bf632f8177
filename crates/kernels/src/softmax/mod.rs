//! The softmax over the last dimension.
//!
//! An operation of its own because the engine's differs: with autodiff it is composed of steps, without it is one, and
//! the last digits part. Here both ways are the same function, and the backward pass keeps the output alone.

mod backward;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use reference::SoftmaxOps;

/// `exp(x) / Σ exp(x)` over the last dimension, safe for large values and for `-∞`.
///
/// # Shapes
/// - `x`, output: `[a, b, c, d]`
pub fn softmax(x: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as SoftmaxOps>::softmax_forward(x.into_dispatch()))
}

#[cfg(all(test, feature = "cpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    const X: [f32; 6] = [1.0, 2.5, -0.5, 300.0, 299.0, f32::NEG_INFINITY];

    fn x() -> Tensor<4> {
        Tensor::<1>::from_floats(X, &Device::flex()).reshape([1, 2, 1, 3])
    }

    fn values(t: Tensor<4>) -> Vec<f32> {
        t.into_data().iter::<f32>().collect()
    }

    #[test]
    fn tracked_and_untracked_are_the_same_function() {
        let plain = values(softmax(x()));
        assert_eq!(values(softmax(x().autodiff().require_grad()).inner()), plain);
        let row = |values: &[f32]| values.iter().sum::<f32>();
        assert!((row(&plain[..3]) - 1.0).abs() < 1e-6 && (row(&plain[3..]) - 1.0).abs() < 1e-6);
        assert_eq!(plain[5], 0.0);
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let weights = Tensor::<1>::from_floats([0.3, -1.0, 2.0, 1.0, -2.0, 0.7], &Device::flex()).reshape([1, 2, 1, 3]);
        let tracked = x().autodiff().require_grad();
        let mut tape = (softmax(tracked.clone()) * weights.clone()).sum().backward();
        let gradient = values(tracked.grad_remove(&mut tape).unwrap().inner());
        let loss = |x: Tensor<4>| (softmax(x) * weights.clone()).sum().into_scalar::<f32>();
        // Central differences of step 1e-2 in f32: 1e-3 of rounding and third order.
        for i in 0..5 {
            let nudged = |h: f32| {
                let mut there = X;
                there[i] += h;
                Tensor::<1>::from_floats(there, &Device::flex()).reshape([1, 2, 1, 3])
            };
            let slope = (loss(nudged(1e-2)) - loss(nudged(-1e-2))) / 2e-2;
            assert!((slope - gradient[i]).abs() < 1e-3, "{i}: {slope} {}", gradient[i]);
        }
        assert_eq!(gradient[5], 0.0, "what is masked gets no gradient, and no NaN");
    }
}
