//! LoRA: a low-rank update beside each matrix (Hu et al. 2021, arXiv 2106.09685, eq. 3); see [`Lora`].

use crate::form::lora as lora_form;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, DROPOUT, GATED, OVERRIDES, RANK, TARGETS};
use crate::switch::LOW_RANK;
use crate::{Lora, MethodConfig, MethodKind, Site, low_rank};

/// LoRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Lora,
    name: "lora",
    title: "LoRA",
    sentence: "A low-rank update beside each matrix: the usual choice.",
    trains: "A and B",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, ALPHA, DROPOUT, OVERRIDES, GATED],
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
    switch: Some(&LOW_RANK),
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
