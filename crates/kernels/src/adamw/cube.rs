//! The step in CubeCL, a unit for each vector of numbers.

use burn::backend::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::AdamwStep;
use crate::cube::{at_once, empty, units_for};

#[cube(launch_unchecked)]
fn stepped<F: Float, N: Size>(
    value: &[Vector<F, N>],
    gradient: &[Vector<F, N>],
    factor: &[F],
    stepped: &mut [Vector<F, N>],
    first: &mut [Vector<F, N>],
    second: &mut [Vector<F, N>],
    vectors: usize,
    beta_1: f32,
    beta_2: f32,
    epsilon: f32,
    decay_factor: f32,
    of_first: f32,
    of_second: f32,
    #[define(F)] _kind: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= vectors {
        terminate!();
    }
    let g = Vector::<f32, N>::cast_from(gradient[at]) * Vector::new(f32::cast_from(factor[0]));
    let m = Vector::<f32, N>::cast_from(first[at]) * Vector::new(beta_1) + g * Vector::new(1.0 - beta_1);
    let v = Vector::<f32, N>::cast_from(second[at]) * Vector::new(beta_2) + g * g * Vector::new(1.0 - beta_2);
    first[at] = Vector::cast_from(m);
    second[at] = Vector::cast_from(v);
    let root = (v * Vector::new(of_second)).sqrt() + Vector::new(epsilon);
    let value = Vector::<f32, N>::cast_from(value[at]);
    stepped[at] = Vector::cast_from(value * Vector::new(decay_factor) - m * Vector::new(of_first) / root);
}

/// The parameter after the step, of floats of this kind. The moments, contiguous and nobody else's, move in place.
pub fn adamw(
    value: CubeTensor,
    gradient: CubeTensor,
    factor: CubeTensor,
    [first, second]: [&CubeTensor; 2],
    step: AdamwStep,
    kind: ElemType,
) -> CubeTensor {
    let [value, gradient, factor] = [value, gradient, factor].map(into_contiguous);
    let after = empty(&value);
    let numbers = value.shape().num_elements();
    let size = at_once([numbers]);
    let (count, dim) = units_for(numbers / size, &value);
    let [of_first, of_second] = step.corrections();
    // SAFETY: all but the factor, which is one number, have `numbers` numbers, of which no unit touches others than its own.
    unsafe {
        stepped::launch_unchecked(
            &after.client,
            count,
            dim,
            size,
            value.into_buffer_arg(),
            gradient.into_buffer_arg(),
            factor.into_buffer_arg(),
            after.clone().into_buffer_arg(),
            first.clone().into_buffer_arg(),
            second.clone().into_buffer_arg(),
            numbers / size,
            step.beta_1,
            step.beta_2,
            step.epsilon,
            step.decay_factor(),
            of_first,
            of_second,
            kind,
        );
    }
    after
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::FloatDType;
    use burn_cubecl::CubeBackend;

    use super::super::launch::own;
    use super::super::reference;
    use super::*;
    use crate::cube::floats;
    use crate::testing::{assert_close, kinds, numbers, of_kind, of_values, on_device, wgpu};

    /// Against the reference, for lengths of every remainder and every kind of float.
    #[test]
    fn steps_as_the_reference() {
        let Some(device) = wgpu() else { return };
        let step =
            AdamwStep { rate: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.1, step_count: 3 };
        let counts = [1, 62, 64, 1000, 70_001];
        for ((dtype, rounded), count) in kinds(&device).into_iter().flat_map(|kind| counts.map(|count| (kind, count))) {
            let [value, gradient, first] = [1, 2, 3].map(|seed| on_device([count], seed, 1.0, &device));
            // Second moments are not negative.
            let second =
                of_values(numbers(on_device([count], 4, 0.1, &device)).iter().map(|v| v.abs()).collect(), &device);
            let factor = of_values(vec![0.25], &device);
            let [value, gradient, factor, first, second] =
                [value, gradient, factor, first, second].map(|t| of_kind(t, dtype));
            let kind = floats([&value, &gradient, &factor, &first, &second]).unwrap();
            let moments = [first.clone(), second.clone()].map(own);
            let stepped = adamw(value.clone(), gradient.clone(), factor.clone(), moments.each_ref(), step, kind);
            let [got_first, got_second] = moments;
            let [value, gradient, factor, first, second] =
                [value, gradient, factor, first, second].map(|t| of_kind(t, FloatDType::F32));
            let want = reference::adamw::<CubeBackend>(value, gradient, factor, [first, second], step);
            let got = [(stepped, want.0, "value"), (got_first, want.1, "first"), (got_second, want.2, "second")];
            for (got, want, of) in got {
                // A few roundings of f32.
                assert_close(got, want, rounded + 1e-6, 1e-3, &format!("{of} of {count} of {dtype:?}"));
            }
        }
    }
}
