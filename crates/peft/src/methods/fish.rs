//! FISH mask: the weights of the largest squared gradients on some rows train (Sung et al. 2021, arXiv 2111.09839).

use stratune_protocol::ModelReport;

use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{SAMPLES, SHARE, TARGETS};
use crate::{MethodConfig, MethodKind, Site, Sparse, sparse};

/// FISH mask.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Fish,
    name: "fish",
    title: "FISH mask",
    sentence: "The weights with the largest Fisher information on some rows train and the rest stays.",
    trains: "some weights",
    family: Family::Selective,
    settings: &[TARGETS, SHARE, SAMPLES],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Fisher,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 0.3,
    saved_activations: SavedActivations::INPUTS.dense(2.0),
    trainable: sparse::numbers,
    moving: block_by_block,
    of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: sparse::written_down,
    for_original_base: as_it_is,
    peft: None,
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Sparse::new(config, site)?) as _) })
}

/// Sung et al. 2021, authors' code: 1,024 rows.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { samples: Some(1024), ..usual }
}
