//! The gradients of the linear layer, alone and with a low-rank update: one product for each operand that is tracked,
//! none for one that is not, and nothing kept that no product will read.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend};
use stratune_runtime::span;

use super::reference::LinearOps;
use super::weight::Weight;

#[derive(Debug)]
struct Linear;

/// What the backward pass reads again: each operand only if the other one is tracked.
#[derive(Clone, Debug)]
struct Kept<B: Backend> {
    x: Option<FloatTensor<B>>,
    weight: Option<Weight<B>>,
}

impl<B: LinearOps> Backward<B, 2> for Linear {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_weight] = ops.parents;
        if let (Some(node), Some(weight)) = (to_x, ops.state.weight) {
            let _span = span("linear, gradient of the input");
            grads.register::<B>(node.id, B::linear_dx(dy.clone(), weight));
        }
        if let (Some(node), Some(x)) = (to_weight, ops.state.x) {
            let _span = span("linear, gradient of the weight");
            grads.register::<B>(node.id, B::linear_dw(dy, x, 1.0));
        }
    }
}

#[derive(Debug)]
struct LowRank;

/// The same with an update: what the gradients of x, a and b read.
#[derive(Clone, Debug)]
struct KeptLowRank<B: Backend> {
    x: Option<FloatTensor<B>>,
    weight: Option<Weight<B>>,
    a: Option<FloatTensor<B>>,
    b: Option<FloatTensor<B>>,
    /// `x aᵀ`, `[rows, rank]`.
    t: Option<FloatTensor<B>>,
    scale: f32,
}

impl<B: LinearOps> Backward<B, 4> for LowRank {
    type State = KeptLowRank<B>;

    /// With `dt = dy b`: `dx = dy w + scale · dt a`, `da = scale · dtᵀ x`, `db = scale · dyᵀ t`, `dw = dyᵀ x`.
    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_weight, to_a, to_b] = ops.parents;
        let KeptLowRank { x, weight, a, b, t, scale } = ops.state;
        if let (Some(node), Some(t)) = (to_b, t) {
            let _span = span("low rank, gradients of the factors");
            grads.register::<B>(node.id, B::linear_dw(dy.clone(), t, scale));
        }
        if let (Some(node), Some(x)) = (to_weight, x.clone()) {
            let _span = span("linear, gradient of the weight");
            grads.register::<B>(node.id, B::linear_dw(dy.clone(), x, 1.0));
        }
        let Some(b) = b else { return };
        let dt = {
            let _span = span("low rank, gradients of the factors");
            B::linear_dx(dy.clone(), Weight::Floats(b))
        };
        if let (Some(node), Some(x)) = (to_a, x) {
            let _span = span("low rank, gradients of the factors");
            grads.register::<B>(node.id, B::linear_dw(dt.clone(), x, scale));
        }
        if let (Some(node), Some(weight), Some(a)) = (to_x, weight, a) {
            let _span = span("linear, gradient of the input");
            grads.register::<B>(node.id, B::linear_dx_plus(dy, weight, dt, a, scale));
        }
    }
}

/// The weight, and the tensor that stands for it on the graph: itself, or, as what is packed has no place there, a leaf that
/// nobody tracks.
fn parted<B: LinearOps, C: CheckpointStrategy>(
    weight: Weight<Autodiff<B, C>>,
    x: &FloatTensor<Autodiff<B, C>>,
) -> (Weight<B>, FloatTensor<Autodiff<B, C>>) {
    match weight {
        Weight::Floats(tensor) => (Weight::Floats(tensor.clone().into_primitive()), tensor),
        Weight::Packed { words, dtype, columns } => {
            let leaf = <Autodiff<B, C> as AutodiffBackend>::from_inner(x.clone().into_primitive());
            (Weight::Packed { words, dtype, columns }, leaf)
        }
    }
}

impl<B: LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn linear_forward(x: FloatTensor<Self>, weight: Weight<Self>) -> FloatTensor<Self> {
        let (weight, on_graph) = parted(weight, &x);
        let [of_x, of_weight] = [&x, &on_graph].map(|t| t.is_tracked());
        let prepared = Linear.prepare::<C>([x.node(), on_graph.node()]).compute_bound().stateful();
        let x = x.into_primitive();
        match prepared {
            OpsKind::Tracked(prep) => {
                let kept = Kept { x: of_weight.then(|| x.clone()), weight: of_x.then(|| weight.clone()) };
                prep.finish(kept, B::linear_forward(x, weight))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_forward(x, weight)),
        }
    }

    fn low_rank(
        x: FloatTensor<Self>,
        weight: Weight<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let (weight, on_graph) = parted(weight, &x);
        let [of_x, of_weight, of_a, of_b] = [&x, &on_graph, &a, &b].map(|t| t.is_tracked());
        let nodes = [x.node(), on_graph.node(), a.node(), b.node()];
        let prepared = LowRank.prepare::<C>(nodes).compute_bound().stateful();
        let [x, a, b] = [x, a, b].map(|t| t.into_primitive());
        match prepared {
            OpsKind::Tracked(prep) => {
                let t = B::linear_forward(x.clone(), Weight::Floats(a.clone()));
                let kept = KeptLowRank {
                    x: (of_weight || of_a).then(|| x.clone()),
                    weight: of_x.then(|| weight.clone()),
                    a: of_x.then_some(a),
                    b: (of_x || of_a).then(|| b.clone()),
                    t: of_b.then(|| t.clone()),
                    scale,
                };
                prep.finish(kept, B::linear_forward_plus(x, weight, t, b, scale))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::low_rank(x, weight, a, b, scale)),
        }
    }
}
