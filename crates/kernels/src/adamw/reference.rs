//! The step in burn's own operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use super::AdamwStep;

/// One step of AdamW. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"))]
pub trait AdamwOps: Backend {
    /// Parameter, first and second moment after the step.
    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamwStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        adamw::<Self>(value, gradient, factor, [first, second], step)
    }
}

/// The step, as [`adamw`](super::adamw) says it.
pub fn adamw<B: Backend>(
    value: FloatTensor<B>,
    gradient: FloatTensor<B>,
    factor: FloatTensor<B>,
    [first, second]: [FloatTensor<B>; 2],
    step: AdamwStep,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let times = |x: FloatTensor<B>, by: f32| B::float_mul_scalar(x, by.into());
    let gradient = B::float_mul(gradient, factor);
    let square = B::float_mul(gradient.clone(), gradient.clone());
    let first = B::float_add(times(first, step.beta_1), times(gradient, 1.0 - step.beta_1));
    let second = B::float_add(times(second, step.beta_2), times(square, 1.0 - step.beta_2));
    let [of_first, of_second] = step.corrections();
    let root = B::float_add_scalar(B::float_sqrt(times(second.clone(), of_second)), step.epsilon.into());
    let moved = B::float_div(times(first.clone(), of_first), root);
    (B::float_sub(times(value, step.decay_factor()), moved), first, second)
}
