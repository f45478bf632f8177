//! Losses of rows of logits on the CPU: each row read twice and its gradient written over it.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape};

use super::reference::{self, CrossEntropyOps};
use crate::cpu::{each, exp, floats_mut, tensor, widest};

impl CrossEntropyOps for Flex {
    fn cross_entropy(
        mut logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [rows, vocabulary] = [0, 1].map(|side| logits.shape()[side]);
        let targets = targets.to_contiguous();
        let of_targets: Option<Vec<usize>> = match targets.dtype() {
            DType::I32 => targets.as_slice::<i32>().map(|t| t.iter().map(|t| *t as usize).collect()),
            DType::I64 => targets.as_slice::<i64>().map(|t| t.iter().map(|t| *t as usize).collect()),
            _ => None,
        };
        let (Some(of_targets), DType::F32) = (of_targets, logits.dtype()) else {
            return reference::cross_entropy::<Self>(logits, targets, scale);
        };
        let mut losses = vec![0.0; rows];
        if let Some(logits) = floats_mut(&mut logits).filter(|_| vocabulary > 0) {
            let parts = logits.chunks_mut(vocabulary).zip(&mut losses).zip(of_targets).collect();
            each(parts, |((row, loss), target)| {
                widest(
                    #[inline(always)]
                    || *loss = row_loss(row, target, scale),
                )
            });
        }
        (tensor(losses, Shape::from([rows])), logits)
    }
}

/// The loss of a row, whose gradient is left in its place. A target that is no place of the row has no probability.
#[inline(always)]
fn row_loss(row: &mut [f32], target: usize, scale: f32) -> f32 {
    // Kept in lanes so that they are made of vectors.
    let mut lanes = [f32::MIN; 16];
    let chunks = row.chunks_exact(16);
    let mut most = chunks.remainder().iter().copied().fold(f32::MIN, f32::max);
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    most = lanes.into_iter().fold(most, f32::max);
    let of_target = row.get(target).copied().unwrap_or(f32::NEG_INFINITY);
    let mut sums = [0.0_f32; 16];
    let mut chunks = row.chunks_exact_mut(16);
    for chunk in &mut chunks {
        for (sum, v) in sums.iter_mut().zip(chunk) {
            *v = exp(*v - most);
            *sum += *v;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for v in chunks.into_remainder() {
        *v = exp(*v - most);
        sum += *v;
    }
    let share = scale / sum;
    row.iter_mut().for_each(|v| *v *= share);
    if let Some(v) = row.get_mut(target) {
        *v -= scale;
    }
    most + sum.ln() - of_target
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::cpu::{assert_close, wave};

    /// Against the reference, for vocabularies of every remainder, small and large logits.
    #[test]
    fn losses_and_gradients_are_the_references() {
        for (rows, vocabulary) in [(1_usize, 1_usize), (3, 7), (5, 16), (4, 37), (2, 512)] {
            for most in [0.1, 40.0] {
                let logits = wave([rows, vocabulary], 0.3, most);
                let ids: Vec<i32> = (0..rows).map(|i| ((i * 5 + 2) % vocabulary) as i32).collect();
                let targets = burn_flex::FlexTensor::from_data(TensorData::new(ids, [rows]));
                let want = reference::cross_entropy::<Flex>(logits.clone(), targets.clone(), 0.25);
                let got = Flex::cross_entropy(logits, targets, 0.25);
                let name = format!("{rows} × {vocabulary}, ±{most}");
                // An exponential within 2 units in the last place, a logarithm and a sum.
                assert_close(&got.0, &want.0, 3e-6, &format!("loss of {name}"));
                assert_close(&got.1, &want.1, 3e-6, &format!("gradient of {name}"));
            }
        }
    }
}
