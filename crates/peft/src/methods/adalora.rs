//! AdaLoRA: directions compete for a budget of ranks (Zhang et al. 2023, arXiv 2303.10512).
//!
//! `ΔW = s · B diag(E) A` with E zero and A, B normal (standard deviation 0.02) at the start. s = α / r₀ with the rank r₀
//! that training starts with, whatever the budget leaves (PEFT adds 1e-5 to r₀, and so does this). A penalty keeps the
//! directions apart (eq. 4): γ times the mean of `‖AAᵀ − I‖` and `‖BᵀB − I‖`, Frobenius norms, over the factors of all
//! matrices, as in the authors' and in PEFT's code. Which directions are switched off is decided in the training loop,
//! from the importance of their numbers (eqs. 7 to 12).

use burn::tensor::{Tensor, TensorData};
use serde_json::{Map, Value, json};
use stratune_kernels::{Factors, linear};
use stratune_protocol::Problem;
use stratune_protocol::{ModelReport, normals};
use stratune_store::{HostTensor, Tensors};

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Finalized, stays};
use crate::form::lora::{check, factors};
use crate::form::{Form, Given, Read, Sites, fan_in_fan_out, number, placed, prefixed, spread, unprefixed, with};
use crate::low_rank::check_rank;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, DROPOUT, INITIAL_RANK, INTERVAL, PENALTY, RANK, TARGETS};
use crate::size::at_sites;
use crate::{Delta, ForwardContext, MethodConfig, MethodKind, Methods, Named, Param, PeftError, Site};

/// AdaLoRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Adalora,
    name: "adalora",
    title: "AdaLoRA",
    sentence: "LoRA whose ranks move to the matrices that need them while a budget shrinks.",
    trains: "A, B and a gain for each direction",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, INITIAL_RANK, ALPHA, DROPOUT, PENALTY.number(0.1), INTERVAL],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: true,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 1.0,
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

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Adalora::new(config, site)?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    let rank = method.initial_rank.unwrap_or(0);
    at_sites(method, model, |_, [out, inputs]| rank.saturating_mul(out + inputs + 1))
}

/// Standard deviation of A and B where training starts.
const SPREAD: f32 = 0.02;

/// The three factors of an update.
#[derive(Clone, Debug)]
pub struct Adalora {
    /// A, `[rank, in]`.
    pub a: Param<2>,
    /// B, `[out, rank]`.
    pub b: Param<2>,
    /// E, `[rank, 1]`.
    pub e: Param<2>,
    /// γ.
    pub penalty: f32,
    scale: f32,
    dropout: f32,
    site: u64,
}

impl Adalora {
    /// A new update that changes nothing yet.
    ///
    /// # Errors
    /// The starting rank does not fit the layer.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let [outputs, inputs] = site.shape();
        let rank = config.initial_rank.unwrap_or(0);
        check_rank(rank, [outputs, inputs])?;
        let device = site.device();
        let normal = |what: &str, shape: [usize; 2]| {
            let values = normals(&mut site.draws(what), shape[0] * shape[1], SPREAD);
            Param::trainable(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        Ok(Self {
            a: normal("adalora_A", [rank, inputs]),
            b: normal("adalora_B", [outputs, rank]),
            e: Param::trainable(Tensor::zeros([rank, 1], &device)),
            penalty: config.penalty.unwrap_or(0.0),
            scale: config.alpha.unwrap_or(1.0) / (rank as f32 + 1e-5),
            dropout: config.dropout.unwrap_or(0.0),
            site: site.index,
        })
    }

    /// The addition to the layer's output.
    fn forward(&self, x: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        let x = match context.dropout_mask(self.dropout, self.site, x.dims(), &x.device().inner()) {
            Some(mask) => x * mask,
            None => x,
        };
        let gains = self.e.value.clone().squeeze_dim::<1>(1).mul_scalar(self.scale * context.damping);
        linear(linear(x, self.a.value.clone()) * gains.unsqueeze(), self.b.value.clone())
    }

    /// The dense update, `[out, in]`.
    fn update(&self) -> Tensor<2> {
        let gained = self.a.value.clone() * self.e.value.clone();
        self.b.value.clone().matmul(gained).mul_scalar(self.scale)
    }

    /// The penalty of this matrix, `[1]`, without its weight.
    pub fn orthogonal_penalty(&self) -> Tensor<1> {
        let (rows, columns) = self.orthogonal_residual();
        norm(&rows) + norm(&columns)
    }

    /// `AAᵀ − I` and `BᵀB − I`.
    fn orthogonal_residual(&self) -> (Tensor<2>, Tensor<2>) {
        let (a, b) = (self.a.value.clone(), self.b.value.clone());
        let one = Tensor::<2>::eye(a.dims()[0], &a.device());
        (a.clone().matmul(a.transpose()) - one.clone(), b.clone().transpose().matmul(b) - one)
    }
}

fn norm(m: &Tensor<2>) -> Tensor<1> {
    m.clone().square().sum().sqrt()
}

impl Delta for Adalora {
    fn parameters(&mut self) -> Named<'_> {
        vec![("lora_A", (&mut self.a).into()), ("lora_B", (&mut self.b).into()), ("lora_E", (&mut self.e).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties::PLAIN
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        y + self.forward(x, context)
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight + context.damped(self.update()), bias)
    }

    /// The penalty's gradients with respect to A and B: of `‖M‖` with `M = AAᵀ − I` it is `2 M A / ‖M‖`. `share` is one
    /// over the matrices, each of which has two factors.
    fn penalty_gradients(&self, share: f32) -> Vec<(&'static str, Tensor<2>)> {
        let (rows, columns) = self.orthogonal_residual();
        let unit = |m: Tensor<2>| {
            let length = norm(&m).add_scalar(1e-12);
            m / length.unsqueeze()
        };
        let weight = share * self.penalty;
        vec![
            ("lora_A", unit(rows).matmul(self.a.value.clone()).mul_scalar(weight)),
            ("lora_B", self.b.value.clone().matmul(unit(columns)).mul_scalar(weight)),
        ]
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}

    /// A and `B diag(E)`, if nothing is dropped: a low-rank update, which is made where the layer's output is.
    fn factors(&self, context: &ForwardContext) -> Option<Factors> {
        let drops = self.dropout > 0.0 && context.dropout.is_some();
        let b = || self.b.value.clone() * self.e.value.clone().transpose();
        (!drops).then(|| Factors { a: self.a.value.clone(), b: b(), scale: self.scale * context.damping })
    }
}

static FORM: Form = Form {
    peft_type: "ADALORA",
    read,
    write: |model, method, tensors| Some((fields(model, method), prefixed(tensors.clone()))),
    integers: &[],
};

/// Reads an AdaLoRA adapter as the LoRA that computes the same: `A' = E ⊙ A`, and alpha so that the scale is PEFT's
/// `lora_alpha / (init_r + 1e-5)` whatever rank is left.
fn read(given: Given<'_>) -> Read {
    let Given { fields, tensors, config_at: at, .. } = given;
    let keys = [
        "r",
        "lora_alpha",
        "init_r",
        "target_r",
        "tinit",
        "tfinal",
        "deltaT",
        "beta1",
        "beta2",
        "orth_reg_weight",
        "total_step",
        "rank_pattern",
        "use_rslora",
        "alpha_pattern",
    ];
    check(&fields, &keys).map_err(|p| p.at(at))?;
    let positive = |key: &str| {
        fields.get(key).and_then(Value::as_f64).filter(|v| *v > 0.0).ok_or_else(|| {
            Problem::input(format!("{key} is missing or not a positive number")).at(at).next("export the adapter again")
        })
    };
    let scale = positive("lora_alpha")? / (positive("init_r")? + 1e-5);
    let tensors = unprefixed(tensors)?;
    let (mut sites, mut kept) = (Sites::new(), Tensors::new());
    for (path, [a, b]) in factors(&tensors, [".lora_A", ".lora_B"])? {
        let rank = a.shape[0];
        let gains = tensors.get(&format!("{path}.lora_E")).filter(|e| e.data.len() == rank).ok_or_else(|| {
            Problem::input(format!("layer {path} has no lora_E of its rank {rank}")).next("export the adapter again")
        })?;
        // A layer that the budget has left nothing computes nothing.
        if rank == 0 {
            continue;
        }
        let width = a.data.len() / rank;
        let data = a.data.chunks(width).zip(&gains.data).flat_map(|(row, e)| row.iter().map(move |v| v * e)).collect();
        sites.insert(path.clone(), (rank, (scale * rank as f64) as f32));
        kept.insert(format!("{path}.lora_A.weight"), HostTensor { shape: a.shape.clone(), data });
        kept.insert(format!("{path}.lora_B.weight"), b.clone());
    }
    Ok((Methods(spread(&MethodConfig::new(MethodKind::Lora), &sites, &fields)?), kept))
}

/// What PEFT's configuration says when training is over. PEFT asks for a schedule, which no longer matters.
fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    with(
        placed(model, method),
        json!({
            "beta1": 0.85,
            "beta2": 0.85,
            "bias": "none",
            "deltaT": method.interval,
            "fan_in_fan_out": fan_in_fan_out(model, method),
            "init_r": method.initial_rank,
            "lora_alpha": number(method.alpha.unwrap_or(1.0)),
            "lora_dropout": number(method.dropout.unwrap_or(0.0)),
            "orth_reg_weight": number(method.penalty.unwrap_or(0.0)),
            "r": method.rank,
            "rank_pattern": null,
            "target_r": method.rank,
            "tfinal": 0,
            "tinit": 0,
            "total_step": 1,
        }),
    )
}
