//! Sums of squares on the CPU.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::reference::{self, GradNormOps, PARTS};
use crate::cpu::{dot, each, floats, floats_mut, widest};

impl GradNormOps for Flex {
    fn write_sum_of_squares(mut sums: FloatTensor<Self>, x: FloatTensor<Self>, i: usize) -> FloatTensor<Self> {
        let x = x.to_contiguous();
        let Some(numbers) = floats(&x) else { return reference::write_sum_of_squares::<Self>(sums, x, i) };
        let part = numbers.len().div_ceil(PARTS).max(1 << 12);
        if let Some(sums) = floats_mut(&mut sums) {
            let parts = sums[i * PARTS..].iter_mut().zip(numbers.chunks(part)).collect();
            each(parts, |(sum, x): (&mut f32, &[f32])| {
                widest(
                    #[inline(always)]
                    || *sum = dot(x, x),
                )
            });
        }
        sums
    }
}
