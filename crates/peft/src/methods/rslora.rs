//! rsLoRA: LoRA whose s is α/√r (Kalajdzievski 2023, arXiv 2312.03732).

use crate::form::lora as lora_form;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, DROPOUT, OVERRIDES, RANK, TARGETS};
use crate::{Lora, MethodConfig, MethodKind, PeftError, Site, low_rank};

/// rsLoRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Rslora,
    name: "rslora",
    title: "rsLoRA",
    sentence: "LoRA scaled by alpha / √rank, so that high ranks still learn.",
    trains: "A and B",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, ALPHA.help("the update is scaled by alpha / √rank"), DROPOUT, OVERRIDES],
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
    Box::pin(async move { Ok(Box::new(rank_stabilized(config, site)?) as _) })
}

fn rank_stabilized(config: &MethodConfig, site: &Site) -> Result<Lora, PeftError> {
    let (rank, alpha) = config.at(&site.id.path);
    Ok(Lora { scale: alpha / (rank as f32).sqrt(), ..Lora::new(config, site)? })
}
