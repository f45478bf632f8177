//! DoRA: direction and magnitude apart (Liu et al. 2024, arXiv 2402.09353, eq. 5).
//!
//! `W' = m ⊙ (W + s·BA) / ‖W + s·BA‖`, the norm taken over each row of `[out, in]`. As in §4.3 of the paper the norm counts
//! as a constant in the backward pass. On the activation side: `y' = m/‖W + s·BA‖ ⊙ (x Wᵀ + s·x Aᵀ Bᵀ) + b`, the bias b
//! as it was. After other methods W and b are what these have made of the layer's.

use burn::tensor::Tensor;
use stratune_protocol::{ModelReport, Role, Targets};

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Finalized, stays};
use crate::form::lora as lora_form;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, DROPOUT, OVERRIDES, RANK, TARGETS};
use crate::size::at_sites;
use crate::{Delta, ForwardContext, Lora, MethodConfig, MethodKind, Named, Param, PeftError, Site};

/// DoRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Dora,
    name: "dora",
    title: "DoRA",
    sentence: "LoRA for the direction of each row and a number for its length.",
    trains: "A, B and the magnitudes",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, ALPHA, DROPOUT, OVERRIDES],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 1.0,
    saved_activations: SavedActivations::INPUTS.dense(2.0),
    trainable,
    moving: block_by_block,
    of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: Some(&lora_form::FORM),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Dora::new(config, site)?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |site, [out, inputs]| {
        method.at(&site.path).0.saturating_mul(out + inputs).saturating_add(out)
    })
}

/// Liu et al. 2024: rank 32, alpha 64, dropout 0.05 on five of the seven.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    let targets = [Role::Query, Role::Key, Role::Value, Role::Up, Role::Down].map(Role::name);
    MethodConfig {
        rank: Some(32),
        alpha: Some(64.0),
        dropout: Some(0.05),
        targets: Some(Targets::listed(&targets)),
        ..usual
    }
}

/// A low-rank update of the direction, and the rows' lengths.
#[derive(Clone, Debug)]
pub struct Dora {
    /// The update of the direction.
    pub lora: Lora,
    /// m, `[out]`; starts at the lengths of W's rows.
    pub magnitude: Param<1>,
}

impl Dora {
    /// A new one that changes nothing yet.
    ///
    /// # Errors
    /// The rank does not fit the layer.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let lora = Lora::new(config, site)?;
        Ok(Self { lora, magnitude: Param::trainable(row_norms(site.weight.clone())) })
    }

    /// The layer's new output, from `y = x Wᵀ + b`.
    fn forward(&self, x: Tensor<3>, y: Tensor<3>, layer: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        let undamped = ForwardContext { damping: 1.0, ..context.clone() };
        let (weight, bias) = layer.merged(context);
        let length = row_norms((weight + self.lora.update()).detach());
        let factor = (self.magnitude.value.clone() / length).unsqueeze();
        let update = self.lora.forward(x, &undamped);
        let changed = match bias.map(Tensor::unsqueeze::<3>) {
            None => (y.clone() + update) * factor,
            Some(bias) => (y.clone() - bias.clone() + update) * factor + bias,
        };
        context.damp(y, changed)
    }

    /// W' at this pass.
    fn merged(&self, weight: Tensor<2>, context: &ForwardContext) -> Tensor<2> {
        let whole = weight.clone() + self.lora.update();
        let factor = self.magnitude.value.clone() / row_norms(whole.clone());
        context.damp(weight, whole * factor.unsqueeze_dim(1))
    }
}

/// The Euclidean length of each row.
fn row_norms(matrix: Tensor<2>) -> Tensor<1> {
    matrix.square().sum_dim(1).sqrt().squeeze_dim(1)
}

impl Delta for Dora {
    fn parameters(&mut self) -> Named<'_> {
        let mut all = self.lora.parameters();
        all.push(("lora_magnitude_vector", (&mut self.magnitude).into()));
        all
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties::PLAIN
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, layer: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        self.forward(x, y, layer, context)
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        (self.merged(weight, context), bias)
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}
}
