//! LoRA-FA: LoRA whose A stays as drawn (Zhang et al. 2023, arXiv 2308.03303).

use stratune_protocol::ModelReport;

use crate::form::lora as lora_form;
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, DROPOUT, OVERRIDES, RANK, TARGETS};
use crate::size::at_sites;
use crate::{Lora, MethodConfig, MethodKind, Param, PeftError, Site};

/// LoRA-FA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::LoraFa,
    name: "lora_fa",
    title: "LoRA-FA",
    sentence: "LoRA whose A stays as drawn: half the parameters, fewer activations kept.",
    trains: "B",
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
    saved_activations: SavedActivations { inputs: false, ..SavedActivations::LOW_RANK },
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: Some(&lora_form::FORM),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(with_frozen_a(config, site)?) as _) })
}

fn with_frozen_a(config: &MethodConfig, site: &Site) -> Result<Lora, PeftError> {
    let lora = Lora::new(config, site)?;
    Ok(Lora { a: Param::frozen(lora.a.value), ..lora })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |site, [out, _]| method.at(&site.path).0.saturating_mul(out))
}
