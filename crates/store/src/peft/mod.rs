//! Adapter folders in the form of Hugging Face PEFT 0.21: which keys, names and shapes each method has there.

mod lora;
mod pattern;
mod shira;
mod sites;
mod vectors;
mod virtual_tokens;

use pattern::Patterns;
pub use virtual_tokens::prefix_part;

use serde_json::{Map, Value, json};
use stratune_peft::{MethodConfig, MethodKind, Methods};
use stratune_protocol::{ModelReport, Problem};

use crate::safetensors::Tensors;
use crate::tensor::Stored;

/// What a folder says: methods, and tensors by parameter path.
#[derive(Debug)]
pub(crate) struct Form {
    pub methods: Methods,
    pub seed: u64,
    pub tensors: Tensors,
}

/// Keys that every kind of adapter has and that say nothing about what is computed.
const COMMON: [&str; 11] = [
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "peft_type",
    "peft_version",
    "revision",
    "target_modules",
    "task_type",
];

/// Reads a folder whose `peft_type` is `kind`: its configuration, and the text of that; `config_at` and `weights_at` are its files, for messages.
pub(crate) fn read(
    kind: &str,
    (config, text): (&Value, &[u8]),
    tensors: Tensors,
    config_at: &str,
    weights_at: &str,
) -> Result<Form, Problem> {
    let fields = config.as_object().cloned().unwrap_or_default();
    let of_config = |p: Problem| p.at(config_at);
    let of_weights = |p: Problem| if p.at.is_empty() { p.at(weights_at) } else { p };
    if let Some(saved) = fields.get("modules_to_save").filter(|v| is_set(v)) {
        let what = format!("modules_to_save is {saved}: whole modules beside the adapter are not read");
        return Err(Problem::input(what).at(config_at).next("merge the adapter into its model with PEFT"));
    }
    let patterns = || Patterns::read(text).map_err(of_config);
    let (methods, tensors) = match kind {
        "LORA" => lora::read(&fields, &patterns()?, tensors, config_at).map_err(of_weights)?,
        "ADALORA" => lora::read_adalora(&fields, tensors, config_at).map_err(of_weights)?,
        "VERA" => {
            known(&fields, &vectors::VERA_KEYS).map_err(of_config)?;
            vectors::read_vera(&fields, tensors).map_err(of_weights)?
        }
        "IA3" => {
            known(&fields, &vectors::IA3_KEYS).map_err(of_config)?;
            vectors::read_ia3(&fields, tensors).map_err(of_weights)?
        }
        "LOKR" => {
            known(&fields, &vectors::LOKR_KEYS).map_err(of_config)?;
            vectors::read_lokr(&fields, &patterns()?, tensors).map_err(of_weights)?
        }
        "SHIRA" => {
            known(&fields, &shira::KEYS).map_err(of_config)?;
            shira::read(&fields, tensors).map_err(of_weights)?
        }
        "LN_TUNING" => {
            known(&fields, &[]).map_err(of_config)?;
            vectors::read_norms(tensors).map_err(of_weights)?
        }
        "PREFIX_TUNING" => {
            known(&fields, &virtual_tokens::KEYS).map_err(of_config)?;
            virtual_tokens::read_prefix(&fields, tensors).map_err(of_weights)?
        }
        "PROMPT_TUNING" => {
            known(&fields, &virtual_tokens::KEYS).map_err(of_config)?;
            virtual_tokens::read_prompt(&fields, tensors).map_err(of_weights)?
        }
        _ => {
            return Err(Problem::input(format!("peft_type is {kind}")).at(config_at).next(
                "the kinds LORA, ADALORA, VERA, IA3, LOKR, SHIRA, LN_TUNING, PREFIX_TUNING, PROMPT_TUNING and STRATUNE are read",
            ));
        }
    };
    Ok(Form { methods, seed: 0, tensors })
}

/// The folder's configuration and tensors, if PEFT has a form for these methods.
pub(crate) fn write(model: &ModelReport, methods: &Methods, tensors: &Tensors) -> Option<(Value, Tensors)> {
    let [method] = methods.as_slice() else { return None };
    let (kind, mut fields, tensors) = match method.kind {
        _ if method.gated == Some(true) => return None,
        MethodKind::Adalora => {
            ("ADALORA", lora::adalora_fields(model, method), crate::adapter::prefixed(tensors.clone()))
        }
        MethodKind::Lora
        | MethodKind::Rslora
        | MethodKind::LoraPlus
        | MethodKind::LoraFa
        | MethodKind::Dylora
        | MethodKind::Dora => ("LORA", lora::fields(model, method), crate::adapter::prefixed(tensors.clone())),
        MethodKind::Vera => ("VERA", vectors::vera_fields(model, method), vectors::write_vera(tensors.clone())),
        MethodKind::Ia3 => ("IA3", vectors::ia3_fields(model, method), crate::adapter::prefixed(tensors.clone())),
        MethodKind::Lokr => ("LOKR", vectors::lokr_fields(model, method), crate::adapter::prefixed(tensors.clone())),
        MethodKind::Shira => ("SHIRA", shira::fields(model, method), shira::write(tensors)?),
        MethodKind::LayerNorm if method.layers.is_empty() => {
            ("LN_TUNING", vectors::norm_fields(model), crate::adapter::prefixed(tensors.clone()))
        }
        MethodKind::Prefix if method.layers.is_empty() => (
            "PREFIX_TUNING",
            virtual_tokens::prefix_fields(model, method),
            virtual_tokens::write_prefix(model, tensors)?,
        ),
        MethodKind::Prompt => {
            ("PROMPT_TUNING", virtual_tokens::prompt_fields(model, method), virtual_tokens::write_prompt(tensors)?)
        }
        _ => return None,
    };
    let common = json!({
        "auto_mapping": null,
        "base_model_name_or_path": model.name,
        "inference_mode": true,
        "peft_type": kind,
        "revision": null,
        "task_type": "CAUSAL_LM",
    });
    if let Value::Object(common) = common {
        fields.extend(common);
    }
    Some((Value::Object(fields), tensors))
}

/// `target_modules` and the layers of a method, as PEFT writes them.
fn placed(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let targets = sites::target_modules(method, model);
    let layers = if method.layers.is_empty() { Value::Null } else { json!(method.layers) };
    let mut fields = Map::new();
    fields.insert("target_modules".into(), json!(targets));
    fields.insert("layers_to_transform".into(), layers);
    fields.insert("layers_pattern".into(), Value::Null);
    fields.insert("modules_to_save".into(), Value::Null);
    fields
}

/// The same for a kind of adapter that has no list of layers: those are named in a regular expression.
fn placed_by_pattern(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let mut fields = placed(model, method);
    fields.remove("layers_pattern");
    fields.remove("layers_to_transform");
    if !method.layers.is_empty() {
        let paths: Vec<_> = method.sites(model).iter().map(|site| site.path.replace('.', r"\.")).collect();
        fields.insert("target_modules".into(), paths.join("|").into());
    }
    fields
}

/// How the numbers of a tensor of this name are written.
pub(crate) fn stored_as(name: &str) -> Stored {
    if shira::is_integers(name) { Stored::I32 } else { Stored::F32 }
}

/// Refuses keys that are neither common nor among `keys`, unless they ask for nothing.
fn known(fields: &Map<String, Value>, keys: &[&str]) -> Result<(), Problem> {
    let strange = |key: &str| !COMMON.contains(&key) && !keys.contains(&key) && key != "modules_to_save";
    match fields.iter().find(|(key, value)| strange(key) && is_set(value)) {
        None => Ok(()),
        Some((key, value)) => Err(Problem::input(format!("unknown key '{key}' with the value {value}"))
            .next("if it changes nothing, remove it; else merge the adapter into its model with PEFT")),
    }
}

/// Whether a setting asks for something: a newer PEFT writes what it does not use as null, false or empty, at any depth.
pub(crate) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(is_set),
        Value::Object(fields) => fields.values().any(is_set),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// A number as a person would write it: 16 rather than 16.0, 0.1 rather than 0.10000000149.
fn number(x: f32) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e9 {
        return (x as i64).into();
    }
    x.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_nothing_is_known_at_any_depth() {
        for (value, set) in [
            (json!({"ephemeral_gpu_offload": false}), false),
            (json!({"a": [null, {"b": {}}], "c": ""}), false),
            (json!([[0, 2]]), true),
            (json!({"a": {"b": true}}), true),
            (json!("eva"), true),
        ] {
            assert_eq!(is_set(&value), set, "{value}");
            let fields = json!({"peft_type": "LN_TUNING", "next_years_config": value});
            assert_eq!(known(fields.as_object().unwrap(), &[]).is_err(), set, "{fields}");
        }
    }

    #[test]
    fn numbers_are_written_plainly() {
        for (x, want) in [(16.0, "16"), (0.1, "0.1"), (12.5, "12.5"), (0.0, "0")] {
            assert_eq!(number(x).to_string(), want);
        }
    }
}
