//! Opening a model, whatever its files are: a Hugging Face folder, or GGUF.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::json;
use stratune_data::GgufTokenizer;
use stratune_models::families::{GgufModel, TENSORS_OF_CONFIG};
use stratune_protocol::Problem;
use stratune_store::{Folder, Gguf, ModelFolder, gguf_files};

/// Opens the model in a folder by its headers; no weight is read. A GGUF file is opened where there is no `config.json`
/// with safetensors.
///
/// # Errors
/// A file is missing or damaged, there are several models, or it is of a family or a form that is not known here.
pub async fn open_model(folder: Rc<dyn Folder>) -> Result<ModelFolder, Problem> {
    let names = folder.names();
    let has_weights =
        names.iter().any(|name| name == "config.json") && names.iter().any(|n| n.ends_with(".safetensors"));
    if !has_weights && let Some(files) = gguf_files(&*folder)? {
        return of_gguf(Gguf::open(folder, files).await?).await;
    }
    ModelFolder::open(folder).await
}

/// A GGUF model with the files that a folder would have beside its weights.
async fn of_gguf(gguf: Gguf) -> Result<ModelFolder, Problem> {
    let at = gguf.label();
    let mut tensors = BTreeMap::new();
    for name in TENSORS_OF_CONFIG.into_iter().filter(|name| gguf.block_type(name).is_some()) {
        tensors.insert(name, gguf.vector(name).await?);
    }
    let model = GgufModel::read(gguf.metadata(), &gguf.shapes(), &tensors, &at)?;
    let tokenizer = GgufTokenizer::read(gguf.metadata(), &at)?;
    let files = vec![
        ("config.json".to_string(), format!("{:#}\n", model.config).into_bytes()),
        ("tokenizer.json".into(), tokenizer.json),
        ("tokenizer_config.json".into(), tokenizer.config),
        ("generation_config.json".into(), format!("{:#}\n", json!({"eos_token_id": tokenizer.ends})).into_bytes()),
    ];
    ModelFolder::of_gguf(gguf, files, model.tensors)
}
