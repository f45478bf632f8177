//! A low-rank update: LoRA (Hu et al. 2021, arXiv 2106.09685, eq. 3), and the methods that differ from it in a line.
//!
//! `y = x Wᵀ + s · (x Aᵀ) Bᵀ`, on the activation side: `W + s·BA` is never formed while training, so a step costs 4N
//! multiply-adds a token and not 6N, and no gradient as large as W exists.
//!
//! A is uniform within ±1/√in at the start (Kaiming with a = √5), B is zero. Gated (UniPELT, 2110.07577, §3.2), s is
//! σ(w·x + b), learned, for each token.

use burn::tensor::Tensor;
use rand::RngExt;
use stratune_kernels::{Factors, QuantizedDtype, linear};
use stratune_protocol::{ModelReport, Role, Targets, draws};

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Finalized, stays};
use crate::site::{kaiming, uniform};
use crate::size::at_sites;
use crate::{
    Delta, ForwardContext, Gate, MethodConfig, MethodKind, Named, Param, PeftError, Site, TargetOverride, gate,
};

/// The two factors of an update.
#[derive(Clone, Debug)]
pub struct Lora {
    /// A, `[rank, in]`.
    pub a: Param<2>,
    /// B, `[out, rank]`.
    pub b: Param<2>,
    /// PiSSA and LoftQ: A₀ and B₀, where the factors started.
    pub start: Option<(Tensor<2>, Tensor<2>)>,
    /// Whether the base has what the factors start at, so that it is taken off: PiSSA's does, LoftQ's does not.
    pub start_in_base: bool,
    /// Decides for each token how much is added, in place of the scale.
    pub gate: Option<Gate>,
    /// What the product is multiplied by, s.
    pub scale: f32,
    /// DyLoRA: α, and a draw of the rank at each batch.
    pub dynamic: Option<f32>,
    /// Share of the input's entries that training drops.
    pub dropout: f32,
    /// Number of the site within its block: tells its dropout draws from its neighbours'.
    pub site: u64,
}

impl Lora {
    /// A new update that changes nothing yet.
    ///
    /// # Errors
    /// The rank does not fit the layer.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let [outputs, inputs] = site.shape();
        let (rank, alpha) = config.at(&site.id.path);
        check_rank(rank, [outputs, inputs])?;
        let device = site.device();
        let a = uniform(&mut site.draws("lora_A"), [rank, inputs], kaiming(inputs), &device);
        let b = Tensor::zeros([outputs, rank], &device);
        let gated = config.gated == Some(true);
        Ok(Self {
            a: Param::trainable(a),
            b: Param::trainable(b).at_rate(config.ratio.unwrap_or(1.0)),
            start: None,
            start_in_base: false,
            gate: gated.then(|| Gate::new(inputs, &mut site.draws("gate"), &device)),
            scale: alpha / rank as f32,
            dynamic: None,
            dropout: config.dropout.unwrap_or(0.0),
            site: site.index,
        })
    }

    /// The same with other factors at the start, which are remembered.
    pub(crate) fn starting_at(self, (a, b): (Tensor<2>, Tensor<2>)) -> Self {
        let start = Some((a.clone(), b.clone()));
        Self { a: Param::trainable(a), b: Param { value: b, ..self.b }, start, ..self }
    }

    /// The addition to the layer's output.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, in]`
    /// - output: `[batch, seq, out]`
    pub fn forward(&self, x: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        let x = match context.dropout_mask(self.dropout, self.site, x.dims(), &x.device().inner()) {
            Some(mask) => x * mask,
            None => x,
        };
        let Factors { a, b, scale } = self.scaled(context);
        if let Some(gate) = &self.gate {
            let open = gate.open(x.clone());
            return linear(linear(x, a).mul_scalar(context.damping), b) * open;
        }
        let y = linear(linear(x.clone(), a).mul_scalar(scale), b);
        match self.start.as_ref().filter(|_| self.start_in_base) {
            None => y,
            Some((a, b)) => y - linear(linear(x, a.clone()).mul_scalar(self.scale * context.damping), b.clone()),
        }
    }

    /// The two matrices at this pass, and what their product is multiplied by.
    fn scaled(&self, context: &ForwardContext) -> Factors {
        let (a, b, scale) = match self.dynamic.zip(context.dropout) {
            None => (self.a.value.clone(), self.b.value.clone(), self.scale),
            Some((alpha, key)) => {
                // One rank for all layers of a batch, as its paper has it.
                let rank = draws(key.seed, "dylora_rank", [key.batch, 0]).random_range(1..=self.a.value.dims()[0]);
                let (a, b) = self.sliced(rank);
                (a, b, alpha / rank as f32)
            }
        };
        Factors { a, b, scale: scale * context.damping }
    }

    /// A's first rows and B's first columns.
    pub fn sliced(&self, rank: usize) -> (Tensor<2>, Tensor<2>) {
        (self.a.value.clone().narrow(0, 0, rank), self.b.value.clone().narrow(1, 0, rank))
    }

    /// The dense update, `[out, in]`.
    pub fn update(&self) -> Tensor<2> {
        let product = |a: &Tensor<2>, b: &Tensor<2>| b.clone().matmul(a.clone());
        let whole = product(&self.a.value, &self.b.value);
        let whole = match self.start.as_ref().filter(|_| self.start_in_base) {
            None => whole,
            Some((a, b)) => whole - product(a, b),
        };
        whole.mul_scalar(self.scale)
    }
}

/// Numbers that train: both factors, and a gate.
pub(crate) fn numbers(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |site, [out, inputs]| {
        let factors = method.at(&site.path).0.saturating_mul(out + inputs);
        factors.saturating_add(gate::numbers(method, inputs))
    })
}

/// Hu et al. 2021, §4.2 and 7.1: the matrices of queries and values. LoRA+ and rsLoRA are of the same setting.
pub(crate) fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { targets: Some(Targets::listed(&[Role::Query.name(), Role::Value.name()])), ..usual }
}

/// A plain LoRA of so many times the rank, which has what the factors started at taken off.
pub(crate) fn as_lora(method: &MethodConfig, times: usize) -> MethodConfig {
    let over = |over: &TargetOverride| TargetOverride {
        rank: over.rank.map(|r| times * r),
        alpha: over.alpha.map(|a| times as f32 * a),
    };
    MethodConfig {
        kind: MethodKind::Lora,
        bits: None,
        gated: Some(false),
        rank: method.rank.map(|r| times * r),
        alpha: method.alpha.map(|a| times as f32 * a),
        overrides: method.overrides.iter().map(|(path, o)| (path.clone(), over(o))).collect(),
        ..method.clone()
    }
}

/// What so many bits of a base weight, 4 or 8, are quantized to.
pub fn base_bits(bits: usize) -> QuantizedDtype {
    if bits == 8 { QuantizedDtype::Int8 } else { QuantizedDtype::Int4 }
}

/// Refuses a rank that trains nothing or adds parameters and no freedom.
pub(crate) fn check_rank(rank: usize, [outputs, inputs]: [usize; 2]) -> Result<(), PeftError> {
    let smaller = outputs.min(inputs);
    match rank {
        0 => Err(PeftError::RankZero),
        _ if rank > smaller => Err(PeftError::RankAboveMatrix { rank, smaller, outputs, inputs }),
        _ => Ok(()),
    }
}

impl Delta for Lora {
    fn parameters(&mut self) -> Named<'_> {
        let mut all: Named<'_> = vec![("lora_A.weight", (&mut self.a).into()), ("lora_B.weight", (&mut self.b).into())];
        all.extend(self.gate.iter_mut().flat_map(Gate::parameters));
        all
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties { gated: self.gate.is_some(), ..DeltaProperties::PLAIN }
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

    /// Makes PiSSA's or LoftQ's factors and their start one pair of twice the rank, which any reader of LoRA computes
    /// on the base as its file has it: on the few bits that LoftQ has trained on, the start would be missing.
    fn for_original_base(&mut self) {
        if let Some((a, b)) = self.start.take() {
            self.a = Param::trainable(Tensor::cat(vec![self.a.value.clone(), a], 0));
            self.b = Param::trainable(Tensor::cat(vec![self.b.value.clone(), b.neg()], 1));
        }
    }

    /// The two matrices, if what it adds to the input as it is is their product and nothing else.
    fn factors(&self, context: &ForwardContext) -> Option<Factors> {
        let drops = self.dropout > 0.0 && context.dropout.is_some();
        let alone = self.gate.is_none() && !(self.start_in_base && self.start.is_some());
        (alone && !drops).then(|| self.scaled(context))
    }

    fn operands(&mut self) -> Named<'_> {
        vec![("lora_A.weight", (&mut self.a).into()), ("lora_B.weight", (&mut self.b).into())]
    }
}
