//! The gradients of the linear layer, alone and of several that read one input, with low-rank updates or without: one
//! product for each operand that is tracked, none for one that is not, and nothing kept that no product will read.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend};
use stratune_runtime::span;

use super::reference::LinearOps;
use super::weight::{Weight, Weights};
use crate::several::{Outputs, Several, untracked};

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

/// Most layers that read one input.
pub(super) const MOST: usize = 3;

#[derive(Debug)]
struct Layers;

/// What the gradients of x and of the factors read.
#[derive(Clone, Debug)]
struct KeptLayers<B: LinearOps> {
    outputs: Outputs<B>,
    x: Option<FloatTensor<B>>,
    weights: Vec<Weight<B>>,
    a: Vec<FloatTensor<B>>,
    b: Vec<FloatTensor<B>>,
    /// `x aᵀ`, `[rows, rank]`.
    t: Vec<FloatTensor<B>>,
    scales: Vec<f32>,
}

/// The parents: x, what the output is added to, and each layer's a and b.
impl<B: LinearOps> Backward<B, { 2 + 2 * MOST }> for Layers {
    type State = KeptLayers<B>;

    /// With `dt = dy b`: `dx` is the sum of `dy w + scale · dt a`, `da = scale · dtᵀ x`, `db = scale · dyᵀ t`.
    fn backward(self, ops: Ops<Self::State, { 2 + 2 * MOST }>, grads: &mut Gradients, _: &mut Checkpointer) {
        let KeptLayers { outputs, x, weights, a, b, t, scales } = ops.state;
        let dy = outputs.gradients(grads.consume::<B>(&ops.node));
        let [to_x, to_onto, of_factors @ ..] = ops.parents;
        let (to_a, to_b) = of_factors.split_at(MOST);
        if let (Some(node), [dy]) = (to_onto, &dy[..]) {
            grads.register::<B>(node.id, dy.clone());
        }
        let dt = match to_x {
            Some(node) => {
                let _span = span("linear, gradient of the input");
                let (dy, a, b) = (Several(dy.clone()), Several(a), Several(b));
                let Several(mut made) = B::layers_dx(dy, Weights(weights), a, b, scales.clone());
                let dt = made.split_off(1);
                made.into_iter().for_each(|dx| grads.register::<B>(node.id, dx));
                dt
            }
            None if b.is_empty() => Vec::new(),
            None => {
                let _span = span("low rank, gradients of the factors");
                B::layers_dt(Several(dy.clone()), Several(b)).0
            }
        };
        // Each factor's gradient is made of what came back to it and what it was multiplied by.
        let of_a = x.iter().flat_map(|x| dt.iter().map(|dt| (dt.clone(), x.clone()))).zip(to_a);
        let of_b = dy.iter().cloned().zip(t).zip(to_b);
        let (pairs, nodes): (Vec<_>, Vec<_>) = of_a.chain(of_b).unzip();
        if !pairs.is_empty() {
            let _span = span("low rank, gradients of the factors");
            let scales = scales.iter().cycle().take(pairs.len()).copied().collect();
            let (back, inputs) = pairs.into_iter().unzip();
            let Several(gradients) = B::layers_dw(Several(back), Several(inputs), scales);
            for (node, gradient) in nodes.into_iter().zip(gradients) {
                if let Some(node) = node {
                    grads.register::<B>(node.id, gradient);
                }
            }
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
        packed => {
            let leaf = <Autodiff<B, C> as AutodiffBackend>::from_inner(x.clone().into_primitive());
            (untracked_weight(packed), leaf)
        }
    }
}

fn untracked_weight<B: LinearOps, C: CheckpointStrategy>(weight: Weight<Autodiff<B, C>>) -> Weight<B> {
    match weight {
        Weight::Floats(tensor) => Weight::Floats(tensor.into_primitive()),
        Weight::Packed { words, dtype, columns } => Weight::Packed { words, dtype, columns },
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

    fn layers(
        x: FloatTensor<Self>,
        Weights(weights): Weights<Self>,
        Several(a): Several<Self>,
        Several(b): Several<Self>,
        scales: Vec<f32>,
        Several(onto): Several<Self>,
    ) -> Several<Self> {
        let tracked = |of: &[FloatTensor<Self>]| of.iter().any(|t| t.is_tracked());
        let [of_x, of_a, of_b] = [tracked(std::slice::from_ref(&x)), tracked(&a), tracked(&b)];
        // Nobody tracks this one, which stands for what is not there.
        let nobody = <Self as AutodiffBackend>::from_inner(x.clone().into_primitive());
        let node = |of: &[FloatTensor<Self>], i: usize| of.get(i).unwrap_or(&nobody).node();
        let nodes = std::array::from_fn(|i| match i {
            0 => x.node(),
            1 => node(&onto, 0),
            _ if i < 2 + MOST => node(&a, i - 2),
            _ => node(&b, i - 2 - MOST),
        });
        let prepared = Layers.prepare::<C>(nodes).compute_bound().stateful();
        let inner = |of: Vec<FloatTensor<Self>>| of.into_iter().map(|t| t.into_primitive()).collect::<Vec<_>>();
        let (x, [a, b, onto]) = (x.into_primitive(), [a, b, onto].map(inner));
        let weights: Vec<_> = weights.into_iter().map(untracked_weight).collect();
        let operands = (Weights(weights.clone()), Several(a.clone()), Several(b.clone()));
        let Several(mut outputs) =
            B::layers_forward(x.clone(), operands.0, operands.1, operands.2, scales.clone(), Several(onto));
        let t = outputs.split_off(weights.len());
        let outputs = Several(outputs);
        match prepared {
            OpsKind::Tracked(prep) => {
                let only_if = |wanted: bool, of: Vec<FloatTensor<B>>| if wanted { of } else { Vec::new() };
                let kept = KeptLayers {
                    outputs: Outputs::new(&outputs),
                    x: of_a.then_some(x),
                    a: only_if(of_x, a),
                    b: only_if(of_x || of_a, b),
                    t: only_if(of_b, t),
                    weights: if of_x { weights } else { Vec::new() },
                    scales,
                };
                let (behind, first) = (kept.outputs.clone(), outputs.0[0].clone());
                behind.on_graph(prep.finish(kept, first), outputs)
            }
            OpsKind::UnTracked(_) => untracked(outputs),
        }
    }
}
