//! What a method adds to a linear layer.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Debug;

use burn::tensor::Tensor;
use futures::future::{LocalBoxFuture, ready};
use stratune_kernels::Factors;
use stratune_protocol::Problem;

use crate::base_layer::AdaptedLayer;
use crate::{Additions, ForwardContext, ModuleId, Named, Visitor, names, show};

/// How an addition enters its layer, as far as the layer has to know before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It scales the layer's input: [`Delta::input`].
    ScalesInput,
    /// It adds a matrix as large as the layer's: [`Delta::dense`].
    AddsMatrix,
    /// It does something to the output.
    OnOutput,
}

/// What of an addition does not depend on its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaProperties {
    /// How it enters.
    pub effect: Effect,
    /// Whether the layer has a bias once it is merged, if it had none.
    pub makes_bias: bool,
    /// Whether what it adds depends on the text through a gate, so that no weight computes the same.
    pub gated: bool,
    /// Whether the vector that all layers [share](crate::Shared::vector) moves it.
    pub steered: bool,
    /// The names that the parameters of what is [`finalized`](Delta::finalized) of it have beside its own.
    pub leaves: &'static [&'static str],
}

impl DeltaProperties {
    /// Of what does something to the output, and nothing more is to be known of.
    pub const PLAIN: Self =
        Self { effect: Effect::OnOutput, makes_bias: false, gated: false, steered: false, leaves: &[] };
}

/// What is left of an addition when training is over; none if it stays as it is.
pub type Finalized<'a> = LocalBoxFuture<'a, Result<Option<Box<dyn Delta>>, Problem>>;

/// An addition that stays as it is when training is over.
pub fn stays<'a>() -> Finalized<'a> {
    Box::pin(ready(Ok(None)))
}

/// What a method adds to a linear layer. Implemented in the method's file; whatever decides what is computed has to be
/// said there, and what has a default is a way to compute the same faster.
pub trait Delta: Any + Debug {
    /// Its parameters by the ends of their paths, always in the same order.
    fn parameters(&mut self) -> Named<'_>;

    /// A copy, whose tensors are shared.
    fn cloned(&self) -> Box<dyn Delta>;

    /// What of it does not depend on its numbers.
    fn properties(&self) -> DeltaProperties;

    /// The layer's output as the method makes it, from the output `y` that it finds; `x` is what it reads.
    fn output(&self, x: Tensor<3>, y: Tensor<3>, layer: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3>;

    /// The layer's weight and bias as the method makes them at this pass, from those that it finds.
    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>);

    /// What the method's penalty in the loss adds to the gradients, by the end of the parameter's path. `share` is one
    /// over the layers that the method trains in, for a penalty that is their mean.
    fn penalty_gradients(&self, share: f32) -> Vec<(&'static str, Tensor<2>)>;

    /// What is needed to compute the same on this base, without what only training needs.
    fn finalized(&self) -> Finalized<'_>;

    /// Makes of it what any reader computes on the base as its file has it, whatever the run has kept the base as and
    /// wherever the method has started.
    fn for_original_base(&mut self);

    /// The layer's input as a method that [scales](Effect::ScalesInput) it changes it: for the base, and for what
    /// methods before this one have added.
    fn input(&self, x: Tensor<3>, _: &ForwardContext) -> Tensor<3> {
        x
    }

    /// The dense matrix that is added to the layer's at this pass, `[out, in]`, if [that](Effect::AddsMatrix) is what
    /// it does.
    fn dense(&self, _: &ForwardContext) -> Option<Tensor<2>> {
        None
    }

    /// The two matrices, if what it adds is their product and nothing else.
    fn factors(&self, _: &ForwardContext) -> Option<Factors> {
        None
    }

    /// `[out]`, if what it adds is that for every position and nothing else.
    fn bias(&self, _: &ForwardContext) -> Option<Tensor<1>> {
        None
    }

    /// The parameters that the layer's own operation reads as they are, so that they may lie side by side with others.
    fn operands(&mut self) -> Named<'_> {
        Vec::new()
    }
}

impl dyn Delta {
    /// It as what it is, if it is that.
    pub fn of<T: Delta>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }

    /// The same, to change.
    pub fn of_mut<T: Delta>(&mut self) -> Option<&mut T> {
        (self as &mut dyn Any).downcast_mut()
    }

    /// Whether another is of the same method's making.
    pub fn is_like(&self, other: &Self) -> bool {
        let made_by = |delta: &Self| (delta as &dyn Any).type_id();
        made_by(self) == made_by(other)
    }

    /// Whether it does something to the layer's input.
    pub(crate) fn changes_input(&self) -> bool {
        self.properties().effect == Effect::ScalesInput
    }

    /// Whether it has a [`dense`](Self::dense) matrix.
    pub(crate) fn is_dense(&self) -> bool {
        self.properties().effect == Effect::AddsMatrix
    }

    /// Keeps what is needed to compute the same on this base and throws away what only training needs.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn finalize(self: &mut Box<Self>) -> Result<(), Problem> {
        if let Some(left) = self.finalized().await? {
            *self = left;
        }
        Ok(())
    }

    /// The names that its parameters have, and those of what is left of it: no other method may have one of them at the
    /// same layer.
    pub fn names(&mut self) -> BTreeSet<String> {
        let mut all = names(self);
        all.extend(self.properties().leaves.iter().map(|name| format!(".{name}")));
        all
    }
}

impl Clone for Box<dyn Delta> {
    fn clone(&self) -> Self {
        (**self).cloned()
    }
}

impl<T: Delta + ?Sized> Additions for T {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        show(self.parameters(), of, visitor);
    }
}

/// A bias with more added to it.
pub(crate) fn plus(bias: Option<Tensor<1>>, more: Tensor<1>) -> Option<Tensor<1>> {
    Some(bias.map_or(more.clone(), |bias| bias + more))
}
