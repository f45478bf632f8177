//! Losses of rows of logits, and their gradients, in burn's own operations.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::IndexingUpdateOp;

/// Softmax and cross-entropy of rows. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"))]
pub trait CrossEntropyOps: Backend {
    /// With p = softmax of each row of `logits`, `[rows, vocabulary]`: −log p(target), `[rows]`, and
    /// `scale · (p − onehot(target))`, which takes the place of the logits.
    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        cross_entropy::<Self>(logits, targets, scale)
    }
}

/// Losses and gradients of rows.
pub fn cross_entropy<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
    scale: f32,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let rows = logits.shape()[0];
    let targets = B::int_reshape(targets, [rows, 1].into());
    let log_p = B::log_softmax(logits, 1);
    let losses = B::float_reshape(B::float_neg(B::float_gather(1, log_p.clone(), targets.clone())), [rows].into());
    let p = B::float_exp(log_p);
    let device = p.device();
    let minus_one = B::float_full([rows, 1].into(), (-1.0_f32).into(), &device, p.dtype().into());
    let d_logits = B::float_scatter(1, p, targets, minus_one, IndexingUpdateOp::Add);
    (losses, B::float_mul_scalar(d_logits, scale.into()))
}
