//! An adapter that is a GGUF file, as llama.cpp and Ollama have them.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};
use stratune_models::ModelConfig;
use stratune_models::families::WrittenModel;
use stratune_peft::Adapter;
use stratune_protocol::Problem;
use stratune_store::{AdapterFiles, Folder, Gguf, HostTensor, RowOrder, Tensors, View};

/// What the factors of a layer are called behind its matrix.
const FACTORS: [&str; 2] = [".lora_a", ".lora_b"];

/// Reads a GGUF file of LoRA for a model: A and B of each matrix, whose rows go back to the order of the checkpoint.
///
/// # Errors
/// The file is damaged or no adapter, is for another architecture or other sizes, or changes what no method of ours enters.
pub async fn read_gguf_adapter(folder: Rc<dyn Folder>, file: &str, model: &ModelConfig) -> Result<Adapter, Problem> {
    let gguf = Gguf::open(folder, vec![file.to_string()]).await?;
    let at = gguf.label();
    let (config, tensors) = as_peft(&gguf, model).await.map_err(|problem| match problem.at.is_empty() {
        true => problem.at(at.clone()),
        false => problem,
    })?;
    let text = config.to_string().into_bytes();
    Adapter::read(AdapterFiles { config, text, tensors, config_at: at.clone(), weights_at: at })
}

/// The same as a folder of PEFT has it.
async fn as_peft(gguf: &Gguf, model: &ModelConfig) -> Result<(Value, Tensors), Problem> {
    let says = |key: &str| gguf.metadata()[key].as_str().unwrap_or("nothing");
    if (says("general.type"), says("adapter.type")) != ("adapter", "lora") {
        return Err(Problem::input(format!(
            "the file is no LoRA adapter: it says that it is {}",
            says("general.type")
        ))
        .next("name it as --model if it is a model, or choose the GGUF file of an adapter"));
    }
    let written = WrittenModel::of(model)?;
    if says("general.architecture") != written.architecture {
        let [theirs, ours] = [says("general.architecture"), written.architecture];
        return Err(Problem::input(format!("the adapter is for models of {theirs}, and this one is of {ours}"))
            .next("use it with the model that it was trained on"));
    }
    let alpha = gguf.metadata()["adapter.lora.alpha"].as_f64().filter(|alpha| alpha.is_finite() && *alpha != 0.0);
    let shapes = gguf.shapes();
    let mut used: Vec<&str> = Vec::new();
    let (mut tensors, mut ranks) = (Tensors::new(), BTreeMap::new());
    for (entry, view) in &written.tensors {
        let [a, b] = FACTORS.map(|end| format!("{}{end}", view.tensor));
        let Some((a, a_shape)) = shapes.get_key_value(&a) else { continue };
        let (Some((b, _)), &[rank, _]) = (shapes.get_key_value(&b), &a_shape[..]) else {
            return Err(Problem::input(format!("{a} is no matrix, or has no {b} beside it")).next("export it again"));
        };
        used.extend([a.as_str(), b.as_str()]);
        let (Some(path), &[outputs, inputs]) = (entry.name.strip_suffix(".weight"), &entry.shape[..]) else {
            return Err(Problem::input(format!("{a} is of what is no matrix here")).next("leave it out"));
        };
        let whole =
            View { tensor: a.clone(), first_row: 0, shape: vec![rank, inputs], order: RowOrder::Same, added: 0.0 };
        let rows = View { tensor: b.clone(), shape: vec![outputs, rank], added: 0.0, ..view.clone() };
        let named = |end: &str| format!("base_model.model.{path}.{end}.weight");
        let [factor_a, factor_b]: [HostTensor; 2] = [gguf.tensor(&whole).await?, gguf.tensor(&rows).await?];
        tensors.insert(named("lora_A"), factor_a);
        tensors.insert(named("lora_B"), factor_b);
        ranks.insert(path.to_string(), rank);
    }
    if let Some(left) = shapes.keys().find(|name| !used.contains(&name.as_str())) {
        return Err(Problem::input(format!(
            "the adapter changes {left}, and a LoRA of this model has no place for it"
        ))
        .next("use it with llama.cpp, or train without that tensor"));
    }
    let most = ranks.values().copied().max().unwrap_or(1);
    let pattern: Map<String, Value> = ranks.iter().map(|(path, rank)| (path.clone(), json!(rank))).collect();
    // llama.cpp adds alpha / rank · B A, and B A where alpha is 0.
    let mut config = json!({ "peft_type": "LORA", "r": most, "lora_alpha": alpha.unwrap_or(1.0), "rank_pattern": pattern,
        "target_modules": ranks.keys().collect::<Vec<_>>() });
    if alpha.is_none() {
        config["alpha_pattern"] = config["rank_pattern"].clone();
    }
    Ok((config, tensors))
}
