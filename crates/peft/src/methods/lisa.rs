//! LISA: a few whole layers at a time train, drawn anew at intervals, and embeddings and head always (Pan et al. 2024,
//! arXiv 2403.17919). The draw is a hook of the loop.

use stratune_protocol::{IstMode, ModelReport, Problem};

use crate::method::{
    Enters, Family, FromData, Merges, Method, Moving, SavedActivations, as_it_is, as_usual, shares_nothing,
};
use crate::setting::{BLOCKS, INTERVAL};
use crate::{MethodConfig, MethodKind, Methods};

/// LISA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Lisa,
    name: "lisa",
    title: "LISA",
    sentence: "A few whole layers at a time train, drawn anew at intervals, and embeddings and head always.",
    trains: "whole layers, embeddings, head",
    family: Family::Selective,
    settings: &[BLOCKS, INTERVAL.count(20)],
    enters: Enters::Whole,
    roles: &[],
    merges: Merges::Weights,
    per_layer: false,
    has_layers: false,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 0.3,
    saved_activations: SavedActivations::INPUTS,
    trainable,
    moving,
    of_its_paper: as_usual,
    fits,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn trainable(_: &MethodConfig, model: &ModelReport) -> u64 {
    model.parameters
}

/// The blocks that train at a step, and all that is outside of blocks.
fn moving(method: &MethodConfig, model: &ModelReport) -> Moving {
    let trained = model.parameters as f64;
    let block = model.block_matrices() + 2.0 * model.hidden_size as f64;
    let moving = trained - model.layers.saturating_sub(method.blocks.unwrap_or(1)) as f64 * block;
    let layers = method.layer_count(model.layers).max(1) as f64;
    Moving { gradients: moving, moments: 2.0 * moving, shifted: 2.0 * (trained - (layers - 1.0) * block) }
}

fn fits(_: &Methods, ist: IstMode) -> Result<(), Problem> {
    match ist {
        IstMode::All => Ok(()),
        _ => Err(Problem::input("lisa draws its layers itself").at("ist.mode").next("use --ist=all with it")),
    }
}
