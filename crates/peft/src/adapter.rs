//! Adapters: methods and their tensors, as folders say them.
//!
//! Where Hugging Face PEFT has the method, the folder is PEFT's, names and shapes and all. A method that PEFT lacks,
//! and a combination of methods, is a folder of the same form whose `peft_type` is `STRATUNE`: the methods as a run's
//! configuration has them, and every tensor under its parameter path.

use serde_json::{Value, json};
use stratune_protocol::{ModelReport, Problem, is_commit};
use stratune_store::{AdapterFiles, Stored, Tensors};

use crate::form::{self, Given, is_set, prefixed, unprefixed};
use crate::{Methods, SavedModules};

/// Our own `peft_type`.
const OWN: &str = "STRATUNE";
/// The keys of our own form.
const OWN_KEYS: [&str; 7] =
    ["peft_type", "stratune_format", "base_model_name_or_path", "task_type", "methods", "modules_to_save", "seed"];

/// An adapter: methods and their tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// The model it was trained on, as its author named it; with the commit, if that is known: `owner/name@COMMIT`.
    pub base_model: Option<String>,
    /// What enters the model.
    pub methods: Methods,
    /// Seed of what is drawn and not stored, such as projections.
    pub seed: u64,
    /// Whole modules beside what enters: a classifier.
    pub saved: SavedModules,
    /// Tensors by parameter path, such as `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub tensors: Tensors,
}

impl Adapter {
    /// What a folder's files say.
    ///
    /// # Errors
    /// The adapter asks for something that is not computed here; names it.
    pub fn read(files: AdapterFiles) -> Result<Self, Problem> {
        let AdapterFiles { config, text, tensors, config_at, weights_at } = files;
        let base_model = config["base_model_name_or_path"].as_str().map(|name| match config["revision"].as_str() {
            Some(commit) if is_commit(commit) => format!("{name}@{commit}"),
            Some(_) | None => name.to_owned(),
        });
        let saved = SavedModules::read(&config).map_err(|p| p.at(&config_at))?;
        let (whole, tensors) = saved.split(tensors);
        let (methods, seed, mut tensors) = match config["peft_type"].as_str() {
            Some(OWN) => own_form(&config, tensors).map_err(|p| p.at(&config_at))?,
            kind => {
                let mut fields = config.as_object().cloned().unwrap_or_default();
                fields.remove("modules_to_save");
                let given = Given { fields, text: &text, tensors, config_at: &config_at };
                let (methods, tensors) = form::read(kind.unwrap_or("absent"), given, &weights_at)?;
                (methods, 0, tensors)
            }
        };
        if tensors.is_empty() && (whole.is_empty() || !methods.is_empty()) {
            return Err(Problem::input("the adapter holds no layer").at(weights_at).next("export the adapter again"));
        }
        tensors.extend(unprefixed(whole).map_err(|p| p.at(&weights_at))?);
        Ok(Self { base_model, methods, seed, saved, tensors })
    }

    /// The files of the folder of an adapter for this model: their names and bytes. The methods are what is kept after
    /// training.
    ///
    /// # Errors
    /// A tensor is not what its shape says.
    pub fn write(self, model: &ModelReport) -> Result<Vec<(String, Vec<u8>)>, Problem> {
        let (whole, own) = self.saved.split(self.tensors);
        match form::write(model, &self.methods, &own) {
            Some((config, mut tensors, form)) => {
                let config = with_fields(config, self.saved.fields(model));
                tensors.extend(prefixed(whole));
                let integers = |name: &str| form.integers.iter().any(|end| name.ends_with(end));
                let stored = |name: &str| if integers(name) { Stored::I32 } else { Stored::F32 };
                AdapterFiles::write(&config, &tensors, stored)
            }
            None => {
                let config = json!({
                    "peft_type": OWN,
                    "stratune_format": 1,
                    "base_model_name_or_path": model.name,
                    "methods": self.methods,
                    "seed": self.seed,
                });
                let tensors = own.into_iter().chain(whole).collect();
                AdapterFiles::write(&with_fields(config, self.saved.fields(model)), &prefixed(tensors), |_| Stored::F32)
            }
        }
    }
}

fn with_fields(mut config: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut config, more) {
        fields.extend(more);
    }
    config
}

fn own_form(config: &Value, tensors: Tensors) -> Result<(Methods, u64, Tensors), Problem> {
    let strange = |(key, value): &(&String, &Value)| !OWN_KEYS.contains(&key.as_str()) && is_set(value);
    if let Some((key, _)) = config.as_object().into_iter().flatten().find(strange) {
        return Err(Problem::input(format!("unknown key '{key}'")).next("leave it out, or update Stratune"));
    }
    if config["stratune_format"] != 1 {
        let what = format!("the adapter's format is {}, and this version reads 1", config["stratune_format"]);
        return Err(Problem::input(what).next("update Stratune"));
    }
    let methods = serde_json::from_value(config["methods"].clone())
        .map_err(|e| Problem::input(format!("methods cannot be read: {e}")).next("export the adapter again"))?;
    let Some(seed) = config["seed"].as_u64() else {
        return Err(Problem::input("seed is missing").next("export the adapter again"));
    };
    Ok((methods, seed, unprefixed(tensors)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;
    use stratune_store::HostTensor;

    use super::*;

    /// A model of the hub is named as PEFT names it, repository and commit apart, and comes back as one name.
    #[test]
    fn a_model_keeps_its_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let tensor = |shape: [usize; 2]| HostTensor { shape: shape.to_vec(), data: vec![1.0; shape[0] * shape[1]] };
        let path = |end: &str| format!("base_model.model.model.layers.0.self_attn.q_proj.lora_{end}.weight");
        for (revision, name) in [(json!(commit), format!("o/n@{commit}")), (json!("main"), "o/n".into())] {
            let config = json!({
                "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
                "base_model_name_or_path": "o/n", "revision": revision,
            });
            let tensors = [(path("A"), tensor([4, 3])), (path("B"), tensor([3, 4]))].into();
            let text = config.to_string().into_bytes();
            let at = || "here".to_string();
            let read =
                Adapter::read(AdapterFiles { config, text, tensors, config_at: at(), weights_at: at() }).unwrap();
            assert_eq!(read.base_model.as_ref(), Some(&name));
            let written = read.write(&ModelReport { name, ..ModelReport::default() }).unwrap();
            let json = written.iter().find(|(name, _)| name == "adapter_config.json").unwrap();
            let again: Value = serde_json::from_slice(&json.1).unwrap();
            let commit = if revision == commit { json!(commit) } else { Value::Null };
            assert_eq!((&again["base_model_name_or_path"], &again["revision"]), (&json!("o/n"), &commit));
        }
    }
}
