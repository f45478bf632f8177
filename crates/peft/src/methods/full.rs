//! Full fine-tuning of the matrices.

use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::TARGETS;
use crate::size::matrices;
use crate::{MethodConfig, MethodKind, PeftError, UpdateRule};

/// Full fine-tuning.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Full,
    name: "full",
    title: "Full fine-tuning",
    sentence: "Whole matrices train: the yardstick.",
    trains: "the matrices",
    family: Family::Selective,
    settings: &[TARGETS],
    enters: Enters::InPlace(rule),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 0.3,
    saved_activations: SavedActivations::INPUTS,
    trainable: matrices,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn rule(_: &MethodConfig, _: [usize; 2]) -> Result<UpdateRule, PeftError> {
    Ok(UpdateRule::Plain)
}
