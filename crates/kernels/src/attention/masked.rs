//! Attention in which what a query sees is said key by key: of encoders, and of decoders over what an encoder gives.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use stratune_runtime::span;

/// `softmax(scale · q kᵀ + mask) v`: in burn's own operations, so that a mask that is learned, such as a relative bias, has
/// its gradient. All scores are there at once, and kept for the backward pass: texts of encoders are short.
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`
/// - `k`, `v`: `[batch, heads, keys, head_dim]`
/// - `mask`: `[batch or 1, heads or 1, queries or 1, keys]`: what is added to the scores, so little where a query does not see
///   a key that its share is 0
/// - output: `[batch, heads, queries, head_dim]`
pub fn masked_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Tensor<4>, scale: f32) -> Tensor<4> {
    let _span = span("attention, forward");
    let scores = q.mul_scalar(scale).matmul(k.swap_dims(2, 3));
    softmax(scores + mask, 3).matmul(v)
}

/// The mask of texts that share rows: each token sees those of its own text, before it and behind it.
///
/// # Shapes
/// - `starts`: `[batch, seq]`: the position where the text of each token begins, as a number
/// - output: `[batch, 1, seq, seq]`
pub fn mask_between_texts(starts: Tensor<2>) -> Tensor<4> {
    let queries = starts.clone().unsqueeze_dims::<4>(&[1, 3]);
    let keys = starts.unsqueeze_dims::<4>(&[1, 2]);
    // Whole numbers: their difference is at least 1 where they differ.
    (queries - keys).abs().clamp_max(1.0).mul_scalar(-1e30)
}

#[cfg(all(test, feature = "cpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::{AttentionMask, Scores, attention};

    fn wave(shape: [usize; 4], step: f32) -> Tensor<4> {
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|i: usize| ((i as f32 + 1.0) * step).sin()).collect();
        Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
    }

    fn read<const D: usize>(t: Tensor<D>) -> Vec<f32> {
        t.into_data().iter::<f32>().collect()
    }

    /// With the mask of what is later it is causal attention: 1e-6, sums of a few numbers around 1 in another order.
    #[test]
    fn with_a_causal_mask_it_is_causal_attention() {
        let [q, k, v] = [0.7, 1.1, 1.7].map(|step| wave([2, 3, 5, 4], step));
        let hidden: Vec<f32> = (0..25).map(|i| if i % 5 > i / 5 { -1e30 } else { 0.0 }).collect();
        let mask = Tensor::from_data(TensorData::new(hidden, [1, 1, 5, 5]), &Device::flex());
        let scores = Scores::of(4);
        let got = read(masked_attention(q.clone(), k.clone(), v.clone(), mask, scores.scale));
        let want = read(attention(q, k, v, &AttentionMask::causal(5, &Device::flex()), scores));
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {want:?}");
    }

    /// Two texts in a row and one token of padding give what each gives by itself.
    #[test]
    fn texts_that_share_a_row_do_not_see_each_other() {
        let [q, k, v] = [0.7, 1.1, 1.7].map(|step| wave([1, 2, 6, 4], step));
        let starts =
            Tensor::from_data(TensorData::new(vec![0.0_f32, 0.0, 2.0, 2.0, 2.0, 5.0], [1, 6]), &Device::flex());
        let together = masked_attention(q.clone(), k.clone(), v.clone(), mask_between_texts(starts), 0.5);
        for (from, length) in [(0, 2), (2, 3), (5, 1)] {
            let part = |t: &Tensor<4>| t.clone().narrow(2, from, length);
            let none = Tensor::zeros([1, 1, 1, length], &Device::flex());
            let alone = read(masked_attention(part(&q), part(&k), part(&v), none, 0.5));
            let got = read(part(&together));
            assert!(got.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {alone:?}");
        }
    }
}
