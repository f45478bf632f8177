//! The gated feed-forward layer of a block: three linear layers and the activation between them as one operation, which keeps
//! less than its parts.

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

use crate::linear::{Layer, group, tensor_list};
use reference::FeedForwardOps;

/// `down(silu(gate x) · up x)`, added to `residual` if that is given.
///
/// The backward pass keeps what gate and up gave, and makes the values between again.
///
/// # Shapes
/// - `x`: `[batch, seq, hidden]`
/// - output, `residual`: `[batch, seq, out]`
pub fn feed_forward(x: Tensor<3>, gate: Layer, up: Layer, down: Layer, residual: Option<Tensor<3>>) -> Tensor<3> {
    let _span = span("linear, forward");
    let [batch, seq, _] = x.dims();
    let [out, _] = down.weight.dims();
    let rows = |t: Tensor<3>| {
        let [batch, seq, width] = t.dims();
        t.reshape([batch * seq, width])
    };
    let (x, residual) = (rows(x).into_dispatch(), tensor_list(residual.map(rows)));
    let y = <Dispatch as FeedForwardOps>::feed_forward(x, group(&[gate, up]), group(&[down]), residual);
    Tensor::<2>::from_dispatch(y).reshape([batch, seq, out])
}
