//! SSF: each output is scaled and shifted (Lian et al. 2022, arXiv 2210.08823, eq. 2).
//!
//! `y' = γ ⊙ y + β`; γ starts at 1, β at 0.

use burn::tensor::Tensor;
use stratune_protocol::ModelReport;

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Finalized, plus, stays};
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::TARGETS;
use crate::size::at_sites;
use crate::{Delta, ForwardContext, MethodConfig, MethodKind, Named, Param, Site};

/// SSF.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Ssf,
    name: "ssf",
    title: "SSF",
    sentence: "Each output is scaled and shifted.",
    trains: "scales and shifts",
    family: Family::Additive,
    settings: &[TARGETS],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Biases,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 3.0,
    saved_activations: SavedActivations::INPUTS,
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn build<'a>(_: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Ssf::new(site)) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, [out, _]| 2 * out)
}

/// SSF's two vectors.
#[derive(Clone, Debug)]
pub struct Ssf {
    /// γ, `[out]`.
    pub scale: Param<1>,
    /// β, `[out]`.
    pub shift: Param<1>,
}

impl Ssf {
    /// A new one that changes nothing yet.
    pub fn new(site: &Site) -> Self {
        let (size, device) = ([site.shape()[0]], site.device());
        Self {
            scale: Param::trainable(Tensor::ones(size, &device)),
            shift: Param::trainable(Tensor::zeros(size, &device)),
        }
    }

    fn forward(&self, y: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        let (scale, shift) = self.at(context);
        y * scale.unsqueeze() + shift.unsqueeze()
    }

    /// γ and β at this pass.
    fn at(&self, context: &ForwardContext) -> (Tensor<1>, Tensor<1>) {
        let (scale, shift) = (self.scale.value.clone(), self.shift.value.clone());
        (context.damp(Tensor::ones_like(&scale), scale), context.damped(shift))
    }
}

impl Delta for Ssf {
    fn parameters(&mut self) -> Named<'_> {
        vec![("ssf_scale", (&mut self.scale).into()), ("ssf_shift", (&mut self.shift).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties { makes_bias: true, ..DeltaProperties::PLAIN }
    }

    fn output(&self, _: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        self.forward(y, context)
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        let (scale, shift) = self.at(context);
        (weight * scale.clone().unsqueeze_dim(1), plus(bias.map(|b| b * scale), shift))
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}
}
