//! The step by `shaders/adamw.wgsl`, or by `cube.rs`: one dispatch for parameters that lie side by side.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::reference::{self, AdamwOps};
use super::{AdamwStep, cube};
use crate::cube::floats;
use crate::shader::{Bound, INVOCATIONS, Shader, empty, grid, suit};

impl AdamwOps for CubeBackend {
    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamwStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let all = [&value, &gradient, &factor, &first, &second];
        let (suits, Some(kind)) = (suit(all), floats(all)) else {
            return reference::adamw::<Self>(value, gradient, factor, [first, second], step);
        };
        let [first, second] = [first, second].map(own);
        if !suits {
            let moved = cube::adamw(value, gradient, factor, [&first, &second], step, kind);
            return (moved, first, second);
        }
        let [value, gradient, factor] = [value, gradient, factor].map(into_contiguous);
        let count = value.shape().num_elements() as u32;
        let [of_first, of_second] = step.corrections();
        let numbers =
            [step.beta_1, step.beta_2, step.epsilon, step.decay_factor(), of_first, of_second].map(f32::to_bits);
        let moved = empty(&value, value.shape());
        Shader::new("adamw", include_str!("../../../../shaders/adamw.wgsl")).launch(
            &[
                Bound::In(&value),
                Bound::In(&gradient),
                Bound::In(&factor),
                Bound::Out(&moved),
                Bound::InOut(&first),
                Bound::InOut(&second),
            ],
            &[&[count, 0], numbers.as_slice()].concat(),
            grid(count.div_ceil(INVOCATIONS)),
        );
        (moved, first, second)
    }
}

/// Contiguous, and in memory that nobody else reads.
pub fn own(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    if tensor.handle.can_mut() { tensor } else { tensor.copy() }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers, of_values, on_device, wgpu};

    /// Against the reference, while others hold the moments and must not see them move.
    #[test]
    fn steps_as_the_reference() {
        let Some(device) = wgpu() else { return };
        let step =
            AdamwStep { rate: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.1, step_count: 3 };
        for count in [1, 63, 64, 1000, 70_001] {
            let [value, gradient, first] = [1, 2, 3].map(|seed| on_device([count], seed, 1.0, &device));
            // Second moments are not negative.
            let second =
                of_values(numbers(on_device([count], 4, 0.1, &device)).iter().map(|v| v.abs()).collect(), &device);
            let factor = of_values(vec![0.25], &device);
            let held = [first.clone(), second.clone()];
            let before = held.clone().map(numbers);
            let got = CubeBackend::adamw(
                value.clone(),
                gradient.clone(),
                factor.clone(),
                first.clone(),
                second.clone(),
                step,
            );
            let want = reference::adamw::<CubeBackend>(value, gradient, factor, [first, second], step);
            for (got, want, of) in [(got.0, want.0, "value"), (got.1, want.1, "first"), (got.2, want.2, "second")] {
                // A few roundings of f32.
                assert_close(got, want, 1e-6, 1e-3, &format!("{of} of {count}"));
            }
            assert_eq!(held.map(numbers), before);
        }
    }
}
