//! Adapter folders: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Where Hugging Face PEFT has the method, the folder is PEFT's, names and shapes and all. A method that PEFT lacks, and a
//! combination of methods, is a folder of the same form whose `peft_type` is `STRATUNE`: the methods as a run's
//! configuration has them, and every tensor under its parameter path.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stratune_peft::Methods;
use stratune_protocol::{ModelReport, Problem};

use crate::folder::{Folder, missing, place};
use crate::peft::{self, Form, is_set};
use crate::safetensors::{Tensors, read_safetensors, write_each};
use crate::tensor::HostTensor;

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before a parameter's path.
pub(crate) const PREFIX: &str = "base_model.model.";
/// Our own `peft_type`.
const OWN: &str = "STRATUNE";
/// The keys of our own form.
const OWN_KEYS: [&str; 6] = ["peft_type", "stratune_format", "base_model_name_or_path", "task_type", "methods", "seed"];

/// An adapter: methods and their tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// The model it was trained on, as its author named it.
    pub base_model: Option<String>,
    /// What enters the model.
    pub methods: Methods,
    /// Seed of what is drawn and not stored, such as projections.
    pub seed: u64,
    /// Tensors by parameter path, such as `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub tensors: Tensors,
}

/// Reads the adapter in a folder.
///
/// # Errors
/// A file is missing or damaged, or the adapter asks for something that is not computed here; names it.
pub async fn read_adapter(folder: &dyn Folder) -> Result<Adapter, Problem> {
    for name in [CONFIG, WEIGHTS] {
        if folder.size(name).is_none() {
            let next = "choose the folder of a PEFT adapter that was saved in safetensors form";
            return Err(missing(folder, name, next));
        }
    }
    let at = place(folder, CONFIG);
    let text = folder.read(CONFIG, None).await?;
    let config: Value = serde_json::from_slice(&text).map_err(|e| {
        Problem::input(format!("{CONFIG} cannot be read: {e}")).at(&at).next("export the adapter again")
    })?;
    let (tensors, _) = read_safetensors(&folder.read(WEIGHTS, None).await?, &place(folder, WEIGHTS))?;
    let base_model = config["base_model_name_or_path"].as_str().map(str::to_owned);
    let form = match config["peft_type"].as_str() {
        Some(OWN) => own_form(&config, tensors).map_err(|p| p.at(&at))?,
        kind => peft::read(kind.unwrap_or("absent"), (&config, &text), tensors, &at, &place(folder, WEIGHTS))?,
    };
    let Form { methods, seed, tensors } = form;
    if tensors.is_empty() {
        return Err(Problem::input("the adapter holds no layer")
            .at(place(folder, WEIGHTS))
            .next("export the adapter again"));
    }
    Ok(Adapter { base_model, methods, seed, tensors })
}

/// The files of an adapter's folder. `methods` are what is kept after training, `tensors` theirs by parameter path.
///
/// # Errors
/// A tensor is not what its shape says.
pub fn adapter_files(
    model: &ModelReport,
    methods: &Methods,
    seed: u64,
    tensors: Tensors,
) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let (config, tensors) = match peft::write(model, methods, &tensors) {
        Some(form) => form,
        None => {
            let config = json!({
                "peft_type": OWN,
                "stratune_format": 1,
                "base_model_name_or_path": model.name,
                "task_type": "CAUSAL_LM",
                "methods": methods,
                "seed": seed,
            });
            (config, prefixed(tensors))
        }
    };
    let weights = write_each(&tensors, peft::stored_as, &BTreeMap::new())?;
    Ok(vec![(CONFIG.into(), format!("{config:#}\n").into_bytes()), (WEIGHTS.into(), weights)])
}

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

fn own_form(config: &Value, tensors: Tensors) -> Result<Form, Problem> {
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
    Ok(Form { methods, seed, tensors: unprefixed(tensors)? })
}
