//! BitFit: only biases train (Ben Zaken et al. 2021, arXiv 2106.10199).
//!
//! `y' = y + b`, b zero at the start, beside a bias that the model may have.

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
use crate::switch::{Scaled, Switch};
use crate::{Delta, ForwardContext, MethodConfig, MethodKind, Named, Param, Site};

/// BitFit.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Bitfit,
    name: "bitfit",
    title: "BitFit",
    sentence: "Only biases train; a model without them gets zeros first.",
    trains: "biases",
    family: Family::Selective,
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
    switch: Some(&SWITCH),
    usual_rate: 3.0,
    saved_activations: SavedActivations::BIAS,
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

static SWITCH: Switch = Switch { size: None, parameters: &[("bias_update", Scaled::Whole)] };

fn build<'a>(_: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Bias::new(site)) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, [out, _]| out)
}

/// BitFit's bias, and what is left of HiWi.
#[derive(Clone, Debug)]
pub struct Bias {
    /// b, `[out]`.
    pub value: Param<1>,
}

impl Bias {
    /// A new one that changes nothing yet.
    pub fn new(site: &Site) -> Self {
        Self { value: Param::trainable(Tensor::zeros([site.shape()[0]], &site.device())) }
    }
}

impl Delta for Bias {
    fn parameters(&mut self) -> Named<'_> {
        vec![("bias_update", (&mut self.value).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties { makes_bias: true, ..DeltaProperties::PLAIN }
    }

    fn output(&self, _: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        y + context.damped(self.value.value.clone()).unsqueeze()
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight, plus(bias, context.damped(self.value.value.clone())))
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}

    fn bias(&self, context: &ForwardContext) -> Option<Tensor<1>> {
        Some(context.damped(self.value.value.clone()))
    }

    fn operands(&mut self) -> Named<'_> {
        self.parameters()
    }
}
