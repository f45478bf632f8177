//! The base layer, and the layer as a method finds it after others have entered.
//!
//! Methods enter in the order of the list, each on the layer as those before have made it, `y = x Wᵀ + b` with another
//! W and b. So what is computed while training and what merging makes of the weights is the same, whatever goes
//! together.

use burn::tensor::Tensor;

use crate::{Delta, ForwardContext, Weight};

/// The matrix and the bias of a layer, without what methods add.
#[derive(Clone, Copy, Debug)]
pub struct BaseLayer<'a> {
    /// The matrix.
    pub weight: &'a Weight,
    /// The bias, `[out]`, if there is one.
    pub bias: Option<&'a Tensor<1>>,
}

/// A layer as a method finds it: the base, and the methods before it.
#[derive(Debug)]
pub struct AdaptedLayer<'a> {
    pub(crate) base: BaseLayer<'a>,
    before: &'a [Box<dyn Delta>],
}

impl AdaptedLayer<'_> {
    /// The weight and the bias that compute what the method finds.
    pub(crate) fn merged(&self, context: &ForwardContext) -> (Tensor<2>, Option<Tensor<1>>) {
        let base = (self.base.weight.dense(), self.base.bias.cloned());
        self.before.iter().fold(base, |(weight, bias), delta| delta.merge(weight, bias, context))
    }
}

/// The layer's input `x` as these methods change it for what they find.
pub(crate) fn input(deltas: &[Box<dyn Delta>], x: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
    deltas.iter().fold(x, |x, delta| delta.input(x, context))
}

/// The layer's output as its methods make it, from the output `y` that has the first `made` of them in it. Each finds
/// what the ones before have made: one that scales the input scales theirs too, and what is added after it reads `x` as
/// it is.
pub(crate) fn output(
    deltas: &[Box<dyn Delta>],
    made: usize,
    (x, y): (&Tensor<3>, Tensor<3>),
    base: BaseLayer<'_>,
    context: &ForwardContext,
) -> Tensor<3> {
    (made..deltas.len()).fold(y, |y, i| {
        let (before, behind) = (&deltas[..i], &deltas[i + 1..]);
        deltas[i].output(input(behind, x.clone(), context), y, &AdaptedLayer { base, before }, context)
    })
}
