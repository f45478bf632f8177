//! What a query cannot see has no part in anything: keys before every window are no numbers here.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor};

use crate::testing::{near, tensor, values_of};
use crate::{AttentionMask, Scores, attention};

/// The output and the gradients of q, k and v of queries after `past` keys, those before the first window all `fill`.
fn passed(device: &Device, seq: usize, past: usize, window: usize, scores: Scores, fill: f32) -> Vec<Vec<f32>> {
    let (heads, kv_heads, head_dim) = (4, 2, 8);
    let unseen = (past + 1).saturating_sub(window);
    let of_keys = |seed| {
        let seen = tensor([1, kv_heads, past + seq - unseen, head_dim], seed, device);
        match unseen {
            0 => seen,
            _ => Tensor::cat(vec![Tensor::full([1, kv_heads, unseen, head_dim], fill, device), seen], 2),
        }
    };
    let q: Tensor<4> = tensor([1, heads, seq, head_dim], 1, device);
    let operands = [q, of_keys(2), of_keys(3)].map(|t| t.autodiff().require_grad());
    let mask = AttentionMask::causal(seq, device).sliding_window(window, past);
    let [q, k, v] = operands.clone();
    let y = attention(q, k, v, &mask, scores);
    let dy = tensor(y.dims(), 4, device);
    let tape = (y.clone() * Tensor::from_inner(dy)).sum().backward();
    let gradients = operands.map(|t| values_of(t.grad(&tape).unwrap()));
    // Nobody gives anything to what nobody sees.
    for of_keys in &gradients[1..] {
        for head in of_keys.chunks((past + seq) * head_dim) {
            assert!(head[..unseen * head_dim].iter().all(|g| *g == 0.0), "{seq} after {past} in {window}");
        }
    }
    [vec![values_of(y)], gradients.to_vec()].concat()
}

fn what_is_outside_of_windows_is_not_read(device: &Device) {
    let capped = Scores { scale: 0.5, softcap: Some(2.0) };
    for (seq, past, window) in [(70, 0, 1000), (1, 90, 30), (70, 90, 30), (300, 400, 64)] {
        for scores in [Scores::of(8), capped] {
            let what = format!("{seq} after {past} in {window}, {scores:?}");
            let [got, want] = [f32::NAN, 0.0].map(|fill| passed(device, seq, past, window, scores, fill));
            for (got, want) in got.iter().zip(&want) {
                near(got, want, &what);
            }
        }
    }
}

#[cfg(feature = "cpu")]
#[test]
fn what_is_outside_of_windows_is_not_read_on_the_cpu() {
    what_is_outside_of_windows_is_not_read(&Device::flex());
}
