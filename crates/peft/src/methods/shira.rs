//! SHiRA: weights drawn from the seed train, r (in + out) of them as in PEFT: as many as a LoRA of rank r has (Bhardwaj
//! et al. 2024, arXiv 2406.13175).

use serde_json::{Map, Value, json};
use stratune_protocol::ModelReport;
use stratune_store::{HostTensor, Tensors};

use crate::form::{
    Form, Given, Read, Sites, fan_in_fan_out, placed_by_pattern, prefixed, refuse, spread, unprefixed, with,
};
use crate::method::{
    Built, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{RANK, TARGETS};
use crate::size::at_sites;
use crate::{MethodConfig, MethodKind, Methods, Site, Sparse};

/// SHiRA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Shira,
    name: "shira",
    title: "SHiRA",
    sentence: "Weights drawn at random train, as many as a LoRA of the rank has: a small update of high rank.",
    trains: "some weights",
    family: Family::Selective,
    settings: &[TARGETS, RANK],
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
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: Some(&FORM),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Sparse::of_rank(config, site)?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |site, [out, inputs]| method.at(&site.path).0.saturating_mul(out + inputs))
}

/// A layer has `shira_weight` `[k]` and `shira_indices` `[2, k]`, rows above columns, in 32-bit integers.
static FORM: Form = Form {
    peft_type: "SHIRA",
    read,
    // PEFT has it for matrices that are `[out, in]` alone.
    write: |model, method, tensors| {
        (!fan_in_fan_out(model, method)).then(|| Some((fields(model, method), write(tensors)?))).flatten()
    },
    integers: &[INDICES],
};

const KEYS: [&str; 5] = ["fan_in_fan_out", "init_weights", "mask_type", "r", "random_seed"];
const WEIGHT: &str = ".shira_weight";
const INDICES: &str = ".shira_indices";
/// What of a layer's parameters these are here.
const ROWS: &str = ".sparse_rows";
const COLUMNS: &str = ".sparse_columns";
const VALUES: &str = ".sparse_values";

fn read(given: Given<'_>) -> Read {
    given.known(&KEYS)?;
    if given.is_true("fan_in_fan_out") {
        return refuse("fan_in_fan_out is true");
    }
    let Some(rank) = given.count("r") else { return refuse("r is missing") };
    let Given { fields, tensors, .. } = given;
    let mut tensors = unprefixed(tensors)?;
    let layers: Vec<String> = tensors.keys().filter_map(|k| k.strip_suffix(WEIGHT).map(str::to_owned)).collect();
    let (mut sites, mut kept) = (Sites::new(), Tensors::new());
    for layer in layers {
        let (weight, indices) =
            (tensors.remove(&format!("{layer}{WEIGHT}")), tensors.remove(&format!("{layer}{INDICES}")));
        let Some((weight, indices)) = weight.zip(indices) else {
            return refuse(format!("layer {layer} has shira_weight without shira_indices"));
        };
        let count = weight.data.len();
        if weight.shape != [count] || indices.shape != [2, count] {
            let what =
                format!("layer {layer} has shira_weight {:?} and shira_indices {:?}", weight.shape, indices.shape);
            return refuse(what);
        }
        sites.insert(layer.clone(), (rank, 1.0));
        let (rows, columns) = indices.data.split_at(count);
        for (name, data) in [(ROWS, rows), (COLUMNS, columns), (VALUES, &weight.data)] {
            kept.insert(format!("{layer}{name}"), HostTensor { shape: vec![count], data: data.to_vec() });
        }
    }
    match tensors.keys().next() {
        Some(path) => refuse(format!("tensor '{path}' is not part of a SHiRA adapter")),
        None => {
            let usual = MethodConfig { rank: Some(rank), ..MethodConfig::new(MethodKind::Shira) };
            Ok((Methods(spread(&usual, &sites, &fields)?), kept))
        }
    }
}

/// None if a layer lacks a part.
fn write(tensors: &Tensors) -> Option<Tensors> {
    let mut written = Tensors::new();
    for layer in tensors.keys().filter_map(|k| k.strip_suffix(VALUES)) {
        let part = |name: &str| tensors.get(&format!("{layer}{name}"));
        let (rows, columns, values) = (part(ROWS)?, part(COLUMNS)?, part(VALUES)?);
        let data = [&rows.data[..], &columns.data].concat();
        written.insert(format!("{layer}{INDICES}"), HostTensor { shape: vec![2, rows.data.len()], data });
        written.insert(format!("{layer}{WEIGHT}"), values.clone());
    }
    Some(prefixed(written))
}

fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    with(
        placed_by_pattern(model, method),
        json!({
            "fan_in_fan_out": false,
            "init_weights": true,
            "mask_type": "random",
            "r": method.rank,
            "random_seed": null,
        }),
    )
}
