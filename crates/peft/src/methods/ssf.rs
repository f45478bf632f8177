//! SSF: each output is scaled and shifted (Lian et al. 2022, arXiv 2210.08823, eq. 2).
//!
//! `y' = γ ⊙ y + β`; γ starts at 1, β at 0.

use burn::tensor::Tensor;
use stratune_protocol::ModelReport;

use crate::delta::{Left, Nature, plus, stays};
use crate::found::Found;
use crate::method::{
    Built, Enters, Family, FromData, Keeps, Merges, Method, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::TARGETS;
use crate::size::at_sites;
use crate::{Delta, MethodConfig, MethodKind, Named, Param, Pass, Site};

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
    usual_rate: 3.0,
    keeps: Keeps::INPUTS,
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_base_as_read: as_it_is,
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

    fn forward(&self, y: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let (scale, shift) = self.at(pass);
        y * scale.unsqueeze() + shift.unsqueeze()
    }

    /// γ and β at this pass.
    fn at(&self, pass: &Pass) -> (Tensor<1>, Tensor<1>) {
        let (scale, shift) = (self.scale.value.clone(), self.shift.value.clone());
        (pass.damp(Tensor::ones_like(&scale), scale), pass.damped(shift))
    }
}

impl Delta for Ssf {
    fn parameters(&mut self) -> Named<'_> {
        vec![("ssf_scale", (&mut self.scale).into()), ("ssf_shift", (&mut self.shift).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn nature(&self) -> Nature {
        Nature { makes_bias: true, ..Nature::PLAIN }
    }

    fn output(&self, _: Tensor<3>, y: Tensor<3>, _: &Found<'_>, pass: &Pass) -> Tensor<3> {
        self.forward(y, pass)
    }

    fn merge(&self, weight: Tensor<2>, bias: Option<Tensor<1>>, pass: &Pass) -> (Tensor<2>, Option<Tensor<1>>) {
        let (scale, shift) = self.at(pass);
        (weight * scale.clone().unsqueeze_dim(1), plus(bias.map(|b| b * scale), shift))
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn left(&self) -> Left<'_> {
        stays()
    }

    fn for_base_as_read(&mut self) {}
}
