//! Diff pruning: a difference for each weight, and a switch (Guo et al. 2021, arXiv 2012.07463).
//!
//! `W' = W + z ⊙ w`, w zero at the start. The switch z is a stretched concrete variable (Louizos et al. 2018): while
//! training `z = clip(σ(log u − log(1 − u) + α)(ζ − γ) + γ, 0, 1)` with u drawn evenly and γ = −1.5, ζ = 1.5;
//! afterwards without the draw. α starts at 5, nearly open. The penalty is what z is expected to leave open, `λ Σ σ(α −
//! log(−γ/ζ))`. Then the largest share of `z ⊙ w` is kept and trains on alone (§3.2).

use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use stratune_kernels::linear;
use stratune_protocol::{ModelReport, Problem, draws};
use stratune_runtime::read_f32;

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Effect, Finalized};
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{PENALTY, SHARE, TARGETS};
use crate::size::at_sites;
use crate::sparse::{check_share, kept};
use crate::{Delta, ForwardContext, MethodConfig, MethodKind, Named, Param, PeftError, Site, Sparse, sparse};

/// Diff pruning.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::DiffPruning,
    name: "diff_pruning",
    title: "Diff pruning",
    sentence: "A difference for each weight and a switch that a penalty closes; the largest share of it is kept.",
    trains: "differences and switches",
    family: Family::Selective,
    settings: &[TARGETS, SHARE, PENALTY],
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
    usual_rate: 0.3,
    saved_activations: SavedActivations::INPUTS.dense(3.0),
    trainable,
    moving: block_by_block,
    of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: sparse::written_down,
    for_original_base: as_it_is,
    peft: None,
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Diff::new(config, site)?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, [out, inputs]| 2 * out * inputs)
}

/// Guo et al. 2021, authors' code: a penalty of 1.25e-7 a switch.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { penalty: Some(1.25e-7), ..usual }
}

/// The stretched variable's ends.
const GAMMA: f32 = -1.5;
const ZETA: f32 = 1.5;
/// α where training starts.
const OPEN: f32 = 5.0;
/// α's learning rate over that of w.
const SWITCH_RATE: f64 = 10.0;

/// A dense difference with its switches.
#[derive(Clone, Debug)]
pub struct Diff {
    /// w, `[out, in]`.
    pub difference: Param<2>,
    /// α, `[out, in]`.
    pub switch: Param<2>,
    /// Share of the entries that is kept in the end.
    pub share: f32,
    penalty: f32,
    site: u64,
}

impl Diff {
    /// A new one that changes nothing yet.
    ///
    /// # Errors
    /// The share is less than one weight.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let (shape, device) = (site.shape(), site.device());
        check_share(config.share.unwrap_or(0.0), shape)?;
        Ok(Self {
            difference: Param::trainable(Tensor::zeros(shape, &device)),
            switch: Param::trainable(Tensor::full(shape, OPEN, &device)).at_rate(SWITCH_RATE),
            share: config.share.unwrap_or(0.0),
            penalty: config.penalty.unwrap_or(0.0),
            site: site.index,
        })
    }

    /// The update without a draw, `[out, in]`.
    fn update(&self) -> Tensor<2> {
        self.difference.value.clone() * stretched(self.switch.value.clone())
    }

    /// What is left of it: the largest share of the update.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn kept(&self) -> Result<Sparse, Problem> {
        let update = self.update();
        let (shape, device) = (update.dims(), update.device());
        Ok(Sparse::largest_of(&read_f32(update).await?, self.share, shape, &device))
    }

    /// As many entries, the first ones: what [`kept`](Self::kept) is read into.
    pub fn placeholder(&self) -> Sparse {
        let shape = self.switch.value.dims();
        Sparse::first(MethodKind::RandomMask, kept(self.share, shape).max(1), shape, &self.switch.value.device())
    }

    /// The update at this pass: while it trains, switches are drawn.
    fn at(&self, context: &ForwardContext) -> Tensor<2> {
        match context.dropout {
            None => self.update(),
            Some(key) => {
                let mut rng = draws(key.seed, "diff_pruning", [key.batch, (context.block as u64) << 8 | self.site]);
                let shape = self.switch.value.dims();
                let logit = |u: f32| (u / (1.0 - u)).ln();
                let noise: Vec<f32> =
                    (0..shape[0] * shape[1]).map(|_| logit(rng.random_range(1e-6..1.0 - 1e-6))).collect();
                let noise = Tensor::<2>::from_data(TensorData::new(noise, shape), &self.switch.value.device().inner());
                self.difference.value.clone() * stretched(self.switch.value.clone() + noise)
            }
        }
    }

    /// How many entries are expected to be open, `[1]`.
    pub fn expected_open(&self) -> Tensor<1> {
        sigmoid(self.shifted()).sum()
    }

    fn shifted(&self) -> Tensor<2> {
        self.switch.value.clone() - (-GAMMA / ZETA).ln()
    }
}

fn stretched(switch: Tensor<2>) -> Tensor<2> {
    (sigmoid(switch) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)
}

impl Delta for Diff {
    fn parameters(&mut self) -> Named<'_> {
        vec![("diff_values", (&mut self.difference).into()), ("diff_switch", (&mut self.switch).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties { effect: Effect::AddsMatrix, leaves: &Sparse::STORED, ..DeltaProperties::PLAIN }
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        y + linear(x, context.damped(self.at(context)))
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight + context.damped(self.at(context)), bias)
    }

    /// With respect to α.
    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        let open = sigmoid(self.shifted());
        vec![("diff_switch", (open.clone() * (open.neg() + 1.0)).mul_scalar(self.penalty))]
    }

    fn finalized(&self) -> Finalized<'_> {
        Box::pin(async { Ok(Some(Box::new(self.kept().await?) as _)) })
    }

    fn for_original_base(&mut self) {}

    fn dense(&self, context: &ForwardContext) -> Option<Tensor<2>> {
        Some(context.damped(self.at(context)))
    }
}
