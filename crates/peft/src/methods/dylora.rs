//! DyLoRA: LoRA trained at every rank (Valipour et al. 2022, arXiv 2210.07558).
//!
//! While training, a rank b up to r is drawn for each batch: A's first b rows, B's first b columns, s = α/b.

use crate::form::lora as lora_form;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, DROPOUT, OVERRIDES, RANK, TARGETS};
use crate::{Lora, MethodConfig, MethodKind, PeftError, Site, low_rank};

/// DyLoRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Dylora,
    name: "dylora",
    title: "DyLoRA",
    sentence: "LoRA trained at every rank up to its own at once, so that any of them can be cut out afterwards.",
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
    nested_ranks: true,
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
    Box::pin(async move { Ok(Box::new(at_dynamic_rank(config, site)?) as _) })
}

fn at_dynamic_rank(config: &MethodConfig, site: &Site) -> Result<Lora, PeftError> {
    let (_, alpha) = config.at(&site.id.path);
    Ok(Lora { dynamic: Some(alpha), ..Lora::new(config, site)? })
}
