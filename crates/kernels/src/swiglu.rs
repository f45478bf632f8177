//! The gated activation of the feed-forward layer (Shazeer 2020, eq. 6).

use burn::tensor::{Tensor, activation::silu};

/// `silu(gate) · up`, elementwise.
///
/// # Shapes
/// - `gate`, `up`, output: `[batch, seq, intermediate]`
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    silu(gate) * up
}
