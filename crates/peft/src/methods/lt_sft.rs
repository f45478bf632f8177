//! LT-SFT: the weights that move most in a first training of everything train (Ansell et al. 2022, arXiv 2110.07560).

use stratune_protocol::ModelReport;

use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{SAMPLES, SHARE, TARGETS};
use crate::{MethodConfig, MethodKind, Site, Sparse, sparse};

/// Lottery-ticket tuning (LT-SFT).
pub(super) static METHOD: Method = Method {
    kind: MethodKind::LtSft,
    name: "lt_sft",
    title: "Lottery-ticket tuning (LT-SFT)",
    sentence: "Everything trains for a while; what moved most is put back and trains alone.",
    trains: "some weights",
    family: Family::Selective,
    settings: &[TARGETS, SHARE, SAMPLES.least(0)],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Moves,
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

/// Ansell et al. 2022: the first phase is as long as the second.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { samples: Some(0), ..usual }
}
