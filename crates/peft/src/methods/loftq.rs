//! LoftQ: QLoRA whose A and B start at what the few bits have lost (Li et al. 2023, arXiv 2310.08659).

use crate::form::lora as lora_form;
use crate::low_rank::base_bits;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, BITS, DROPOUT, OVERRIDES, RANK, TARGETS};
use crate::weight::quantized;
use crate::{Lora, MethodConfig, MethodKind, PeftError, Site, low_rank, svd};

/// LoftQ.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Loftq,
    name: "loftq",
    title: "LoftQ",
    sentence: "QLoRA whose update starts at what the few bits have lost.",
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
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: |method| low_rank::as_lora(method, 2),
    peft: Some(&lora_form::ON_ITS_OWN_BASE),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(from_quantization_error(config, site).await?) as _) })
}

/// s·BA has the largest directions of W − Q, with Q the few bits of W, which is what the base holds (algorithm 1, one
/// turn as in PEFT).
async fn from_quantization_error(config: &MethodConfig, site: &Site) -> Result<Lora, PeftError> {
    let (lora, bits) = (Lora::new(config, site)?, config.bits.unwrap_or(4));
    let kept = quantized(site.weight.clone(), base_bits(bits)).await.map_err(|e| PeftError::Device(Box::new(e)))?;
    let lost = site.weight.clone() - kept.dense();
    let start = svd::factors(&lost, lora.a.value.dims()[0], lora.scale).await?;
    Ok(lora.starting_at(start))
}
