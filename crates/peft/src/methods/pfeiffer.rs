//! Adapters after the feed-forward (Pfeiffer et al. 2021, arXiv 2005.00247).

use stratune_protocol::ModelReport;

use crate::bottleneck::{AdapterPlacement, Written};
use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block, shares_nothing,
};
use crate::setting::{GATED, WIDTH};
use crate::switch::BOTTLENECK;
use crate::{MethodConfig, MethodKind, bottleneck};

/// Adapters (Pfeiffer).
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Pfeiffer,
    name: "pfeiffer",
    title: "Adapters (Pfeiffer)",
    sentence: "A small bottleneck network after the feed-forward.",
    trains: "the bottlenecks",
    family: Family::Additive,
    settings: &[WIDTH, GATED],
    enters: Enters::Block(&[AdapterPlacement::AfterMlp], Written::Dense),
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

/// Pfeiffer et al. 2021: a sixteenth of the model's width.
fn of_its_paper(usual: MethodConfig, model: &ModelReport) -> MethodConfig {
    MethodConfig { width: Some((model.hidden_size / 16).max(1)), ..usual }
}
