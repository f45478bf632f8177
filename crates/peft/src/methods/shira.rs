//! SHiRA: weights drawn from the seed train, r (in + out) of them as in PEFT: as many as a LoRA of rank r has (Bhardwaj et al. 2024,
//! arXiv 2406.13175).

use stratune_protocol::ModelReport;

use crate::method::{
    Built, Enters, Family, FromData, Keeps, Merges, Method, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{RANK, TARGETS};
use crate::size::at_sites;
use crate::{MethodConfig, MethodKind, Site, Sparse};

/// SHiRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Shira,
    name: "shira",
    title: "SHiRA",
    sentence: "Weights drawn at random train, as many as a LoRA of the rank has: a small update of high rank.",
    trains: "some weights",
    family: Family::Selective,
    settings: &[TARGETS, RANK],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    usual_rate: 0.3,
    keeps: Keeps::INPUTS.dense(2.0),
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_base_as_read: as_it_is,
    peft: Some("SHIRA"),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Sparse::of_rank(config, site)?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |site, [out, inputs]| method.at(&site.path).0.saturating_mul(out + inputs))
}
