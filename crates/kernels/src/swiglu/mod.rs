//! The gated activation of the feed-forward layer (Shazeer 2020, eq. 6).

mod backward;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use stratune_runtime::span;

pub(crate) use reference::SwigluOps;

/// `silu(gate) · up`, elementwise.
///
/// # Shapes
/// - `gate`, `up`, output: `[batch, seq, intermediate]`
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    let _span = span("gated activation, forward");
    Tensor::from_dispatch(<Dispatch as SwigluOps>::swiglu_forward(gate.into_dispatch(), up.into_dispatch()))
}
