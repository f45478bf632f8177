//! `peft_type` LORA: the form of a low-rank update and of what differs from it in a line.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use stratune_protocol::{ModelReport, Problem};
use stratune_store::{HostTensor, Tensors};

use super::{
    COMMON, Form, Patterns, Read, Sites, fan_in_fan_out, is_set, number, patterns, placed, prefixed, spread,
    unprefixed, with,
};
use crate::{MethodConfig, MethodKind, Methods};

/// Of what is a LoRA to whoever reads it.
pub(crate) static FORM: Form = Form {
    peft_type: "LORA",
    read: |given| {
        let patterns = given.patterns()?;
        read(&given.fields, &patterns, given.tensors, given.config_at)
    },
    write: |model, method, tensors| Some((fields(model, method), prefixed(tensors.clone()))),
    integers: &[],
};

/// Of what is a LoRA only on a base that no file has: a folder has it as the LoRA that it is on the base as read.
pub(crate) static ON_ITS_OWN_BASE: Form =
    Form { peft_type: FORM.peft_type, read: FORM.read, write: |_, _, _| None, integers: FORM.integers };

/// What the product of a layer's two factors is multiplied by; none if the method adds something else.
pub(crate) fn scale(method: &MethodConfig, path: &str) -> Option<f32> {
    let is_lora = method.kind.method().peft.is_some_and(|form| std::ptr::eq(form, &FORM));
    let (rank, alpha) = method.at(path);
    match method.kind {
        _ if !is_lora || method.gated == Some(true) => None,
        MethodKind::Dora => None,
        MethodKind::Rslora => Some(alpha / (rank as f32).sqrt()),
        _ => Some(alpha / rank as f32),
    }
}

/// Settings that change the model beyond what is computed here. Unless null, false or empty, they are refused.
const BEYOND: [&str; 15] = [
    "modules_to_save",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
    "megatron_config",
    "lora_ga_config",
    "corda_config",
];

/// Settings that matter to PEFT's training or merging alone.
const HARMLESS: [&str; 10] = [
    "fan_in_fan_out",
    "ensure_weight_tying",
    "eva_config",
    "loftq_config",
    "megatron_core",
    "qalora_group_size",
    "lora_dropout",
    "bias",
    "init_lora_weights",
    "runtime_config",
];

/// Starting values that leave the base weights alone.
const PLAIN_STARTS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// What of the configuration decides how the tensors are read.
#[derive(Deserialize)]
struct Config {
    #[serde(default = "default_rank")]
    r: usize,
    #[serde(default = "default_alpha")]
    lora_alpha: f32,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
}

fn default_rank() -> usize {
    8
}

fn default_alpha() -> f32 {
    8.0
}

/// Reads a LoRA adapter; `at` is the configuration's file.
fn read(fields: &Map<String, Value>, patterns: &Patterns, tensors: Tensors, at: &str) -> Read {
    let kind = check(fields, &["r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"])
        .map_err(|p| p.at(at))?;
    let config: Config = serde_json::from_value(Value::Object(fields.clone())).map_err(|e| {
        Problem::input(format!("adapter_config.json cannot be read: {e}")).at(at).next("export the adapter again")
    })?;
    let kind = match (kind, config.use_dora, config.use_rslora) {
        (MethodKind::Lora, false, true) => MethodKind::Rslora,
        (MethodKind::Lora, true, false) => MethodKind::Dora,
        (kind, false, false) => kind,
        _ => {
            return Err(Problem::input("use_dora, use_rslora and init_lora_weights ask for several variants at once")
                .at(at)
                .next("merge the adapter into its model with PEFT"));
        }
    };
    let tensors = unprefixed(tensors)?;
    let mut sites = Sites::new();
    for (path, [a, b]) in factors(&tensors, [".lora_A.weight", ".lora_B.weight"])? {
        let rank = patterns.ranks.at(&path).unwrap_or(config.r);
        let alpha = patterns.alphas.at(&path).unwrap_or(config.lora_alpha);
        if a.shape.len() != 2 || b.shape.len() != 2 || a.shape[0] != rank || b.shape[1] != rank || rank == 0 {
            let what =
                format!("layer {path} has lora_A {:?} and lora_B {:?}, and its rank is {rank}", a.shape, b.shape);
            return Err(Problem::input(what)
                .next("check r and rank_pattern in adapter_config.json, or export the adapter again"));
        }
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(Problem::input(format!("layer {path} has the alpha {alpha}"))
                .next("check lora_alpha in adapter_config.json"));
        }
        sites.insert(path, (rank, alpha));
    }
    let known = |path: &str| {
        [".lora_A.weight", ".lora_B.weight"].iter().any(|end| path.ends_with(end))
            || kind == MethodKind::Dora && path.ends_with(".lora_magnitude_vector")
    };
    if let Some(path) = tensors.keys().find(|path| !known(path)) {
        return Err(Problem::input(format!("tensor '{path}' is not part of a LoRA adapter"))
            .next("only lora_A, lora_B and magnitudes of linear layers are read"));
    }
    let usual = MethodConfig { rank: Some(config.r), alpha: Some(config.lora_alpha), ..MethodConfig::new(kind) };
    Ok((Methods(spread(&usual, &sites, fields)?), tensors))
}

/// The pairs of factors by the layer's path.
pub(crate) fn factors<'a>(
    tensors: &'a Tensors,
    [a_end, b_end]: [&str; 2],
) -> Result<BTreeMap<String, [&'a HostTensor; 2]>, Problem> {
    let again = "export the adapter again";
    let a_name = a_end.trim_start_matches('.').trim_end_matches(".weight");
    let b_name = b_end.trim_start_matches('.').trim_end_matches(".weight");
    let mut pairs = BTreeMap::new();
    for (name, a) in tensors {
        let Some(path) = name.strip_suffix(a_end) else { continue };
        let Some(b) = tensors.get(&format!("{path}{b_end}")) else {
            return Err(Problem::input(format!("layer {path} has {a_name} without {b_name}")).next(again));
        };
        pairs.insert(path.to_string(), [a, b]);
    }
    match tensors.keys().filter_map(|name| name.strip_suffix(b_end)).find(|path| !pairs.contains_key(*path)) {
        Some(path) => Err(Problem::input(format!("layer {path} has {b_name} without {a_name}")).next(again)),
        None => Ok(pairs),
    }
}

/// Refuses what is not computed here, and says what the starting values ask for.
pub(crate) fn check(fields: &Map<String, Value>, keys: &[&str]) -> Result<MethodKind, Problem> {
    if let Some(bias) = fields.get("bias").filter(|v| **v != "none" && !v.is_null()) {
        return Err(Problem::input(format!("bias is {bias}")).next("only adapters trained with bias \"none\" are read"));
    }
    let next = "merge the adapter into its model with PEFT, and use the merged model";
    if let Some(key) = BEYOND.into_iter().find(|key| fields.get(*key).is_some_and(is_set)) {
        return Err(Problem::input(format!("{key} is {}, which goes beyond plain LoRA", fields[key])).next(next));
    }
    let listed = |key: &str| [&COMMON[..], &BEYOND, &HARMLESS, keys].iter().any(|list| list.contains(&key));
    if let Some((key, value)) = fields.iter().find(|(key, value)| !listed(key) && is_set(value)) {
        return Err(Problem::input(format!("unknown key '{key}' with the value {value}"))
            .next("if it changes nothing, remove it; else merge the adapter into its model with PEFT"));
    }
    match fields.get("init_lora_weights").and_then(Value::as_str) {
        Some("pissa") => Ok(MethodKind::Pissa),
        Some(start) if !PLAIN_STARTS.contains(&start) => {
            Err(Problem::input(format!("init_lora_weights is {start}, which alters the model's own weights"))
                .next(next))
        }
        _ => Ok(MethodKind::Lora),
    }
}

/// What PEFT's configuration says of a LoRA trained with `method`.
fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let [ranks, alphas] = patterns(method, model);
    with(
        placed(model, method),
        json!({
            "alpha_pattern": alphas,
            "bias": "none",
            "fan_in_fan_out": fan_in_fan_out(model, method),
            "init_lora_weights": true,
            "lora_alpha": number(method.alpha.unwrap_or(1.0)),
            "lora_dropout": number(method.dropout.unwrap_or(0.0)),
            "r": method.rank,
            "rank_pattern": ranks,
            "use_dora": method.kind == MethodKind::Dora,
            "use_rslora": method.kind == MethodKind::Rslora,
        }),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::{Targets, ends_with};

    use super::*;

    fn tensor(shape: [usize; 2]) -> HostTensor {
        HostTensor { shape: shape.to_vec(), data: vec![1.0; shape[0] * shape[1]] }
    }

    type Shapes<'a> = Vec<(&'a str, [usize; 2])>;

    fn read_text(text: &str, tensors: Shapes) -> Result<(Methods, Tensors), Problem> {
        let full = |(name, shape): (&str, [usize; 2])| (format!("base_model.model.{name}"), tensor(shape));
        let fields = serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let patterns = Patterns::read(text.as_bytes()).map_err(|p| p.at("config"))?;
        read(&fields, &patterns, tensors.into_iter().map(full).collect(), "config")
    }

    const Q0: [(&str, [usize; 2]); 2] = [
        ("model.layers.0.self_attn.q_proj.lora_A.weight", [4, 3]),
        ("model.layers.0.self_attn.q_proj.lora_B.weight", [3, 4]),
    ];

    #[test]
    fn patterns_give_each_layer_its_rank_and_alpha() {
        let text = r#"{"r":4,"lora_alpha":8,"rank_pattern":{"v_proj":2,"layers.1.self_attn.v_proj":16},
            "alpha_pattern":{"layers.0.mlp.up_proj":4,"up_proj":12.5}}"#;
        let paths = [
            ("model.layers.0.self_attn.q_proj", 4, 8.0),
            ("model.layers.1.self_attn.v_proj", 2, 8.0),
            ("model.layers.0.mlp.up_proj", 4, 4.0),
            ("model.layers.1.mlp.up_proj", 4, 12.5),
        ];
        let names: Vec<_> = paths
            .iter()
            .flat_map(|(path, rank, _)| {
                [(format!("{path}.lora_A.weight"), [*rank, 3]), (format!("{path}.lora_B.weight"), [3, *rank])]
            })
            .collect();
        let tensors = names.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        let (methods, _) = read_text(text, tensors).unwrap();
        for (path, rank, alpha) in paths {
            let layer = if path.contains("layers.1.") { 1 } else { 0 };
            let named = |m: &&MethodConfig| match &m.targets {
                Some(Targets::Listed(words)) => words.iter().any(|word| ends_with(path, word)),
                _ => false,
            };
            let method = methods.iter().find(|m| m.enters_layer(layer) && named(m)).unwrap();
            assert_eq!(method.at(path), (rank, alpha), "{path} {methods:?}");
        }
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        let cases = [
            (r#"{"bias":"all"}"#, "bias is \"all\""),
            (r#"{"modules_to_save":["lm_head"]}"#, "modules_to_save is [\"lm_head\"]"),
            (r#"{"init_lora_weights":"olora"}"#, "init_lora_weights is olora"),
            (r#"{"rank_pattern":{"(q_proj":2}}"#, "'(q_proj' is no regular expression"),
            (r#"{"alpha_pattern":{"q_proj":"x"}}"#, "alpha_pattern"),
            (r#"{"use_dora":true,"use_rslora":true}"#, "several variants"),
            (r#"{"use_zora":true}"#, "unknown key 'use_zora'"),
            (r#"{"r":-1}"#, "cannot be read"),
        ];
        for (text, want) in cases {
            let problem = read_text(text, Q0.to_vec()).unwrap_err();
            assert!(problem.what.contains(want), "{want}: {problem:?}");
            assert!(problem.at == "config" && !problem.next.is_empty(), "{problem:?}");
        }
        let harmless = r#"{"r":4,"modules_to_save":[],"rank_pattern":null,"init_lora_weights":"gaussian",
            "runtime_config":{"ephemeral_gpu_offload":true},"fan_in_fan_out":true,"next_years_config":{"a":[false,null]}}"#;
        read_text(harmless, Q0.to_vec()).unwrap();
    }

    #[test]
    fn wrong_tensors_are_named() {
        let [a, b] = Q0;
        let cases: Vec<(Shapes, &str)> = vec![
            (vec![a], "q_proj has lora_A without lora_B"),
            (vec![b], "q_proj has lora_B without lora_A"),
            (vec![a, (b.0, [3, 1])], "its rank is 4"),
            (vec![(a.0, [2, 3]), (b.0, [3, 2])], "its rank is 4"),
            (vec![a, b, ("model.layers.0.self_attn.q_proj.lora_embedding_A", [2, 3])], "not part of a LoRA adapter"),
            (vec![("lm_head.lora_A.weight", [4, 3]), ("lm_head.lora_B.weight", [3, 4])], "lm_head, which is no linear"),
        ];
        for (tensors, want) in cases {
            let problem = read_text(r#"{"r":4}"#, tensors).unwrap_err();
            assert!(problem.what.contains(want), "{want}: {problem:?}");
        }
    }
}
