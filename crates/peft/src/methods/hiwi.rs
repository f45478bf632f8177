//! HiWi: a network on the biases, of which the biases that it makes are kept (Liao et al. 2023, arXiv 2305.16742,
//! §3.2).
//!
//! `y' = y + relu(b D) U`, b the layer's own bias, U zero at the start. Where a layer has no bias, or zeros, no gradient would
//! ever reach D: there the network reads a fixed random vector c in its place.

use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};
use futures::future::ready;
use stratune_protocol::{ModelReport, Role, Targets, normals};
use stratune_runtime::read_f32;

use super::bitfit::Bias;
use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Finalized, plus};
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::RANK;
use crate::site::{kaiming, uniform};
use crate::size::at_sites;
use crate::{Delta, ForwardContext, MethodConfig, MethodKind, Named, Param, PeftError, Site};

/// HiWi.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Hiwi,
    name: "hiwi",
    title: "HiWi",
    sentence: "A small network produces new biases of the feed-forward layers and is thrown away afterwards.",
    trains: "the network on the biases",
    family: Family::Reparameterised,
    settings: &[RANK.count(16)],
    enters: Enters::Linear(build),
    roles: &ROLES,
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
    saved_activations: SavedActivations::BIAS,
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized,
    for_original_base: as_it_is,
    peft: None,
};

/// The layers that it enters: the feed-forward's, of which it makes the biases.
const ROLES: [Role; 2] = [Role::Up, Role::Down];

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Hiwi::new(config, site).await?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, [out, _]| method.rank.unwrap_or(0).saturating_mul(2 * out))
}

/// The biases that the network makes.
fn finalized(method: &MethodConfig) -> MethodConfig {
    MethodConfig {
        layers: method.layers.clone(),
        targets: Some(Targets::listed(&ROLES.map(Role::name))),
        ..MethodConfig::new(MethodKind::Bitfit)
    }
}

/// HiWi's network on a bias.
#[derive(Clone, Debug)]
pub struct Hiwi {
    /// What it reads, `[out]`: the layer's bias, or c.
    pub input: Tensor<1>,
    /// D, `[rank, out]`.
    pub down: Param<2>,
    /// U, `[out, rank]`.
    pub up: Param<2>,
}

impl Hiwi {
    /// A new one that changes nothing yet.
    ///
    /// # Errors
    /// The rank is 0, or the device does not answer.
    pub async fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let (rank, _) = config.at(&site.id.path);
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        let (size, device) = (site.shape()[0], site.device());
        let mut rng = site.draws("hiwi");
        let random = normals(&mut rng, size, 1.0);
        let down = uniform(&mut rng, [rank, size], kaiming(size), &device);
        let own = match &site.bias {
            None => None,
            Some(bias) => Some(read_f32(bias.clone()).await.map_err(|e| PeftError::Device(Box::new(e)))?),
        };
        let input = own.filter(|bias| bias.iter().any(|b| *b != 0.0)).unwrap_or(random);
        Ok(Self {
            input: Tensor::from_data(TensorData::new(input, [size]), &device),
            down: Param::trainable(down),
            up: Param::trainable(Tensor::zeros([size, rank], &device)),
        })
    }

    /// The bias that it makes, `[out]`: all that is kept of it.
    pub fn made(&self) -> Tensor<1> {
        let narrow = relu(self.down.value.clone().matmul(self.input.clone().unsqueeze_dim(1)));
        self.up.value.clone().matmul(narrow).squeeze_dim(1)
    }
}

impl Delta for Hiwi {
    fn parameters(&mut self) -> Named<'_> {
        vec![("hiwi.down.weight", (&mut self.down).into()), ("hiwi.up.weight", (&mut self.up).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties { makes_bias: true, leaves: &["bias_update"], ..DeltaProperties::PLAIN }
    }

    fn output(&self, _: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        y + context.damped(self.made()).unsqueeze()
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight, plus(bias, context.damped(self.made())))
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        let bias = Bias { value: Param::trainable(self.made()) };
        Box::pin(ready(Ok(Some(Box::new(bias) as _))))
    }

    fn for_original_base(&mut self) {}

    fn bias(&self, context: &ForwardContext) -> Option<Tensor<1>> {
        Some(context.damped(self.made()))
    }
}
