//! LoKr and KronA: the update is a Kronecker product (Edalati et al. 2022, arXiv 2212.10650; Yeh et al. 2023, arXiv
//! 2309.14859).
//!
//! `ΔW = α/r · W₁ ⊗ W₂`, with `W₂ = W₂ₐ W₂ᵦ` of rank r where that is smaller. W₁ starts at zero, the others
//! Kaiming-uniform. The product is never formed: `x` seen as `[i₁, i₂]` goes through W₂ on one side and W₁ on the
//! other.

use burn::tensor::Tensor;
use serde_json::{Map, Value, json};
use stratune_kernels::linear;
use stratune_protocol::ModelReport;
use stratune_protocol::Problem;
use stratune_store::HostTensor;

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Finalized, stays};
use crate::form::{
    Form, Given, Read, Sites, fan_in_fan_out, number, patterns, placed, prefixed, refuse, spread, unprefixed, with,
};
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, RANK, TARGETS};
use crate::site::{kaiming, uniform};
use crate::size::at_sites;
use crate::{Delta, ForwardContext, MethodConfig, MethodKind, Methods, Named, Param, PeftError, Site};

/// LoKr / KronA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Lokr,
    name: "lokr",
    title: "LoKr / KronA",
    sentence: "The update is a Kronecker product of two small matrices: high rank from few numbers.",
    trains: "both factors",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, ALPHA.number(8.0)],
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

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Kronecker::new(config, site)?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, shape| KroneckerShape::of(shape, method.rank.unwrap_or(0)).numbers())
}

/// The factors of an update.
#[derive(Clone, Debug)]
pub struct Kronecker {
    /// W₁, `[o₁, i₁]`.
    pub first: Param<2>,
    /// W₂.
    pub second: Second,
    /// What the product is multiplied by: α/r, also where W₂ is whole.
    pub scale: f32,
}

/// The second factor.
#[derive(Clone, Debug)]
// A model holds few of them: a pointer would buy nothing.
#[allow(clippy::large_enum_variant)]
pub enum Second {
    /// `[o₂, i₂]`.
    Whole(Param<2>),
    /// `[o₂, r]` and `[r, i₂]`.
    Product(Param<2>, Param<2>),
}

impl Second {
    fn value(&self) -> Tensor<2> {
        match self {
            Self::Whole(whole) => whole.value.clone(),
            Self::Product(a, b) => a.value.clone().matmul(b.value.clone()),
        }
    }
}

impl Kronecker {
    /// A new update that changes nothing yet.
    ///
    /// # Errors
    /// The rank is 0.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let (rank, alpha) = config.at(&site.id.path);
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        let shape = KroneckerShape::of(site.shape(), rank);
        let (device, [o2, i2]) = (site.device(), shape.second);
        let mut rng = site.draws("lokr_w2");
        let mut draw = |shape: [usize; 2]| Param::trainable(uniform(&mut rng, shape, kaiming(shape[1]), &device));
        let second = match shape.rank {
            None => Second::Whole(draw([o2, i2])),
            Some(rank) => Second::Product(draw([o2, rank]), draw([rank, i2])),
        };
        let first = Param::trainable(Tensor::zeros(shape.first, &device));
        Ok(Self { first, second, scale: alpha / rank as f32 })
    }

    /// The addition to the layer's output.
    fn forward(&self, x: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let ([o1, i1], second) = (self.first.value.dims(), self.second.value());
        let [o2, i2] = second.dims();
        // [tokens, i₁, i₂] → [tokens, i₁, o₂] → [tokens, o₂, i₁] → [tokens, o₂, o₁] → [tokens, o₁, o₂]
        let right = linear(x.reshape([batch * seq, i1, i2]), second).swap_dims(1, 2);
        let both = linear(right, self.first.value.clone()).swap_dims(1, 2);
        both.reshape([batch, seq, o1 * o2]).mul_scalar(self.scale * context.damping)
    }

    /// The dense update, `[out, in]`.
    fn update(&self) -> Tensor<2> {
        let (first, second) = (self.first.value.clone(), self.second.value());
        let ([o1, i1], [o2, i2]) = (first.dims(), second.dims());
        let product = first.reshape([o1, 1, i1, 1]) * second.reshape([1, o2, 1, i2]);
        product.reshape([o1 * o2, i1 * i2]).mul_scalar(self.scale)
    }
}

impl Delta for Kronecker {
    fn parameters(&mut self) -> Named<'_> {
        let mut all: Named<'_> = vec![("lokr_w1", (&mut self.first).into())];
        match &mut self.second {
            Second::Whole(whole) => all.push(("lokr_w2", whole.into())),
            Second::Product(a, b) => all.extend([("lokr_w2_a", a.into()), ("lokr_w2_b", b.into())]),
        }
        all
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

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}
}

/// How a matrix is written as a Kronecker product: `[o₁, i₁] ⊗ [o₂, i₂]`, the second factor as a product of rank r if
/// that is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KroneckerShape {
    /// Of the first factor, the smaller one.
    pub first: [usize; 2],
    /// Of the second.
    pub second: [usize; 2],
    /// Rank of the second, if it is written as a product.
    pub rank: Option<usize>,
}

impl KroneckerShape {
    /// For an `[out, in]` matrix. Each side is split as evenly as its divisors allow; the second factor is a product if
    /// the rank is below half its larger side, as in LyCORIS and PEFT.
    pub fn of([out, inputs]: [usize; 2], rank: usize) -> Self {
        let split = |n: usize| {
            let small = (1..).take_while(|s| s * s <= n).filter(|s| n.is_multiple_of(*s)).last().unwrap_or(1);
            (small, n / small)
        };
        let ((o1, o2), (i1, i2)) = (split(out), split(inputs));
        let rank = (2 * rank < o2.max(i2)).then_some(rank);
        Self { first: [o1, i1], second: [o2, i2], rank }
    }

    /// Numbers in the factors.
    pub fn numbers(self) -> usize {
        let Self { first: [o1, i1], second: [o2, i2], rank } = self;
        o1 * i1 + rank.map_or(o2 * i2, |r| r * (o2 + i2))
    }
}

static FORM: Form = Form {
    peft_type: "LOKR",
    read,
    // PEFT has it for matrices that are `[out, in]` alone.
    write: |model, method, tensors| {
        (!fan_in_fan_out(model, method)).then(|| (fields(model, method), prefixed(tensors.clone())))
    },
    integers: &[],
};

const KEYS: [&str; 11] = [
    "alpha",
    "alpha_pattern",
    "decompose_both",
    "decompose_factor",
    "init_weights",
    "module_dropout",
    "r",
    "rank_dropout",
    "rank_dropout_scale",
    "rank_pattern",
    "use_effective_conv2d",
];

fn read(given: Given<'_>) -> Read {
    given.known(&KEYS)?;
    let patterns = given.patterns()?;
    for key in ["rank_dropout_scale", "use_effective_conv2d"] {
        if given.is_true(key) {
            return refuse(format!("{key} is true"));
        }
    }
    let (Some(rank), Some(alpha)) =
        (given.fields.get("r").and_then(Value::as_u64), given.fields.get("alpha").and_then(Value::as_f64))
    else {
        return refuse("r or alpha is missing");
    };
    let Given { fields, tensors, .. } = given;
    let mut tensors = unprefixed(tensors)?;
    // The first factor as a product is multiplied out: it is the smaller one.
    let products: Vec<String> =
        tensors.keys().filter_map(|k| k.strip_suffix(".lokr_w1_a").map(str::to_owned)).collect();
    for layer in products {
        let (Some(a), Some(b)) =
            (tensors.remove(&format!("{layer}.lokr_w1_a")), tensors.remove(&format!("{layer}.lokr_w1_b")))
        else {
            return refuse(format!("layer {layer} has lokr_w1_a without lokr_w1_b"));
        };
        tensors.insert(format!("{layer}.lokr_w1"), product(&a, &b)?);
    }
    let mut sites = Sites::new();
    for path in tensors.keys() {
        let layer = [".lokr_w1", ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b"].iter().find_map(|end| path.strip_suffix(end));
        let Some(layer) = layer else { return refuse(format!("tensor '{path}' is not part of a LoKr adapter")) };
        let shape =
            (patterns.ranks.at(layer).unwrap_or(rank as usize), patterns.alphas.at(layer).unwrap_or(alpha as f32));
        if shape.0 == 0 {
            return refuse(format!("layer {layer} has the rank 0"));
        }
        sites.insert(layer.to_string(), shape);
    }
    let usual =
        MethodConfig { rank: Some(rank as usize), alpha: Some(alpha as f32), ..MethodConfig::new(MethodKind::Lokr) };
    Ok((Methods(spread(&usual, &sites, &fields)?), tensors))
}

fn product(a: &HostTensor, b: &HostTensor) -> Result<HostTensor, Problem> {
    let ([rows, rank], [inner, columns]) = (shape(a)?, shape(b)?);
    if rank != inner {
        return refuse(format!("factors {:?} and {:?} do not fit", a.shape, b.shape));
    }
    let at = |i: usize, j: usize| (0..rank).map(|k| a.data[i * rank + k] * b.data[k * columns + j]).sum();
    let data = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect();
    Ok(HostTensor { shape: vec![rows, columns], data })
}

fn shape(of: &HostTensor) -> Result<[usize; 2], Problem> {
    match of.shape[..] {
        [rows, columns] => Ok([rows, columns]),
        _ => refuse(format!("a factor has the shape {:?}", of.shape)),
    }
}

fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let [ranks, alphas] = patterns(method, model);
    with(
        placed(model, method),
        json!({
            "alpha": number(method.alpha.unwrap_or(1.0)),
            "alpha_pattern": alphas,
            "decompose_both": false,
            "decompose_factor": -1,
            "init_weights": true,
            "module_dropout": 0.0,
            "r": method.rank,
            "rank_dropout": 0.0,
            "rank_dropout_scale": false,
            "rank_pattern": ranks,
            "use_effective_conv2d": false,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kronecker_factors_multiply_to_the_matrix() {
        for (shape, rank, want) in [
            ([160, 416], 4, KroneckerShape { first: [10, 16], second: [16, 26], rank: Some(4) }),
            ([32, 160], 8, KroneckerShape { first: [4, 10], second: [8, 16], rank: None }),
            ([7, 1], 1, KroneckerShape { first: [1, 1], second: [7, 1], rank: Some(1) }),
        ] {
            let got = KroneckerShape::of(shape, rank);
            assert_eq!(got, want);
            assert_eq!([got.first[0] * got.second[0], got.first[1] * got.second[1]], shape);
        }
    }
}
