//! The step on the CPU: every number read and written once, in place where nobody else holds it.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::AdamwStep;
use super::reference::{self, AdamwOps};
use crate::cpu::{each, floats, floats_mut, widest};

/// Numbers that a part has.
const PART: usize = 1 << 14;

impl AdamwOps for Flex {
    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamwStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [mut value, gradient, factor, mut first, mut second] =
            [value, gradient, factor, first, second].map(|t| t.to_contiguous());
        let ready = [&value, &first, &second].iter().all(|t| floats(t).is_some());
        let (Some(g), Some(&[f]), true) = (floats(&gradient), floats(&factor), ready) else {
            return reference::adamw::<Self>(value, gradient, factor, [first, second], step);
        };
        if let (Some(value), Some(first), Some(second)) =
            (floats_mut(&mut value), floats_mut(&mut first), floats_mut(&mut second))
        {
            let parts = value.chunks_mut(PART).zip(first.chunks_mut(PART)).zip(second.chunks_mut(PART));
            let parts = parts.zip(g.chunks(PART)).map(|(((x, m), v), g)| (x, [m, v], g)).collect();
            each(parts, |(x, moments, g)| {
                widest(
                    #[inline(always)]
                    || move_part(x, moments, g, f, step),
                )
            });
        }
        (value, first, second)
    }
}

#[inline(always)]
fn move_part(value: &mut [f32], [first, second]: [&mut [f32]; 2], gradient: &[f32], factor: f32, step: AdamwStep) {
    let (decay_factor, [of_first, of_second]) = (step.decay_factor(), step.corrections());
    let (new_1, new_2) = (1.0 - step.beta_1, 1.0 - step.beta_2);
    for (((x, m), v), g) in value.iter_mut().zip(first).zip(second).zip(gradient) {
        let g = g * factor;
        *m = step.beta_1 * *m + new_1 * g;
        *v = step.beta_2 * *v + new_2 * g * g;
        *x = decay_factor * *x - of_first * *m / ((of_second * *v).sqrt() + step.epsilon);
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::ops::FloatTensorOps;

    use super::*;
    use crate::cpu::{assert_close, wave};

    /// Against the reference, over parts and their ends, while others hold the parameter and must not see it move.
    #[test]
    fn steps_as_the_reference_and_in_its_own_memory() {
        let step =
            AdamwStep { rate: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.1, step_count: 3 };
        for count in [1, 7, PART, 2 * PART + 5] {
            let [value, gradient, first] = [0.1, 0.7, 1.9].map(|seed| wave([count], seed, 1.0));
            // Second moments are not negative.
            let second = Flex::float_abs(wave([count], 2.5, 0.1));
            let factor = wave([1], 0.3, 0.5);
            let held = [value.clone(), first.clone(), second.clone()];
            let before = held.clone().map(|t| floats(&t).map(<[f32]>::to_vec));
            let got = Flex::adamw(value.clone(), gradient.clone(), factor.clone(), first.clone(), second.clone(), step);
            let want = reference::adamw::<Flex>(value, gradient, factor, [first, second], step);
            for (got, want, of) in [(got.0, want.0, "value"), (got.1, want.1, "first"), (got.2, want.2, "second")] {
                // A few roundings of f32.
                assert_close(&got, &want, 1e-6, &format!("{of} of {count}"));
            }
            assert_eq!(held.map(|t| floats(&t).map(<[f32]>::to_vec)), before);
        }
    }
}
