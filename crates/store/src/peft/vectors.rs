//! Methods of vectors and small factors: VERA, IA3, LOKR, LN_TUNING.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use stratune_protocol::{MethodConfig, MethodKind, Methods, Problem, Target};

use super::pattern::Pattern;
use super::sites::{Shape, site, spread};
use super::{number, placed};
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
    let mut sites: BTreeMap<(usize, Target), Shape> = BTreeMap::new();
    for (path, tensor) in unprefixed(tensors)? {
        let Some(layer) = path.strip_suffix(LAMBDA_B).or_else(|| path.strip_suffix(LAMBDA_D)) else {
            return refuse(format!("tensor '{path}' is not part of a VeRA adapter"));
        };
        sites.insert(site(layer)?, (rank as usize, 1.0));
        kept.insert(path, tensor);
    }
    let usual = MethodConfig { rank: Some(rank as usize), ..MethodConfig::new(MethodKind::Vera) };
    Ok((Methods(spread(&usual, &sites)), kept))
}

pub(super) fn write_vera(mut tensors: Tensors) -> Tensors {
    let shared: Vec<_> =
        SHARED.iter().filter_map(|(theirs, ours)| Some(((*theirs).to_string(), tensors.remove(*ours)?))).collect();
    let mut written = prefixed(tensors);
    written.extend(shared);
    written
}

pub(super) fn vera_fields(method: &MethodConfig) -> Map<String, Value> {
    with(
        placed(method),
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

/// PEFT keeps `(out, 1)` where the output is scaled and `(1, in)` where the input is.
pub(super) fn read_ia3(tensors: Tensors) -> Read {
    let (mut sites, mut kept) = (BTreeMap::new(), Tensors::new());
    for (path, tensor) in unprefixed(tensors)? {
        let Some(layer) = path.strip_suffix(".ia3_l") else {
            return refuse(format!("tensor '{path}' is not part of an (IA)³ adapter"));
        };
        let (block, target) = site(layer)?;
        let on_input = match tensor.shape[..] {
            [1, _] => true,
            [_, 1] => false,
            _ => return refuse(format!("{path} has the shape {:?}", tensor.shape)),
        };
        if on_input != (target == Target::DownProj) {
            let side = if on_input { "input" } else { "output" };
            return refuse(format!(
                "{layer} scales its {side}: here the input is scaled at down_proj and nowhere else"
            ));
        }
        sites.insert((block, target), (0, 1.0));
        kept.insert(path, HostTensor { shape: vec![tensor.data.len()], data: tensor.data });
    }
    Ok((Methods(spread(&MethodConfig::new(MethodKind::Ia3), &sites).into_iter().map(plain).collect()), kept))
}

pub(super) fn write_ia3(tensors: Tensors) -> Tensors {
    let shaped = tensors.into_iter().map(|(path, HostTensor { data, .. })| {
        let on_input = path.ends_with("down_proj.ia3_l");
        let shape = if on_input { vec![1, data.len()] } else { vec![data.len(), 1] };
        (path, HostTensor { shape, data })
    });
    prefixed(shaped.collect())
}

pub(super) fn ia3_fields(method: &MethodConfig) -> Map<String, Value> {
    let down: Vec<_> = method.targets().iter().filter(|t| **t == Target::DownProj).map(|t| t.name()).collect();
    let mut fields = placed(method);
    fields.remove("layers_pattern");
    if method.layers.is_empty() {
        fields.remove("layers_to_transform");
    } else {
        // PEFT's (IA)³ has no list of layers: the layers are named in a regular expression.
        let targets = method.targets().iter().map(|t| t.path().replace('.', r"\.")).collect::<Vec<_>>().join("|");
        let layers = method.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join("|");
        fields.remove("layers_to_transform");
        fields.insert("target_modules".into(), format!(r"model\.layers\.({layers})\.({targets})").into());
    }
    with(fields, json!({ "feedforward_modules": down, "fan_in_fan_out": false, "init_ia3_weights": true }))
}

pub(super) fn read_lokr(fields: &Map<String, Value>, tensors: Tensors, at: &str) -> Read {
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
    let pattern = |key: &str| fields.get(key).cloned().unwrap_or(Value::Null);
    let unreadable = |e: serde_json::Error| Problem::input(format!("a pattern cannot be read: {e}")).at(at);
    let ranks: Pattern<usize> = serde_json::from_value(pattern("rank_pattern")).map_err(unreadable)?;
    let alphas: Pattern<f32> = serde_json::from_value(pattern("alpha_pattern")).map_err(unreadable)?;
    ranks.check("rank_pattern", at)?;
    alphas.check("alpha_pattern", at)?;

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
    let mut sites = BTreeMap::new();
    for path in tensors.keys() {
        let layer = [".lokr_w1", ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b"].iter().find_map(|end| path.strip_suffix(end));
        let Some(layer) = layer else { return refuse(format!("tensor '{path}' is not part of a LoKr adapter")) };
        let shape = (ranks.at(layer).unwrap_or(rank as usize), alphas.at(layer).unwrap_or(alpha as f32));
        if shape.0 == 0 {
            return refuse(format!("layer {layer} has the rank 0"));
        }
        sites.insert(site(layer)?, shape);
    }
    let usual =
        MethodConfig { rank: Some(rank as usize), alpha: Some(alpha as f32), ..MethodConfig::new(MethodKind::Lokr) };
    Ok((Methods(spread(&usual, &sites)), tensors))
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

pub(super) fn lokr_fields(method: &MethodConfig) -> Map<String, Value> {
    let ranks: Map<String, Value> =
        method.overrides.iter().filter_map(|(k, o)| Some((k.clone(), o.rank?.into()))).collect();
    let alphas: Map<String, Value> =
        method.overrides.iter().filter_map(|(k, o)| Some((k.clone(), number(o.alpha?)))).collect();
    with(
        placed(method),
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

pub(super) fn norm_fields() -> Map<String, Value> {
    with(
        Map::new(),
        json!({ "target_modules": ["input_layernorm", "norm", "post_attention_layernorm"], "modules_to_save": null }),
    )
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
