//! (IA)³: vectors that scale what layers give or read (Liu et al. 2022, arXiv 2205.05638, §3.3).
//!
//! `y' = l ⊙ y`; at `down_proj` `y' = (l ⊙ x) Wᵀ`. l starts at 1.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use serde_json::{Map, Value, json};
use stratune_protocol::{ModelReport, Role};
use stratune_store::Tensors;

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Effect, Finalized, stays};
use crate::form::{
    Form, Given, Read, Sites, fan_in_fan_out, name, placed_by_pattern, prefixed, refuse, spread, unprefixed, with,
};
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::TARGETS;
use crate::size::at_sites;
use crate::{Delta, ForwardContext, MethodConfig, MethodKind, Methods, Named, Param, Site};

/// (IA)³.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Ia3,
    name: "ia3",
    title: "(IA)³",
    sentence: "Vectors that scale keys, values and the feed-forward's inside.",
    trains: "the vectors",
    family: Family::Additive,
    settings: &[TARGETS.listed(&["key", "value", "down"])],
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
    usual_rate: 3.0,
    saved_activations: SavedActivations::INPUTS,
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: Some(&FORM),
};

fn build<'a>(_: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Ia3::new(site)) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |site, [out, inputs]| if site.role == Role::Down { inputs } else { out })
}

/// (IA)³'s vector.
#[derive(Clone, Debug)]
pub struct Ia3 {
    /// l as PEFT keeps it: `[out, 1]`, or `[1, in]` where the input is scaled.
    pub scale: Param<2>,
    /// Whether it scales the input.
    pub on_input: bool,
}

impl Ia3 {
    /// A new one that changes nothing yet.
    pub fn new(site: &Site) -> Self {
        let [outputs, inputs] = site.shape();
        let on_input = site.role == Role::Down;
        let shape = if on_input { [1, inputs] } else { [outputs, 1] };
        Self { scale: Param::trainable(Tensor::ones(shape, &site.device())), on_input }
    }

    /// What input or output is multiplied by.
    fn factor(&self, context: &ForwardContext) -> Tensor<3> {
        let scale = self.scale.value.clone().reshape([1, 1, -1]);
        let ones = Tensor::ones_like(&scale);
        context.damp(ones, scale)
    }
}

impl Delta for Ia3 {
    fn parameters(&mut self) -> Named<'_> {
        vec![("ia3_l", (&mut self.scale).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties {
            effect: if self.on_input { Effect::ScalesInput } else { Effect::OnOutput },
            ..DeltaProperties::PLAIN
        }
    }

    fn output(&self, _: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        if self.on_input { y } else { y * self.factor(context) }
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        let factor: Tensor<1> = self.factor(context).reshape([-1]);
        match self.on_input {
            true => (weight * factor.unsqueeze_dim(0), bias),
            false => (weight * factor.clone().unsqueeze_dim(1), bias.map(|b| b * factor)),
        }
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}

    fn input(&self, x: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        if self.on_input { x * self.factor(context) } else { x }
    }
}

static FORM: Form = Form {
    peft_type: "IA3",
    read,
    write: |model, method, tensors| Some((fields(model, method), prefixed(tensors.clone()))),
    integers: &[],
};

const KEYS: [&str; 3] = ["feedforward_modules", "fan_in_fan_out", "init_ia3_weights"];

fn read(given: Given<'_>) -> Read {
    given.known(&KEYS)?;
    let Given { fields, tensors, .. } = given;
    let (mut sites, mut kept) = (Sites::new(), Tensors::new());
    for (path, tensor) in unprefixed(tensors)? {
        let Some(layer) = path.strip_suffix(".ia3_l") else {
            return refuse(format!("tensor '{path}' is not part of an (IA)³ adapter"));
        };
        sites.insert(layer.to_string(), (0, 1.0));
        kept.insert(path, tensor);
    }
    let methods = spread(&MethodConfig::new(MethodKind::Ia3), &sites, &fields)?;
    // Without the ranks that only these need.
    let plain = |method| MethodConfig { overrides: BTreeMap::new(), ..method };
    Ok((Methods(methods.into_iter().map(plain).collect()), kept))
}

fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let sites = method.sites(model);
    let down: BTreeSet<&str> =
        sites.iter().filter(|site| site.role == Role::Down).map(|site| name(site, model)).collect();
    let fields = placed_by_pattern(model, method);
    with(
        fields,
        json!({ "feedforward_modules": down, "fan_in_fan_out": fan_in_fan_out(model, method), "init_ia3_weights": true }),
    )
}
