//! The gated activation and its gradients, in burn's own operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

/// `silu(gate) · up`, elementwise. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait SwigluOps: Backend {
    /// `gate σ(gate) up`.
    fn swiglu_forward(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        forward::<Self>(gate, up)
    }

    /// The gradients with respect to gate and up: `dy up σ (1 + gate (1 − σ))` and `dy gate σ`.
    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        backward::<Self>(gate, up, dy)
    }
}

/// `gate σ(gate) up`.
pub fn forward<B: Backend>(gate: FloatTensor<B>, up: FloatTensor<B>) -> FloatTensor<B> {
    let open = B::sigmoid(gate.clone());
    B::float_mul(B::float_mul(gate, open), up)
}

/// `dy up σ (1 + gate (1 − σ))` and `dy gate σ`.
pub fn backward<B: Backend>(
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    dy: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let open = B::sigmoid(gate.clone());
    let closed = B::float_add_scalar(B::float_neg(open.clone()), 1.0_f32.into());
    let slope = B::float_add_scalar(B::float_mul(gate.clone(), closed), 1.0_f32.into());
    let dy_open = B::float_mul(dy, open);
    (B::float_mul(B::float_mul(dy_open.clone(), up), slope), B::float_mul(dy_open, gate))
}
