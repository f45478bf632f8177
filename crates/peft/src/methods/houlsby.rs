//! Adapters after the attention, `h + a(h)`, and after the feed-forward (Houlsby et al. 2019, arXiv 1902.00751).

use stratune_protocol::ModelReport;

use crate::bottleneck::{AdapterPlacement, Written};
use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block, shares_nothing,
};
use crate::setting::WIDTH;
use crate::switch::BOTTLENECK;
use crate::{MethodConfig, MethodKind, bottleneck};

/// Adapters (Houlsby).
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Houlsby,
    name: "houlsby",
    title: "Adapters (Houlsby)",
    sentence: "A small bottleneck network after the attention and after the feed-forward.",
    trains: "the bottlenecks",
    family: Family::Additive,
    settings: &[WIDTH],
    enters: Enters::Block(&[AdapterPlacement::AfterAttention, AdapterPlacement::AfterMlp], Written::Dense),
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
    trainable,
    moving: block_by_block,
    of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    2 * bottleneck::numbers(method, model)
}

/// Houlsby et al. 2019: up to 256, 64 where one size is used for all tasks.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { width: Some(64), ..usual }
}
