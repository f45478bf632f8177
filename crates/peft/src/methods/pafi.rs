//! PaFi: the weights of least magnitude train (Liao et al. 2023, arXiv 2305.16742, §3.1); see [`Sparse`].

use stratune_protocol::{IstMode, Problem};

use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, block_by_block,
    shares_nothing,
};
use crate::setting::{SHARE, TARGETS};
use crate::{MethodConfig, MethodKind, Methods, Site, Sparse, sparse};

/// PaFi.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Pafi,
    name: "pafi",
    title: "PaFi",
    sentence: "The smallest weights train and the rest stays; the choice needs no data.",
    trains: "the smallest weights",
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
    fits,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Sparse::new(config, site)?.at_smallest_magnitudes(site).await?) as _) })
}

fn fits(methods: &Methods, _: IstMode) -> Result<(), Problem> {
    match methods.iter().find(|m| m.kind.method().few_bits) {
        None => Ok(()),
        Some(few_bits) => {
            let what =
                format!("pafi trains the smallest weights of the base, which {} keeps in few bits", few_bits.kind);
            Err(Problem::input(what).at("method").next("choose one of them, or use --base-dtype with pafi"))
        }
    }
}
