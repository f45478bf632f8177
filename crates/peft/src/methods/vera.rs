//! VeRA: two vectors scale a random update that all layers share (Kopiczko et al. 2023, arXiv 2310.11454, eq. 2).
//!
//! `Δy = λ_b ⊙ B (λ_d ⊙ A x)` with A and B drawn once from the seed, uniform within ±√(6/fan-in) (Kaiming), and never
//! trained. A layer takes the columns of A and the rows of B that it needs. λ_d starts at 0.1 and λ_b at zero.

use burn::tensor::{Device, Tensor};
use serde_json::{Map, Value, json};
use stratune_kernels::{Factors, linear};
use stratune_protocol::{ModelReport, Problem, draws};
use stratune_store::Tensors;

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Finalized, stays};
use crate::form::{
    Form, Given, Read, Sites, fan_in_fan_out, number, placed, prefixed, refuse, spread, unprefixed, with,
};
use crate::method::{
    Built, Entered, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
};
use crate::setting::{DROPOUT, RANK, TARGETS};
use crate::site::uniform;
use crate::size::at_sites;
use crate::{
    Delta, ForwardContext, MethodConfig, MethodKind, Methods, Named, Param, PeftError, Shared, Site, VeraMatrices,
    low_rank,
};

/// VeRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Vera,
    name: "vera",
    title: "VeRA",
    sentence: "Two vectors scale a random update that all layers share: very few parameters.",
    trains: "λ_b and λ_d",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK.count(64), DROPOUT],
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
    of_its_paper,
    fits: beside_any,
    share,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: Some(&FORM),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Vera::new(config, site)?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, [out, _]| method.rank.unwrap_or(0) + out)
}

/// Kopiczko et al. 2023: rank 256, the matrices of queries and values.
fn of_its_paper(usual: MethodConfig, model: &ModelReport) -> MethodConfig {
    MethodConfig { rank: Some(256), ..low_rank::of_its_paper(usual, model) }
}

/// A and B. Of several lists of layers, each with a rank of its own, all read the same matrices.
fn share(method: &MethodConfig, entered: &Entered<'_>, shared: &mut Shared) -> Result<(), Problem> {
    let there = shared.vera.as_ref().map_or([0; 3], |v| {
        let ([rank, inputs], [outputs, _]) = (v.a.value.dims(), v.b.value.dims());
        [rank, outputs, inputs]
    });
    let rank = method.rank.unwrap_or(0).max(there[0]);
    let extent = [entered.extent[0].max(there[1]), entered.extent[1].max(there[2])];
    shared.vera = Some(VeraMatrices::new(rank, extent, entered.seed, entered.device));
    Ok(())
}

/// λ_d where training starts.
const START: f32 = 0.1;

/// The two vectors of a layer.
#[derive(Clone, Debug)]
pub struct Vera {
    /// λ_d, `[rank]`.
    pub lambda_d: Param<1>,
    /// λ_b, `[out]`.
    pub lambda_b: Param<1>,
    inputs: usize,
    dropout: f32,
    site: u64,
}

impl VeraMatrices {
    /// Drawn from the seed for layers of at most `extent` outputs and inputs.
    pub fn new(rank: usize, [outputs, inputs]: [usize; 2], seed: u64, device: &Device) -> Self {
        let bound = |fan_in: usize| (6.0 / fan_in.max(1) as f32).sqrt();
        let a = uniform(&mut draws(seed, "vera_A", [0, 0]), [rank, inputs], bound(inputs), device);
        let b = uniform(&mut draws(seed, "vera_B", [0, 0]), [outputs, rank], bound(rank), device);
        Self { a: Param::frozen(a), b: Param::frozen(b) }
    }
}

impl Vera {
    /// A new one that changes nothing yet.
    ///
    /// # Errors
    /// The rank is 0.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let [outputs, inputs] = site.shape();
        let (rank, _) = config.at(&site.id.path);
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        let device = site.device();
        Ok(Self {
            lambda_d: Param::trainable(Tensor::full([rank], START, &device)),
            lambda_b: Param::trainable(Tensor::zeros([outputs], &device)),
            inputs,
            dropout: config.dropout.unwrap_or(0.0),
            site: site.index,
        })
    }

    /// A's first columns and B's first rows; none in a model that lacks the matrices.
    fn slices(&self, shared: &Shared) -> Option<(Tensor<2>, Tensor<2>)> {
        let VeraMatrices { a, b } = shared.vera.as_ref()?;
        let (rank, outputs) = (self.lambda_d.value.dims()[0], self.lambda_b.value.dims()[0]);
        Some((a.value.clone().slice([0..rank, 0..self.inputs]), b.value.clone().slice([0..outputs, 0..rank])))
    }

    /// The layer's output with the addition.
    fn forward(&self, x: Tensor<3>, y: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        let Some((a, b)) = self.slices(&context.shared) else { return y };
        let x = match context.dropout_mask(self.dropout, self.site, x.dims(), &x.device().inner()) {
            Some(mask) => x * mask,
            None => x,
        };
        let narrow = linear(x, a) * self.lambda_d.value.clone().unsqueeze();
        y + (linear(narrow, b) * self.lambda_b.value.clone().unsqueeze()).mul_scalar(context.damping)
    }

    /// The dense update, `[out, in]`; none in a model that lacks the matrices.
    fn update(&self, shared: &Shared) -> Option<Tensor<2>> {
        let (a, b) = self.slices(shared)?;
        let b = b * self.lambda_b.value.clone().unsqueeze_dim(1);
        let a = a * self.lambda_d.value.clone().unsqueeze_dim(1);
        Some(b.matmul(a))
    }
}

impl Delta for Vera {
    fn parameters(&mut self) -> Named<'_> {
        vec![("vera_lambda_b", (&mut self.lambda_b).into()), ("vera_lambda_d", (&mut self.lambda_d).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties::PLAIN
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        self.forward(x, y, context)
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        match self.update(&context.shared) {
            Some(update) => (weight + context.damped(update), bias),
            None => (weight, bias),
        }
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}

    /// A and `diag(λ_b) B diag(λ_d)`, if nothing is dropped: a low-rank update, which is made where the layer's output
    /// is. Both vectors are on one side, so that no gradient of the size of A is made.
    fn factors(&self, context: &ForwardContext) -> Option<Factors> {
        let drops = self.dropout > 0.0 && context.dropout.is_some();
        let (a, b) = self.slices(&context.shared).filter(|_| !drops)?;
        let b = b * self.lambda_b.value.clone().unsqueeze_dim(1) * self.lambda_d.value.clone().unsqueeze();
        Some(Factors { a, b, scale: context.damping })
    }
}

static FORM: Form = Form {
    peft_type: "VERA",
    read,
    write: |model, method, tensors| Some((fields(model, method), write(tensors.clone()))),
    integers: &[],
};

const KEYS: [&str; 8] = [
    "bias",
    "d_initial",
    "fan_in_fan_out",
    "init_weights",
    "projection_prng_key",
    "r",
    "save_projection",
    "vera_dropout",
];

const LAMBDA_B: &str = ".vera_lambda_b";
const LAMBDA_D: &str = ".vera_lambda_d";
/// The matrices that all layers share: PEFT's name, and the parameter's path.
const SHARED: [(&str, &str); 2] = [("base_model.vera_A", "shared.vera_A"), ("base_model.vera_B", "shared.vera_B")];

fn read(given: Given<'_>) -> Read {
    given.known(&KEYS)?;
    let rank = given.count("r");
    let Given { fields, mut tensors, .. } = given;
    if fields.get("bias").is_some_and(|v| v != "none") {
        return refuse("the adapter trains biases");
    }
    let mut kept = Tensors::new();
    for (theirs, ours) in SHARED {
        let Some(matrix) = tensors.remove(theirs) else {
            return Err(Problem::input(format!(
                "tensor '{theirs}' is missing: the adapter was saved without its matrices"
            ))
            .next("save it with save_projection=True"));
        };
        kept.insert(ours.into(), matrix);
    }
    let Some(rank) = rank else { return refuse("r is missing") };
    let mut sites = Sites::new();
    for (path, tensor) in unprefixed(tensors)? {
        let Some(layer) = path.strip_suffix(LAMBDA_B).or_else(|| path.strip_suffix(LAMBDA_D)) else {
            return refuse(format!("tensor '{path}' is not part of a VeRA adapter"));
        };
        sites.insert(layer.to_string(), (rank, 1.0));
        kept.insert(path, tensor);
    }
    let usual = MethodConfig { rank: Some(rank), ..MethodConfig::new(MethodKind::Vera) };
    Ok((Methods(spread(&usual, &sites, &fields)?), kept))
}

fn write(mut tensors: Tensors) -> Tensors {
    let shared: Vec<_> =
        SHARED.iter().filter_map(|(theirs, ours)| Some(((*theirs).to_string(), tensors.remove(*ours)?))).collect();
    let mut written = prefixed(tensors);
    written.extend(shared);
    written
}

fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    with(
        placed(model, method),
        json!({
            "bias": "none",
            "d_initial": 0.1,
            "fan_in_fan_out": fan_in_fan_out(model, method),
            "init_weights": true,
            "projection_prng_key": 0,
            "r": method.rank,
            "save_projection": true,
            "vera_dropout": number(method.dropout.unwrap_or(0.0)),
        }),
    )
}
