//! PiSSA: LoRA that starts at the matrix's r largest directions, B₀A₀, which are taken off: s·(BA − B₀A₀) (Meng et al.
//! 2024, arXiv 2404.02948).
//!
//! The authors take B₀A₀ off the base weight. Here the base is never touched: the same sum, an exact identity at the
//! start, at the price of one more low-rank product.

use crate::form::lora as lora_form;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, DROPOUT, OVERRIDES, RANK, TARGETS};
use crate::{Lora, MethodConfig, MethodKind, PeftError, Site, low_rank, svd};

/// PiSSA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Pissa,
    name: "pissa",
    title: "PiSSA",
    sentence: "LoRA that starts from the matrix's own largest directions: learns faster.",
    trains: "A and B",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, ALPHA, DROPOUT, OVERRIDES],
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
    usual_rate: 1.0,
    saved_activations: SavedActivations::INPUTS,
    trainable: low_rank::numbers,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: |method| low_rank::as_lora(method, 2),
    peft: Some(&lora_form::ON_ITS_OWN_BASE),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(from_principal_components(config, site).await?) as _) })
}

async fn from_principal_components(config: &MethodConfig, site: &Site) -> Result<Lora, PeftError> {
    let lora = Lora::new(config, site)?;
    let start = svd::factors(&site.weight, lora.a.value.dims()[0], lora.scale).await?;
    Ok(Lora { start_in_base: true, ..lora.starting_at(start) })
}
