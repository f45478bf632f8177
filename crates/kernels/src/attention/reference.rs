//! Attention in plain tensor code: the scores are materialised, one matrix of `seq × keys` a head.

use burn::tensor::{Bool, Tensor};

use crate::softmax;

/// Query heads that share a key head are stacked as rows, so that keys and values are never repeated.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, hidden: Option<Tensor<4, Bool>>) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let kv_heads = k.dims()[1];
    let rows = heads / kv_heads * seq;
    let q = q.reshape([batch, kv_heads, rows, head_dim]).mul_scalar((head_dim as f64).sqrt().recip());
    let mut scores = q.matmul(k.swap_dims(2, 3));
    if let Some(hidden) = hidden {
        let keys = scores.dims()[3];
        scores = scores.mask_fill(hidden.expand([batch, kv_heads, rows, keys]), f32::NEG_INFINITY);
    }
    softmax(scores).matmul(v).reshape([batch, heads, seq, head_dim])
}
