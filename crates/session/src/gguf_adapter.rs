//! An adapter that is a GGUF file, as llama.cpp and Ollama have them.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};
use stratune_models::ModelConfig;
use stratune_models::families::WrittenModel;
use stratune_peft::Adapter;
use stratune_protocol::Problem;
use stratune_store::{AdapterFiles, Folder, Gguf, RowOrder, Tensors, View};

/// What the factors of a layer are called behind its matrix.
const FACTORS: [&str; 2] = [".lora_a", ".lora_b"];
/// Keys of an adapter that is not added to every token.
const ACTIVATED: &str = "adapter.alora.";

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
    let of_llama_cpp = "use it with llama.cpp, or train an adapter without that";
    match (says("general.type"), says("adapter.type")) {
        ("adapter", "lora") => {}
        ("adapter", kind) => {
            return Err(Problem::input(format!("the file is an adapter of the type {kind}, and lora is read"))
                .next(of_llama_cpp));
        }
        (kind, _) => {
            return Err(Problem::input(format!("the file is no LoRA adapter: it says that it is {kind}"))
                .next("name it as --model if it is a model, or choose the GGUF file of an adapter"));
        }
    }
    if let Some(key) = gguf.metadata().as_object().and_then(|all| all.keys().find(|key| key.starts_with(ACTIVATED))) {
        return Err(Problem::input(format!("the adapter acts behind some tokens alone ({key})")).next(of_llama_cpp));
    }
    let written = WrittenModel::of(model).map_err(|problem| {
        Problem::input(format!("GGUF adapters of this model are not read: {}", problem.what))
            .next("use the adapter's folder in PEFT's form")
    })?;
    if says("general.architecture") != written.architecture {
        let [theirs, ours] = [says("general.architecture"), written.architecture];
        return Err(Problem::input(format!("the adapter is for models of {theirs}, and this one is of {ours}"))
            .next("use it with the model that it was trained on"));
    }
    let alpha = gguf.metadata()["adapter.lora.alpha"].as_f64().filter(|alpha| *alpha != 0.0);
    if let Some(alpha) = alpha.filter(|alpha| !(alpha.is_finite() && *alpha > 0.0)) {
        return Err(Problem::input(format!("adapter.lora.alpha is {alpha}")).next("export the adapter again"));
    }
    let report = model.report("", 0);
    let linears: Vec<&str> = report.linears().map(|module| module.path.as_str()).collect();
    let shapes = gguf.shapes();
    let mut used: Vec<&str> = Vec::new();
    let (mut tensors, mut ranks) = (Tensors::new(), BTreeMap::new());
    for (entry, view) in &written.tensors {
        let Some(path) = entry.name.strip_suffix(".weight").filter(|path| linears.contains(path)) else { continue };
        let [a, b] = FACTORS.map(|end| format!("{}{end}", view.tensor));
        let Some((a, a_shape)) = shapes.get_key_value(&a) else { continue };
        let (Some((b, _)), &[rank, _]) = (shapes.get_key_value(&b), &a_shape[..]) else {
            return Err(Problem::input(format!("{a} is no matrix, or has no {b} beside it")).next("export it again"));
        };
        used.extend([a.as_str(), b.as_str()]);
        let &[outputs, inputs] = &entry.shape[..] else { continue };
        let whole =
            View { tensor: a.clone(), first_row: 0, shape: vec![rank, inputs], order: RowOrder::Same, added: 0.0 };
        let rows = View { tensor: b.clone(), shape: vec![outputs, rank], added: 0.0, ..view.clone() };
        let named = |end: &str| format!("base_model.model.{path}.{end}.weight");
        for (end, factor) in [("lora_A", whole), ("lora_B", rows)] {
            let other = |problem: Problem| problem.next("use the adapter with the model that it was trained on");
            tensors.insert(named(end), gguf.tensor(&factor).await.map_err(other)?);
        }
        ranks.insert(path.to_string(), rank);
    }
    if let Some(left) = shapes.keys().find(|name| !used.contains(&name.as_str())) {
        let what = format!("the adapter changes {left}, and a LoRA of this model has no place for it");
        return Err(Problem::input(what).next(of_llama_cpp));
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
