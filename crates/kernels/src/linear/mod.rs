//! The frozen linear layer, where most of a step's arithmetic is.

use burn::tensor::Tensor;

/// `x wᵀ`.
///
/// With an untracked `w` the backward pass costs one product, `dy w`, and keeps nothing.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`, `weight`: `[out, in]`
/// - output: `[batch, seq, out]`
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, seq, features] = x.dims();
    let out = weight.dims()[0];
    x.reshape([batch * seq, features]).matmul(weight.transpose()).reshape([batch, seq, out])
}
