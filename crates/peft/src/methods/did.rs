//! DID: a few numbers steer all weights, `W' = W + P v` (Aghajanyan et al. 2021, arXiv 2012.13255, eq. 1); see
//! [`Intrinsic`].

use stratune_protocol::Problem;

use crate::method::{
    Built, Entered, Enters, Family, FromData, Merges, Method, SavedActivations, as_a_whole, as_it_is, as_usual,
    beside_any,
};
use crate::setting::{DIMENSION, PROJECTION, TARGETS};
use crate::{Intrinsic, MethodConfig, MethodKind, Shared, Site, intrinsic};

/// Intrinsic dimension (DID).
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Did,
    name: "did",
    title: "Intrinsic dimension (DID)",
    sentence: "A handful of numbers steers all weights through fixed random directions.",
    trains: "v",
    family: Family::Reparameterised,
    settings: &[TARGETS, DIMENSION, PROJECTION],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: false,
    has_layers: true,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 10.0,
    saved_activations: SavedActivations::INPUTS.dense(1.0),
    trainable: intrinsic::numbers,
    moving: as_a_whole,
    of_its_paper: as_usual,
    fits: beside_any,
    share,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Intrinsic::new(config, site, config.dimension.unwrap_or(0), None)?) as _) })
}

fn share(method: &MethodConfig, entered: &Entered<'_>, shared: &mut Shared) -> Result<(), Problem> {
    intrinsic::share(method.dimension.unwrap_or(0), entered, shared);
    Ok(())
}
