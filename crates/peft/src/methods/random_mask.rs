//! Random mask: weights drawn from the seed train; see [`Sparse`].

use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{SHARE, TARGETS};
use crate::{MethodConfig, MethodKind, Site, Sparse, sparse};

/// Random mask.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::RandomMask,
    name: "random_mask",
    title: "Random mask",
    sentence: "Weights drawn at random train: what a chosen mask has to beat.",
    trains: "some weights",
    family: Family::Selective,
    settings: &[TARGETS, SHARE],
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
    usual_rate: 0.3,
    saved_activations: SavedActivations::INPUTS.dense(2.0),
    trainable: sparse::numbers,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Sparse::new(config, site)?.at_random(site)) as _) })
}
