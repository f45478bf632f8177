//! Layer-norm tuning: only the gains of the norms train, and their biases where they have some.

use std::collections::BTreeSet;
use stratune_protocol::{ModelReport, Module};

use serde_json::{Map, Value, json};

use crate::form::{Form, Given, Read, prefixed, refuse, unprefixed, with};
use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::switch::{Scaled, Switch};
use crate::{MethodConfig, MethodKind};

/// Layer-norm tuning.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::LayerNorm,
    name: "layer_norm",
    title: "Layer-norm tuning",
    sentence: "Only the gains of the norms train.",
    trains: "norm gains",
    family: Family::Selective,
    settings: &[],
    enters: Enters::Norm,
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: Some(&SWITCH),
    usual_rate: 3.0,
    saved_activations: SavedActivations::OUTSIDE,
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: Some(&FORM),
};

/// The last norm belongs to no block, and a search leaves it as it is.
static SWITCH: Switch = Switch {
    size: None,
    parameters: &[("ln_tuning_layers.weight", Scaled::From("weight")), ("ln_tuning_layers.bias", Scaled::From("bias"))],
};

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    let enters = |norm: &&Module| match norm.block {
        Some(block) => norm.role.is_block_norm() && method.enters_layer(block),
        // A last norm belongs to no block: it trains where every block does.
        None => norm.role.is_last_norm() && method.layers.is_empty(),
    };
    let count = |norm: &Module| norm.tensors().map(|(_, shape)| shape[0] as u64).sum::<u64>();
    model.modules.iter().filter(enters).map(count).sum()
}

static FORM: Form = Form {
    peft_type: "LN_TUNING",
    read,
    // It has no list of layers.
    write: |model, method, tensors| method.layers.is_empty().then(|| (fields(model), prefixed(tensors.clone()))),
    integers: &[],
};

fn read(given: Given<'_>) -> Read {
    given.known(&[])?;
    let tensors = unprefixed(given.tensors)?;
    let known =
        |path: &str| [".ln_tuning_layers.weight", ".ln_tuning_layers.bias"].iter().any(|end| path.ends_with(end));
    if let Some(path) = tensors.keys().find(|path| !known(path)) {
        return refuse(format!("tensor '{path}' is not part of a layer-norm adapter"));
    }
    Ok((MethodKind::LayerNorm.into(), tensors))
}

fn fields(model: &ModelReport) -> Map<String, Value> {
    let tuned = |module: &&Module| module.role.is_block_norm() || module.role.is_last_norm();
    let names: BTreeSet<&str> = model.modules.iter().filter(tuned).map(Module::name).collect();
    with(Map::new(), json!({ "target_modules": names, "modules_to_save": null }))
}
