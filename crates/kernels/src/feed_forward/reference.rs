//! The feed-forward layer and its gradients, of the operations that it consists of.

use burn::backend::backend_extension;
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use crate::linear::{Group, LinearOps};
use crate::swiglu::SwigluOps;
use crate::tensor_list::TensorList;

/// A gated feed-forward layer, on matrices: `inner` are gate and up, `outer` is down. A default body is the definition; a
/// device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait FeedForwardOps: LinearOps + SwigluOps {
    /// `gate`, `up` and `silu(gate) · up`, all `[rows, intermediate]`, and behind them what `x` gave with each factor a
    /// that gate and up have.
    fn gated_forward(x: FloatTensor<Self>, #[extension_type] inner: Group<Self>) -> TensorList<Self> {
        gated_forward::<Self>(x, inner)
    }

    /// From the gradient of the output those of gate and up, and `silu(gate) · up`; behind them what `dy` gave with down's
    /// factor b, if it has one.
    fn gated_back(
        dy: FloatTensor<Self>,
        #[extension_type] outer: Group<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
    ) -> TensorList<Self> {
        gated_back::<Self>(dy, outer, gate, up)
    }

    /// The output, added to `residual`, if that is given.
    fn feed_forward(
        x: FloatTensor<Self>,
        #[extension_type] inner: Group<Self>,
        #[extension_type] outer: Group<Self>,
        #[extension_type] residual: TensorList<Self>,
    ) -> FloatTensor<Self> {
        let TensorList(mut made) = Self::gated_forward(x, inner);
        let value = made.swap_remove(2);
        drop(made);
        let TensorList(mut outputs) = Self::grouped_linear(value, outer, residual);
        outputs.swap_remove(0)
    }
}

/// Both layers, and then the activation.
pub fn gated_forward<B: FeedForwardOps>(x: FloatTensor<B>, inner: Group<B>) -> TensorList<B> {
    let TensorList(mut made) = B::grouped_forward(x, inner, TensorList(Vec::new()));
    let _span = span("gated activation, forward");
    let value = B::swiglu_forward(made[0].clone(), made[1].clone());
    made.insert(2, value);
    TensorList(made)
}

/// What comes back through the layer, and then through the activation.
pub fn gated_back<B: FeedForwardOps>(
    dy: FloatTensor<B>,
    outer: Group<B>,
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
) -> TensorList<B> {
    let TensorList(mut made) = B::grouped_dx(TensorList(vec![dy]), outer);
    let _span = span("gated activation, backward");
    let dt = made.split_off(1);
    TensorList([activation_back::<B>(gate, up, made.swap_remove(0)), dt].concat())
}

/// The gradients of gate and up from that of the values, and the values.
pub fn activation_back<B: SwigluOps>(
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    back: FloatTensor<B>,
) -> Vec<FloatTensor<B>> {
    let (d_gate, d_up) = B::swiglu_backward(gate.clone(), up.clone(), back);
    vec![d_gate, d_up, B::swiglu_forward(gate, up)]
}
