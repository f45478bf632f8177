//! Child-tuning F: full tuning in which each step drops most of the gradient at random (Xu et al. 2021, arXiv
//! 2109.05687).

use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{SHARE, TARGETS};
use crate::size::matrices;
use crate::{MethodConfig, MethodKind, PeftError, UpdateRule};

/// Child-tuning (F).
pub(super) static METHOD: Method = Method {
    kind: MethodKind::ChildTuning,
    name: "child_tuning",
    title: "Child-tuning (F)",
    sentence: "Full fine-tuning in which each step drops most of the gradient at random.",
    trains: "the matrices",
    family: Family::Selective,
    settings: &[TARGETS, SHARE.number(0.3).help("of the gradient that a step keeps")],
    enters: Enters::InPlace(rule),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: true,
    needs_gradients: true,
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

fn rule(config: &MethodConfig, _: [usize; 2]) -> Result<UpdateRule, PeftError> {
    Ok(UpdateRule::Masked { share: config.share.unwrap_or(1.0) })
}
