//! LoRA+: LoRA whose B learns `ratio` times as fast as its A (Hayou et al. 2024, arXiv 2402.12354).

use crate::form::lora as lora_form;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, DROPOUT, OVERRIDES, RANK, RATIO, TARGETS};
use crate::{Lora, MethodConfig, MethodKind, Site, low_rank};

/// LoRA+.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::LoraPlus,
    name: "lora_plus",
    title: "LoRA+",
    sentence: "LoRA whose B learns faster than its A.",
    trains: "A and B",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, ALPHA, DROPOUT, OVERRIDES, RATIO],
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
    saved_activations: SavedActivations::LOW_RANK,
    trainable: low_rank::numbers,
    moving: block_by_block,
    of_its_paper: low_rank::of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: Some(&lora_form::FORM),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Lora::new(config, site)?) as _) })
}
