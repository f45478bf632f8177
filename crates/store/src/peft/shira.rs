//! `peft_type` SHIRA: some weights of each matrix, as many as a LoRA of the rank has, and where they are.
//!
//! A layer has `shira_weight` `[k]` and `shira_indices` `[2, k]`, rows above columns, in 32-bit integers.

use serde_json::{Map, Value, json};
use stratune_peft::{MethodConfig, MethodKind, Methods};
use stratune_protocol::{ModelReport, Problem};

use super::placed_by_pattern;
use super::sites::{Sites, spread};
use crate::adapter::{prefixed, unprefixed};
use crate::safetensors::Tensors;
use crate::tensor::HostTensor;

pub(super) const KEYS: [&str; 5] = ["fan_in_fan_out", "init_weights", "mask_type", "r", "random_seed"];
const WEIGHT: &str = ".shira_weight";
const INDICES: &str = ".shira_indices";
/// What of a layer's parameters these are here.
const ROWS: &str = ".sparse_rows";
const COLUMNS: &str = ".sparse_columns";
const VALUES: &str = ".sparse_values";

fn refuse<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::input(what).next("export the adapter again, or merge it into its model with PEFT"))
}

pub(super) fn read(fields: &Map<String, Value>, tensors: Tensors) -> Result<(Methods, Tensors), Problem> {
    if fields.get("fan_in_fan_out") == Some(&Value::Bool(true)) {
        return refuse("fan_in_fan_out is true");
    }
    let Some(rank) = fields.get("r").and_then(Value::as_u64).filter(|r| *r > 0) else { return refuse("r is missing") };
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
        sites.insert(layer.clone(), (rank as usize, 1.0));
        let (rows, columns) = indices.data.split_at(count);
        for (name, data) in [(ROWS, rows), (COLUMNS, columns), (VALUES, &weight.data)] {
            kept.insert(format!("{layer}{name}"), HostTensor { shape: vec![count], data: data.to_vec() });
        }
    }
    match tensors.keys().next() {
        Some(path) => refuse(format!("tensor '{path}' is not part of a SHiRA adapter")),
        None => {
            let usual = MethodConfig { rank: Some(rank as usize), ..MethodConfig::new(MethodKind::Shira) };
            Ok((Methods(spread(&usual, &sites, fields)?), kept))
        }
    }
}

/// None if a layer lacks a part.
pub(super) fn write(tensors: &Tensors) -> Option<Tensors> {
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

/// Whether a tensor is written in integers.
pub(super) fn is_integers(name: &str) -> bool {
    name.ends_with(INDICES)
}

pub(super) fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let mut fields = placed_by_pattern(model, method);
    if let Value::Object(own) = json!({
        "fan_in_fan_out": false,
        "init_weights": true,
        "mask_type": "random",
        "r": method.rank,
        "random_seed": null,
    }) {
        fields.extend(own);
    }
    fields
}
