//! Methods of vectors and small factors: VERA, IA3, LOKR, LN_TUNING.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use stratune_peft::{MethodConfig, MethodKind, Methods};
use stratune_protocol::{ModelReport, Module, Problem, Role};

use super::pattern::Patterns;
use super::sites::{Sites, patterns, spread};
use super::{number, placed, placed_by_pattern};
use crate::adapter::{prefixed, unprefixed};
use crate::safetensors::Tensors;
use crate::tensor::HostTensor;

type Read = Result<(Methods, Tensors), Problem>;

pub(super) const VERA_KEYS: [&str; 8] = [
    "bias",
    "d_initial",
    "fan_in_fan_out",
    "init_weights",
    "projection_prng_key",
    "r",
    "save_projection",
    "vera_dropout",
];
pub(super) const IA3_KEYS: [&str; 3] = ["feedforward_modules", "fan_in_fan_out", "init_ia3_weights"];
pub(super) const LOKR_KEYS: [&str; 11] = [
    "alpha",
    "alpha_pattern",
    "decompose_both",
    "decompose_factor",
    "init_weights",
    "module_dropout",
    "r",
    "rank_dropout",
    "rank_dropout_scale",
    "rank_pattern",
    "use_effective_conv2d",
];

const LAMBDA_B: &str = ".vera_lambda_b";
const LAMBDA_D: &str = ".vera_lambda_d";
/// The matrices that all layers share: PEFT's name, and the parameter's path.
const SHARED: [(&str, &str); 2] = [("base_model.vera_A", "shared.vera_A"), ("base_model.vera_B", "shared.vera_B")];

fn refuse<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::input(what).next("export the adapter again, or merge it into its model with PEFT"))
}

pub(super) fn read_vera(fields: &Map<String, Value>, mut tensors: Tensors) -> Read {
    if fields.get("bias").is_some_and(|v| v != "none") || fields.get("fan_in_fan_out") == Some(&Value::Bool(true)) {
        return refuse("the adapter trains biases or has fan_in_fan_out");
    }
    let mut kept = Tensors::new();
    for (theirs, ours) in SHARED {
        let Some(matrix) = tensors.remove(theirs) else {
            return Err(Problem::input(format!(
                "tensor '{theirs}' is missing: the adapter was saved without its matrices"
            ))
            .next("save it with save_projection=True"));
        };
        kept.insert(ours.into(), matrix);
    }
    let Some(rank) = fields.get("r").and_then(Value::as_u64).filter(|r| *r > 0) else { return refuse("r is missing") };
    let mut sites = Sites::new();
    for (path, tensor) in unprefixed(tensors)? {
        let Some(layer) = path.strip_suffix(LAMBDA_B).or_else(|| path.strip_suffix(LAMBDA_D)) else {
            return refuse(format!("tensor '{path}' is not part of a VeRA adapter"));
        };
        sites.insert(layer.to_string(), (rank as usize, 1.0));
        kept.insert(path, tensor);
    }
    let usual = MethodConfig { rank: Some(rank as usize), ..MethodConfig::new(MethodKind::Vera) };
    Ok((Methods(spread(&usual, &sites, fields)?), kept))
}

pub(super) fn write_vera(mut tensors: Tensors) -> Tensors {
    let shared: Vec<_> =
        SHARED.iter().filter_map(|(theirs, ours)| Some(((*theirs).to_string(), tensors.remove(*ours)?))).collect();
    let mut written = prefixed(tensors);
    written.extend(shared);
    written
}

pub(super) fn vera_fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    with(
        placed(model, method),
        json!({
            "bias": "none",
            "d_initial": 0.1,
            "fan_in_fan_out": false,
            "init_weights": true,
            "projection_prng_key": 0,
            "r": method.rank,
            "save_projection": true,
            "vera_dropout": number(method.dropout.unwrap_or(0.0)),
        }),
    )
}

pub(super) fn read_ia3(fields: &Map<String, Value>, tensors: Tensors) -> Read {
    let (mut sites, mut kept) = (Sites::new(), Tensors::new());
    for (path, tensor) in unprefixed(tensors)? {
        let Some(layer) = path.strip_suffix(".ia3_l") else {
            return refuse(format!("tensor '{path}' is not part of an (IA)³ adapter"));
        };
        sites.insert(layer.to_string(), (0, 1.0));
        kept.insert(path, tensor);
    }
    let methods = spread(&MethodConfig::new(MethodKind::Ia3), &sites, fields)?;
    Ok((Methods(methods.into_iter().map(plain).collect()), kept))
}

pub(super) fn ia3_fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let sites = method.sites(model);
    let down: BTreeSet<&str> = sites.iter().filter(|site| site.role == Role::Down).map(|site| site.name()).collect();
    let fields = placed_by_pattern(model, method);
    with(fields, json!({ "feedforward_modules": down, "fan_in_fan_out": false, "init_ia3_weights": true }))
}

pub(super) fn read_lokr(fields: &Map<String, Value>, patterns: &Patterns, tensors: Tensors) -> Read {
    for key in ["rank_dropout_scale", "use_effective_conv2d"] {
        if fields.get(key) == Some(&Value::Bool(true)) {
            return refuse(format!("{key} is true"));
        }
    }
    let (Some(rank), Some(alpha)) =
        (fields.get("r").and_then(Value::as_u64), fields.get("alpha").and_then(Value::as_f64))
    else {
        return refuse("r or alpha is missing");
    };
    let mut tensors = unprefixed(tensors)?;
    // The first factor as a product is multiplied out: it is the smaller one.
    let products: Vec<String> =
        tensors.keys().filter_map(|k| k.strip_suffix(".lokr_w1_a").map(str::to_owned)).collect();
    for layer in products {
        let (Some(a), Some(b)) =
            (tensors.remove(&format!("{layer}.lokr_w1_a")), tensors.remove(&format!("{layer}.lokr_w1_b")))
        else {
            return refuse(format!("layer {layer} has lokr_w1_a without lokr_w1_b"));
        };
        tensors.insert(format!("{layer}.lokr_w1"), product(&a, &b)?);
    }
    let mut sites = Sites::new();
    for path in tensors.keys() {
        let layer = [".lokr_w1", ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b"].iter().find_map(|end| path.strip_suffix(end));
        let Some(layer) = layer else { return refuse(format!("tensor '{path}' is not part of a LoKr adapter")) };
        let shape =
            (patterns.ranks.at(layer).unwrap_or(rank as usize), patterns.alphas.at(layer).unwrap_or(alpha as f32));
        if shape.0 == 0 {
            return refuse(format!("layer {layer} has the rank 0"));
        }
        sites.insert(layer.to_string(), shape);
    }
    let usual =
        MethodConfig { rank: Some(rank as usize), alpha: Some(alpha as f32), ..MethodConfig::new(MethodKind::Lokr) };
    Ok((Methods(spread(&usual, &sites, fields)?), tensors))
}

fn product(a: &HostTensor, b: &HostTensor) -> Result<HostTensor, Problem> {
    let ([rows, rank], [inner, columns]) = (shape(a)?, shape(b)?);
    if rank != inner {
        return refuse(format!("factors {:?} and {:?} do not fit", a.shape, b.shape));
    }
    let at = |i: usize, j: usize| (0..rank).map(|k| a.data[i * rank + k] * b.data[k * columns + j]).sum();
    let data = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect();
    Ok(HostTensor { shape: vec![rows, columns], data })
}

fn shape(of: &HostTensor) -> Result<[usize; 2], Problem> {
    match of.shape[..] {
        [rows, columns] => Ok([rows, columns]),
        _ => refuse(format!("a factor has the shape {:?}", of.shape)),
    }
}

pub(super) fn lokr_fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let [ranks, alphas] = patterns(method, model);
    with(
        placed(model, method),
        json!({
            "alpha": number(method.alpha.unwrap_or(1.0)),
            "alpha_pattern": alphas,
            "decompose_both": false,
            "decompose_factor": -1,
            "init_weights": true,
            "module_dropout": 0.0,
            "r": method.rank,
            "rank_dropout": 0.0,
            "rank_dropout_scale": false,
            "rank_pattern": ranks,
            "use_effective_conv2d": false,
        }),
    )
}

pub(super) fn read_norms(tensors: Tensors) -> Read {
    let tensors = unprefixed(tensors)?;
    if let Some(path) = tensors.keys().find(|path| !path.ends_with(".ln_tuning_layers.weight")) {
        return refuse(format!("tensor '{path}' is not part of a layer-norm adapter"));
    }
    Ok((MethodKind::LayerNorm.into(), tensors))
}

pub(super) fn norm_fields(model: &ModelReport) -> Map<String, Value> {
    let tuned = |module: &&Module| module.role.is_block_norm() || module.role == Role::FinalNorm;
    let names: BTreeSet<&str> = model.modules.iter().filter(tuned).map(Module::name).collect();
    with(Map::new(), json!({ "target_modules": names, "modules_to_save": null }))
}

/// Without the ranks that only [`spread`] needs.
fn plain(mut method: MethodConfig) -> MethodConfig {
    method.overrides.clear();
    method
}

fn with(mut fields: Map<String, Value>, more: Value) -> Map<String, Value> {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    fields
}
