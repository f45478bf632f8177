//! Parallel adapters: beside the feed-forward, whose input goes in and whose output gets `a` (He et al. 2022, arXiv
//! 2110.04366, §3.3).

use stratune_protocol::ModelReport;

use crate::bottleneck::{AdapterPlacement, Written};
use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block, shares_nothing,
};
use crate::setting::{SCALE, WIDTH};
use crate::switch::BOTTLENECK;
use crate::{MethodConfig, MethodKind, bottleneck};

/// Parallel adapter.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Parallel,
    name: "parallel",
    title: "Parallel adapter",
    sentence: "A scaled bottleneck network beside the feed-forward.",
    trains: "the bottlenecks",
    family: Family::Additive,
    settings: &[WIDTH, SCALE],
    enters: Enters::Block(&[AdapterPlacement::BesideMlp], Written::Dense),
    roles: &[],
    merges: Merges::No,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: Some(&BOTTLENECK),
    usual_rate: 1.0,
    saved_activations: SavedActivations::OUTSIDE,
    trainable: bottleneck::numbers,
    moving: block_by_block,
    of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

/// He et al. 2022: 512, scaled by 4.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { width: Some(512), scale: Some(4.0), ..usual }
}
