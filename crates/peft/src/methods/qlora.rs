//! QLoRA: LoRA on a base that is kept in few bits ([`Weight::pack`](crate::Weight::pack)), evenly spaced where NF4
//! follows the normal distribution (Dettmers et al. 2023, arXiv 2305.14314).

use stratune_protocol::ModelReport;

use crate::form::lora as lora_form;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, BITS, DROPOUT, OVERRIDES, RANK, TARGETS};
use crate::{Lora, MethodConfig, MethodKind, Site, low_rank};

/// QLoRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Qlora,
    name: "qlora",
    title: "QLoRA",
    sentence: "LoRA on a base whose matrices are kept in 4 or 8 bits.",
    trains: "A and B",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, ALPHA, DROPOUT, OVERRIDES, BITS],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: true,
    nested_ranks: false,
    switch: None,
    usual_rate: 1.0,
    saved_activations: SavedActivations::LOW_RANK,
    trainable: low_rank::numbers,
    moving: block_by_block,
    of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: |method| low_rank::as_lora(method, 1),
    peft: Some(&lora_form::ON_ITS_OWN_BASE),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Lora::new(config, site)?) as _) })
}

/// Dettmers et al. 2023: all matrices, rank 64, alpha 16, dropout 0.1 (7 B and 13 B).
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { rank: Some(64), alpha: Some(16.0), dropout: Some(0.1), ..usual }
}
