//! The gradients of the linear layer, alone and of several that read one input, with low-rank updates or without: one
//! product for each operand that is tracked, none for one that is not, and nothing kept that no product will read.

use std::ops::Range;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata};
use stratune_runtime::span;

use super::group::{Group, PerLayer};
use super::reference::LinearOps;
use super::weight::{Weight, Weights};
use crate::Compute;
use crate::tensor_list::{Outputs, TensorList, untracked};

#[derive(Debug)]
struct Linear;

/// What the backward pass reads again: each operand only if the other one is tracked.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    x: Option<FloatTensor<B>>,
    weight: Option<Weight<B>>,
    compute: Compute,
}

impl<B: LinearOps> Backward<B, 2> for Linear {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_weight] = ops.parents;
        if let (Some(node), Some(weight)) = (to_x, ops.state.weight) {
            let _span = span("linear, gradient of the input");
            grads.register::<B>(node.id, B::linear_dx(dy.clone(), weight, ops.state.compute));
        }
        if let (Some(node), Some(x)) = (to_weight, ops.state.x) {
            let _span = span("linear, gradient of the weight");
            grads.register::<B>(node.id, B::linear_dw(dy, x, 1.0));
        }
    }
}

/// Most layers that read one input.
pub(super) const MAX: usize = 3;

#[derive(Debug)]
struct GroupedLinear;

/// What the gradients of x and of the factors read.
#[derive(Clone, Debug)]
struct SavedGroupedLinear<B: LinearOps> {
    outputs: Outputs<B>,
    group: SavedGroup<B>,
    x: Option<FloatTensor<B>>,
}

/// What is saved of layers that read one input, their input itself aside: of what no gradient will read, nothing.
#[derive(Clone, Debug)]
pub(crate) struct SavedGroup<B: LinearOps> {
    pub group: Group<B>,
    /// `x aᵀ`, `[rows, rank]`, of the layers with an update.
    t: Vec<Option<FloatTensor<B>>>,
}

/// Of which operands of a group somebody wants a gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeedsGrad {
    pub x: bool,
    pub a: bool,
    pub b: bool,
    pub bias: bool,
}

/// The nodes of what layers may train, for each layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trained<'a> {
    pub a: &'a [Option<NodeId>],
    pub b: &'a [Option<NodeId>],
    pub bias: &'a [Option<NodeId>],
}

impl NeedsGrad {
    pub fn of<B: Backend, C: CheckpointStrategy>(
        x: &FloatTensor<Autodiff<B, C>>,
        group: &Group<Autodiff<B, C>>,
    ) -> Self {
        let any = |of: &PerLayer<Autodiff<B, C>>| of.some().any(|t| t.is_tracked());
        Self { x: x.is_tracked(), a: any(&group.a), b: any(&group.b), bias: any(&group.bias) }
    }

    /// Whether anything must come back to the layers' outputs.
    pub fn any(self) -> bool {
        self.x || self.a || self.b || self.bias
    }
}

impl<'a> Trained<'a> {
    /// Of nodes as [`parents`] has them, for so many layers.
    pub fn new(nodes: &'a [Option<NodeId>], layers: usize) -> Self {
        let (a, others) = nodes.split_at(layers);
        let (b, bias) = others.split_at(layers);
        Self { a, b, bias }
    }

    /// Of some of the layers.
    pub fn among(self, layers: Range<usize>) -> Self {
        Self { a: &self.a[layers.clone()], b: &self.b[layers.clone()], bias: &self.bias[layers] }
    }

    pub fn any(self) -> bool {
        [self.a, self.b, self.bias].iter().any(|nodes| nodes.iter().any(Option::is_some))
    }
}

/// The parents of an operation of so many layers: these, and what groups may train, each a, then each b, then each bias.
/// `nobody` stands for what is not there.
#[allow(clippy::expect_used)] // As many as there are for so many layers.
pub(crate) fn parents<'a, B: Backend, C: CheckpointStrategy, const M: usize, const N: usize>(
    first: [Option<&'a FloatTensor<Autodiff<B, C>>>; M],
    groups: &[&'a Group<Autodiff<B, C>>],
    layers: usize,
    nobody: &'a FloatTensor<Autodiff<B, C>>,
) -> [&'a FloatTensor<Autodiff<B, C>>; N] {
    let lists: Vec<_> = groups.iter().map(|group| [&group.a, &group.b, &group.bias]).collect();
    let of = |kind: usize| {
        let each = lists.iter().flat_map(move |lists| lists[kind].0.iter().map(Option::as_ref));
        each.chain(std::iter::repeat(None)).take(layers)
    };
    let mut all = first.into_iter().chain((0..3).flat_map(of)).map(|one| one.unwrap_or(nobody));
    std::array::from_fn(|_| all.next().expect("a parent for each place"))
}

impl<B: LinearOps> SavedGroup<B> {
    /// Of a group that has made each t there is.
    pub fn new(mut group: Group<B>, t: Vec<FloatTensor<B>>, needs_grad: NeedsGrad) -> Self {
        let t = if needs_grad.b { group.a.places(t) } else { Vec::new() };
        group.bias.0.clear();
        if !needs_grad.x {
            group.weights.0.clear();
            group.a.0.clear();
        }
        if !needs_grad.x && !needs_grad.a {
            group.b.0.clear();
        }
        Self { group, t }
    }

    /// Registers the gradient of x, in its shape, if it is wanted; gives each `dt = dy b` there is.
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
                let TensorList(mut made) = B::grouped_dx(TensorList(dy.to_vec()), self.group.clone());
                let dt = made.split_off(1);
                grads.register::<B>(node, in_shape(made.swap_remove(0)));
                dt
            }
            None if self.group.b.some().next().is_none() => Vec::new(),
            None => {
                let _span = span("low rank, gradients of the factors");
                B::grouped_dt(TensorList(dy.to_vec()), self.group.b.clone()).0
            }
        }
    }

    /// Registers `da = scale · dtᵀ x`, if x is given, `db = scale · dyᵀ t`, each made of what came back to the factor and
    /// what it was multiplied by, and of each bias the sum of its layer's rows of dy.
    pub fn trained(
        self,
        dy: Vec<FloatTensor<B>>,
        dt: Vec<FloatTensor<B>>,
        x: Option<FloatTensor<B>>,
        to: Trained<'_>,
        grads: &mut Gradients,
    ) {
        for (node, dy) in to.bias.iter().zip(&dy) {
            if let Some(node) = node {
                let _span = span("linear, gradients of the biases");
                let sum = B::float_sum_dim(dy.clone(), 0);
                let out = sum.shape().num_elements();
                grads.register::<B>(*node, B::float_reshape(sum, [out].into()));
            }
        }
        let dt = self.group.b.places(dt).into_iter();
        let of_a = to.a.iter().zip(dt).zip(&self.group.scales);
        let of_a = of_a.filter_map(|((node, dt), scale)| Some(((*node)?, dt?, x.clone()?, *scale)));
        let of_b = to.b.iter().zip(dy).zip(self.t).zip(&self.group.scales);
        let of_b = of_b.filter_map(|(((node, dy), t), scale)| Some(((*node)?, dy, t?, *scale)));
        let mut nodes = Vec::new();
        let (mut back, mut inputs, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for (node, of_back, input, scale) in of_a.chain(of_b) {
            nodes.push(node);
            back.push(of_back);
            inputs.push(input);
            scales.push(scale);
        }
        if nodes.is_empty() {
            return;
        }
        let _span = span("low rank, gradients of the factors");
        let TensorList(gradients) = B::grouped_dw(TensorList(back), TensorList(inputs), scales);
        for (node, gradient) in nodes.into_iter().zip(gradients) {
            grads.register::<B>(node, gradient);
        }
    }
}

/// The parents: x, what the output is added to, and what the layers may train.
impl<B: LinearOps> Backward<B, { 2 + 3 * MAX }> for GroupedLinear {
    type State = SavedGroupedLinear<B>;

    /// With `dt = dy b`: `dx` is the sum of `dy w + scale · dt a`, `da = scale · dtᵀ x`, `db = scale · dyᵀ t`.
    fn backward(self, ops: Ops<Self::State, { 2 + 3 * MAX }>, grads: &mut Gradients, _: &mut Checkpointer) {
        let SavedGroupedLinear { outputs, group, x } = ops.state;
        let dy = outputs.gradients(grads.consume::<B>(&ops.node));
        let [to_x, to_onto, of_layers @ ..] = ops.parents.map(|node| node.map(|node| node.id));
        if let (Some(node), [dy]) = (to_onto, &dy[..]) {
            grads.register::<B>(node, dy.clone());
        }
        let dt = group.back(&dy, to_x, |dx| dx, grads);
        group.trained(dy, dt, x, Trained::new(&of_layers, MAX), grads);
    }
}

/// The weight, and the tensor that stands for it on the graph: itself, or, as what is quantized has no place there, a
/// leaf that nobody tracks.
fn parted<B: LinearOps, C: CheckpointStrategy>(
    weight: Weight<Autodiff<B, C>>,
    x: &FloatTensor<Autodiff<B, C>>,
) -> (Weight<B>, FloatTensor<Autodiff<B, C>>) {
    match weight {
        Weight::Floats(tensor) => (Weight::Floats(tensor.clone().into_primitive()), tensor),
        quantized => {
            let leaf = <Autodiff<B, C> as AutodiffBackend>::from_inner(x.clone().into_primitive());
            (untracked_weight(quantized), leaf)
        }
    }
}

fn untracked_weight<B: LinearOps, C: CheckpointStrategy>(weight: Weight<Autodiff<B, C>>) -> Weight<B> {
    match weight {
        Weight::Floats(tensor) => Weight::Floats(tensor.into_primitive()),
        Weight::Quantized { words, format, columns } => Weight::Quantized { words, format, columns },
    }
}

impl<B: LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn linear_forward(x: FloatTensor<Self>, weight: Weight<Self>, compute: Compute) -> FloatTensor<Self> {
        let (weight, on_graph) = parted(weight, &x);
        let [of_x, of_weight] = [&x, &on_graph].map(|t| t.is_tracked());
        let prepared = Linear.prepare::<C>([x.node(), on_graph.node()]).compute_bound().stateful();
        let x = x.into_primitive();
        match prepared {
            OpsKind::Tracked(prep) => {
                let saved = Saved { x: of_weight.then(|| x.clone()), weight: of_x.then(|| weight.clone()), compute };
                prep.finish(saved, B::linear_forward(x, weight, compute))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_forward(x, weight, compute)),
        }
    }

    fn grouped_linear(
        x: FloatTensor<Self>,
        group: Group<Self>,
        TensorList(residual): TensorList<Self>,
    ) -> TensorList<Self> {
        let needs_grad = NeedsGrad::of(&x, &group);
        // Nobody tracks this one.
        let nobody = <Self as AutodiffBackend>::from_inner(x.clone().into_primitive());
        let nodes = parents([Some(&x), residual.first()], &[&group], MAX, &nobody).map(|parent| parent.node());
        let prepared = GroupedLinear.prepare::<C>(nodes).compute_bound().stateful();
        let (x, group, residual) = (x.into_primitive(), inner_group(group), plain::<B, C>(TensorList(residual)));
        let count = group.weights.0.len();
        let TensorList(mut outputs) = B::grouped_forward(x.clone(), group.clone(), residual);
        let t = outputs.split_off(count);
        let outputs = TensorList(outputs);
        match prepared {
            OpsKind::Tracked(prep) => {
                let group = SavedGroup::new(group, t, needs_grad);
                let saved = SavedGroupedLinear { outputs: Outputs::new(&outputs), group, x: needs_grad.a.then_some(x) };
                let (behind, first) = (saved.outputs.clone(), outputs.0[0].clone());
                behind.on_graph(prep.finish(saved, first), outputs)
            }
            OpsKind::UnTracked(_) => untracked(outputs),
        }
    }
}

pub(crate) fn plain<B: Backend, C: CheckpointStrategy>(TensorList(of): TensorList<Autodiff<B, C>>) -> TensorList<B> {
    TensorList(of.into_iter().map(|t| t.into_primitive()).collect())
}

pub(crate) fn inner_group<B: LinearOps, C: CheckpointStrategy>(group: Group<Autodiff<B, C>>) -> Group<B> {
    let Group { weights, a, b, scales, bias, compute } = group;
    let weights = Weights(weights.0.into_iter().map(untracked_weight).collect());
    let [a, b, bias] = [a, b, bias].map(|of| PerLayer(of.map(|one| one.into_primitive())));
    Group { weights, a, b, scales, bias, compute }
}
