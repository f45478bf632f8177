//! Adapters in the form of Hugging Face PEFT 0.21: which keys, names and shapes a method has there is in its file, and
//! here is what they have in common.

pub(crate) mod lora;
mod pattern;
mod sites;
pub(crate) mod virtual_tokens;

pub(crate) use pattern::Patterns;
use serde_json::{Map, Value, json};
pub(crate) use sites::{Sites, name, patterns, split, spread};
use stratune_protocol::{HubId, ModelReport, Problem};
use stratune_store::{HostTensor, Tensors};
pub use virtual_tokens::prefix_part;

use crate::{MethodConfig, MethodKind, Methods};

/// The form that PEFT has for a method.
#[derive(Debug)]
pub struct Form {
    /// Its `peft_type`.
    pub peft_type: &'static str,
    /// Reads an adapter of this type.
    pub read: fn(Given<'_>) -> Read,
    /// What PEFT's configuration says of the method, and its tensors by their names there; none if PEFT has no form for
    /// these settings. Tensors come by their parameters' paths.
    pub write: fn(&ModelReport, &MethodConfig, &Tensors) -> Option<ConfigAndTensors>,
    /// Ends of the names of tensors that are written in integers.
    pub integers: &'static [&'static str],
}

/// What PEFT's configuration says of a method, and its tensors by PEFT's names.
pub type ConfigAndTensors = (Map<String, Value>, Tensors);

/// Methods, and tensors by parameter path.
pub type Read = Result<(Methods, Tensors), Problem>;

/// An adapter's folder as it is read.
#[derive(Debug)]
pub struct Given<'a> {
    /// The configuration.
    pub fields: Map<String, Value>,
    /// Its text: the order of some entries counts.
    pub text: &'a [u8],
    /// The tensors by PEFT's names.
    pub tensors: Tensors,
    /// The configuration's file, for messages.
    pub config_at: &'a str,
}

impl Given<'_> {
    /// Refuses keys of the configuration that are neither common nor among `keys`, unless they ask for nothing.
    pub(crate) fn known(&self, keys: &[&str]) -> Result<(), Problem> {
        known(&self.fields, keys).map_err(|p| p.at(self.config_at))
    }

    /// `rank_pattern` and `alpha_pattern`.
    pub(crate) fn patterns(&self) -> Result<Patterns, Problem> {
        Patterns::read(self.text).map_err(|p| p.at(self.config_at))
    }

    /// A whole number of the configuration that is above 0.
    pub(crate) fn count(&self, key: &str) -> Option<usize> {
        self.fields.get(key).and_then(Value::as_u64).filter(|n| *n > 0).map(|n| n as usize)
    }

    /// Whether a key of the configuration is true.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.fields.get(key) == Some(&Value::Bool(true))
    }
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

/// The forms that there are, each once.
fn forms() -> Vec<&'static Form> {
    let mut forms: Vec<&Form> = Vec::new();
    for form in MethodKind::ALL.into_iter().filter_map(|kind| kind.method().peft) {
        if !forms.iter().any(|there| there.peft_type == form.peft_type) {
            forms.push(form);
        }
    }
    forms
}

/// Reads a folder whose `peft_type` is `kind`; `weights_at` is the tensors' file, for messages.
pub(crate) fn read(kind: &str, given: Given<'_>, weights_at: &str) -> Read {
    let forms = forms();
    let Some(form) = forms.iter().find(|form| form.peft_type == kind) else {
        let names: Vec<&str> = forms.iter().map(|form| form.peft_type).collect();
        return Err(Problem::input(format!("peft_type is {kind}"))
            .at(given.config_at)
            .next(format!("the kinds {} and STRATUNE are read", names.join(", "))));
    };
    (form.read)(given).map_err(|p| if p.at.is_empty() { p.at(weights_at) } else { p })
}

/// The folder's configuration and tensors, if PEFT has a form for these methods.
pub(crate) fn write(
    model: &ModelReport,
    methods: &Methods,
    tensors: &Tensors,
) -> Option<(Value, Tensors, &'static Form)> {
    let [method] = methods.as_slice() else { return None };
    let form = method.kind.method().peft.filter(|_| method.gated != Some(true))?;
    let (mut fields, tensors) = (form.write)(model, method, tensors)?;
    let (name, revision) = HubId::split(&model.name);
    let common = json!({
        "auto_mapping": null,
        "base_model_name_or_path": name,
        "inference_mode": true,
        "peft_type": form.peft_type,
        "revision": revision,
    });
    if let Value::Object(common) = common {
        fields.extend(common);
    }
    Some((Value::Object(fields), tensors, form))
}

/// `target_modules` and the layers of a method, as PEFT writes them.
pub(crate) fn placed(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let mut targets = sites::target_modules(method, model);
    let mut layers = Value::Null;
    if !method.layers.is_empty() {
        match sites::layers_to_transform(method, &targets, model) {
            Some(numbers) => layers = json!(numbers),
            None => targets = method.sites(model).iter().map(|site| site.path.clone()).collect(),
        }
    }
    let mut fields = Map::new();
    fields.insert("target_modules".into(), json!(targets));
    fields.insert("layers_to_transform".into(), layers);
    fields.insert("layers_pattern".into(), Value::Null);
    fields
}

/// Whether files have the weight of a layer that the method enters as `[in, out]`, which PEFT calls `fan_in_fan_out`. The
/// tensors of an adapter are the same then; what PEFT merges it transposes.
pub(crate) fn fan_in_fan_out(model: &ModelReport, method: &MethodConfig) -> bool {
    method.sites(model).iter().any(|site| site.transposed)
}

/// The same for a kind of adapter that has no list of layers: those are named in a regular expression.
pub(crate) fn placed_by_pattern(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    let mut fields = placed(model, method);
    fields.remove("layers_pattern");
    fields.remove("layers_to_transform");
    if !method.layers.is_empty() {
        let paths: Vec<_> = method.sites(model).iter().map(|site| site.path.replace('.', r"\.")).collect();
        fields.insert("target_modules".into(), paths.join("|").into());
    }
    fields
}

/// Fields and more.
pub(crate) fn with(mut fields: Map<String, Value>, more: Value) -> Map<String, Value> {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    fields
}

/// What PEFT puts before a parameter's path.
const PREFIX: &str = "base_model.model.";

/// Tensors with PEFT's prefix before their paths.
pub(crate) fn prefixed(tensors: Tensors) -> Tensors {
    tensors.into_iter().map(|(path, tensor)| (format!("{PREFIX}{path}"), tensor)).collect()
}

/// Tensors by the path behind PEFT's prefix.
pub(crate) fn unprefixed(tensors: Tensors) -> Result<Tensors, Problem> {
    let strip = |(name, tensor): (String, HostTensor)| match name.strip_prefix(PREFIX) {
        Some(path) => Ok((path.to_string(), tensor)),
        None => {
            Err(Problem::input(format!("tensor '{name}' is not part of the adapter that its configuration describes"))
                .next("export the adapter again"))
        }
    };
    tensors.into_iter().map(strip).collect()
}

/// What an adapter is refused for that is not what its configuration says.
pub(crate) fn refuse<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::input(what).next("export the adapter again, or merge it into its model with PEFT"))
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

/// Whether a setting asks for something: a newer PEFT writes what it does not use as null, false or empty, at any
/// depth.
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
pub(crate) fn number(x: f32) -> Value {
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
