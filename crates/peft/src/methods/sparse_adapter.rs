//! SparseAdapter: adapters as Pfeiffer's, of whose matrices a share is kept that rows of the data choose (He et al.
//! 2022, arXiv 2210.04284).

use stratune_protocol::ModelReport;

use crate::bottleneck::{AdapterPlacement, Written};
use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{SAMPLES, SHARE, WIDTH};
use crate::sparse::kept;
use crate::{MethodConfig, MethodKind};

/// SparseAdapter.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::SparseAdapter,
    name: "sparse_adapter",
    title: "SparseAdapter",
    sentence: "A wide bottleneck of which only the weights that promise most are kept, chosen from a few rows before training.",
    trains: "the kept weights and the biases",
    family: Family::Additive,
    settings: &[WIDTH.count(64), SHARE.number(0.2), SAMPLES],
    enters: Enters::Block(&[AdapterPlacement::AfterMlp], Written::Sparse),
    roles: &[],
    merges: Merges::No,
    per_layer: true,
    has_layers: true,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Saliency,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 1.0,
    saved_activations: SavedActivations::OUTSIDE,
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    let (layers, width) = (method.layer_count(model.layers) as u64, method.width.unwrap_or(0));
    let kept = kept(method.share.unwrap_or(0.0), [model.hidden_size, width]) as u64;
    layers * (2 * kept + width as u64 + model.hidden_size as u64)
}
