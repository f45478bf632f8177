//! The gradients of the linear layer, alone and of several that read one input, with low-rank updates or without: one
//! product for each operand that is tracked, none for one that is not, and nothing kept that no product will read.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend};
use stratune_runtime::span;

use super::group::Group;
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
    group: KeptGroup<B>,
    x: Option<FloatTensor<B>>,
}

/// What is kept of layers that read one input, their input itself aside: of what no gradient will read, nothing.
#[derive(Clone, Debug)]
pub(crate) struct KeptGroup<B: LinearOps> {
    pub group: Group<B>,
    /// `x aᵀ`, `[rows, rank]`.
    t: Vec<FloatTensor<B>>,
}

/// Of which operands of a group somebody wants a gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub x: bool,
    pub a: bool,
    pub b: bool,
}

impl<B: LinearOps> KeptGroup<B> {
    pub fn new(mut group: Group<B>, t: Vec<FloatTensor<B>>, wanted: Wanted) -> Self {
        if !wanted.x {
            group.weights.0.clear();
            group.a.0.clear();
        }
        if !wanted.x && !wanted.a {
            group.b.0.clear();
        }
        Self { group, t: if wanted.b { t } else { Vec::new() } }
    }

    /// Registers the gradient of x, in its shape, if it is wanted; gives each `dt = dy b`.
    pub fn back(
        &self,
        dy: &[FloatTensor<B>],
        to_x: Option<NodeId>,
        in_shape: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
        grads: &mut Gradients,
    ) -> Vec<FloatTensor<B>> {
        match to_x {
            Some(node) => {
                let _span = span("linear, gradient of the input");
                let Several(mut made) = B::layers_dx(Several(dy.to_vec()), self.group.clone());
                let dt = made.split_off(1);
                grads.register::<B>(node, in_shape(made.swap_remove(0)));
                dt
            }
            None if self.group.b.0.is_empty() => Vec::new(),
            None => {
                let _span = span("low rank, gradients of the factors");
                B::layers_dt(Several(dy.to_vec()), self.group.b.clone()).0
            }
        }
    }

    /// Registers `da = scale · dtᵀ x`, if x is given, and `db = scale · dyᵀ t`: each factor's gradient is made of what came
    /// back to it and what it was multiplied by.
    pub fn factors(
        self,
        dy: Vec<FloatTensor<B>>,
        dt: Vec<FloatTensor<B>>,
        x: Option<FloatTensor<B>>,
        [to_a, to_b]: [&[Option<NodeId>]; 2],
        grads: &mut Gradients,
    ) {
        let x = x.filter(|_| to_a.iter().any(Option::is_some));
        let of_a = x.iter().flat_map(|x| dt.iter().map(|dt| (dt.clone(), x.clone()))).zip(to_a);
        let of_b = dy.into_iter().zip(self.t).zip(to_b);
        let (pairs, nodes): (Vec<_>, Vec<_>) = of_a.chain(of_b).unzip();
        if pairs.is_empty() {
            return;
        }
        let _span = span("low rank, gradients of the factors");
        let scales = self.group.scales.iter().cycle().take(pairs.len()).copied().collect();
        let (back, inputs) = pairs.into_iter().unzip();
        let Several(gradients) = B::layers_dw(Several(back), Several(inputs), scales);
        for (node, gradient) in nodes.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node, gradient);
            }
        }
    }
}

/// The parents: x, what the output is added to, and each layer's a and b.
impl<B: LinearOps> Backward<B, { 2 + 2 * MOST }> for Layers {
    type State = KeptLayers<B>;

    /// With `dt = dy b`: `dx` is the sum of `dy w + scale · dt a`, `da = scale · dtᵀ x`, `db = scale · dyᵀ t`.
    fn backward(self, ops: Ops<Self::State, { 2 + 2 * MOST }>, grads: &mut Gradients, _: &mut Checkpointer) {
        let KeptLayers { outputs, group, x } = ops.state;
        let dy = outputs.gradients(grads.consume::<B>(&ops.node));
        let [to_x, to_onto, of_factors @ ..] = ops.parents.map(|node| node.map(|node| node.id));
        let (to_a, to_b) = of_factors.split_at(MOST);
        if let (Some(node), [dy]) = (to_onto, &dy[..]) {
            grads.register::<B>(node, dy.clone());
        }
        let dt = group.back(&dy, to_x, |dx| dx, grads);
        group.factors(dy, dt, x, [to_a, to_b], grads);
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

    fn layers(x: FloatTensor<Self>, group: Group<Self>, Several(onto): Several<Self>) -> Several<Self> {
        let wanted = Wanted { x: x.is_tracked(), a: any_tracked(&group.a), b: any_tracked(&group.b) };
        // Nobody tracks this one, which stands for what is not there.
        let nobody = <Self as AutodiffBackend>::from_inner(x.clone().into_primitive());
        let node = |of: &[FloatTensor<Self>], i: usize| of.get(i).unwrap_or(&nobody).node();
        let nodes = std::array::from_fn(|i| match i {
            0 => x.node(),
            1 => node(&onto, 0),
            _ if i < 2 + MOST => node(&group.a.0, i - 2),
            _ => node(&group.b.0, i - 2 - MOST),
        });
        let prepared = Layers.prepare::<C>(nodes).compute_bound().stateful();
        let (x, group, onto) = (x.into_primitive(), inner_group(group), plain::<B, C>(Several(onto)));
        let count = group.weights.0.len();
        let Several(mut outputs) = B::layers_forward(x.clone(), group.clone(), onto);
        let t = outputs.split_off(count);
        let outputs = Several(outputs);
        match prepared {
            OpsKind::Tracked(prep) => {
                let group = KeptGroup::new(group, t, wanted);
                let kept = KeptLayers { outputs: Outputs::new(&outputs), group, x: wanted.a.then_some(x) };
                let (behind, first) = (kept.outputs.clone(), outputs.0[0].clone());
                behind.on_graph(prep.finish(kept, first), outputs)
            }
            OpsKind::UnTracked(_) => untracked(outputs),
        }
    }
}

pub(crate) fn any_tracked<B: Backend, C: CheckpointStrategy>(Several(of): &Several<Autodiff<B, C>>) -> bool {
    of.iter().any(|t| t.is_tracked())
}

pub(crate) fn plain<B: Backend, C: CheckpointStrategy>(Several(of): Several<Autodiff<B, C>>) -> Several<B> {
    Several(of.into_iter().map(|t| t.into_primitive()).collect())
}

pub(crate) fn inner_group<B: LinearOps, C: CheckpointStrategy>(group: Group<Autodiff<B, C>>) -> Group<B> {
    let Group { weights, a, b, scales } = group;
    let weights = Weights(weights.0.into_iter().map(untracked_weight).collect());
    Group { weights, a: plain(a), b: plain(b), scales }
}
