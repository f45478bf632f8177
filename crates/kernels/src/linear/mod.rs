//! The frozen linear layer, where most of a step's arithmetic is.

mod backward;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use stratune_runtime::span;

use reference::LinearOps;

/// `x wᵀ`.
///
/// With an untracked `w` the backward pass costs one product, `dy w`, and keeps nothing but `w`.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`, `weight`: `[out, in]`
/// - output: `[batch, seq, out]`
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let _span = span("linear, forward");
    let [batch, seq, features] = x.dims();
    let out = weight.dims()[0];
    let rows = x.reshape([batch * seq, features]);
    let y = <Dispatch as LinearOps>::linear_forward(rows.into_dispatch(), weight.into_dispatch());
    Tensor::<2>::from_dispatch(y).reshape([batch, seq, out])
}
