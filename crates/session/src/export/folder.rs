//! A merged model as a folder in Hugging Face form.

use std::collections::{BTreeMap, BTreeSet};

use stratune_models::{Entry, MergingModel, ModelConfig};
use stratune_protocol::Problem;
use stratune_runtime::chunk_length;
use stratune_store::{ModelFolder, SafetensorsWriter, Sink, Stored, changed_config, config_bytes, write_whole};
use stratune_train::Event;

use super::absent;

/// Writes `config.json`, `model.safetensors`, and what lies beside a model's weights: tokenizer, template, settings of
/// generation, licence, as they came. `before` is what the model was before its additions.
///
/// # Errors
/// A tensor cannot be read or written.
pub async fn write_model_folder(
    source: &ModelFolder,
    before: &ModelConfig,
    merging: &MergingModel,
    stored: Stored,
    sink: &mut dyn Sink,
    emit: &mut dyn FnMut(Event),
) -> Result<(), Problem> {
    let config = changed_config(source.config(), &before.to_json(), &merging.config().to_json());
    write_whole(sink, "config.json", &config_bytes(&config, stored)?).await?;
    for (name, bytes) in source.beside().await? {
        write_whole(sink, &name, &bytes).await?;
    }
    let own: BTreeMap<String, Entry> =
        merging.config().layout().into_iter().map(|entry| (entry.file_name.clone(), entry)).collect();
    let mut tensors: BTreeMap<String, Vec<usize>> =
        own.iter().map(|(name, entry)| (name.clone(), entry.file_shape())).collect();
    for name in names_of_others(source, before) {
        let shape = source.shape(&name).ok_or_else(|| absent(&name))?.to_vec();
        tensors.insert(name, shape);
    }
    let tensors: Vec<(String, Vec<usize>)> = tensors.into_iter().collect();
    let mut writer = SafetensorsWriter::begin(sink, "model.safetensors", &tensors, stored).await?;
    let total = tensors.len() as u64;
    for (done, (name, shape)) in tensors.iter().enumerate() {
        match own.get(name) {
            Some(entry) => write_own(merging, entry, &mut writer).await?,
            None => {
                let count = shape.iter().product();
                let most = chunk_length(1);
                for from in (0..count).step_by(most) {
                    writer.add(name, &source.numbers(name, from..count.min(from + most)).await?).await?;
                }
            }
        }
        emit(Event::Progress { what: "writing model.safetensors".into(), done: done as u64 + 1, total });
    }
    writer.finish()
}

async fn write_own(merging: &MergingModel, entry: &Entry, writer: &mut SafetensorsWriter<'_>) -> Result<(), Problem> {
    for part in merging.parts(entry) {
        let numbers = merging.read(entry, part).await?;
        match entry.shape[..] {
            [rows, columns] if entry.transposed => {
                let column = |c: usize| (0..rows).map(move |r| r * columns + c);
                let turned: Vec<f32> = (0..columns).flat_map(column).map(|at| numbers[at]).collect();
                writer.add(&entry.file_name, &turned).await?;
            }
            _ => writer.add(&entry.file_name, &numbers).await?,
        }
    }
    Ok(())
}

/// The tensors of a folder that belong to other parts of its model, of images: they go along as they came.
fn names_of_others(source: &ModelFolder, config: &ModelConfig) -> Vec<String> {
    if !config.report("", 0).beside_others {
        return Vec::new();
    }
    let own: BTreeSet<String> = config.layout().iter().flat_map(|entry| config.names_in_files(&entry.name)).collect();
    // A copy of the embedding that a tied output layer has is none of them.
    let other = |name: &String| !own.contains(name) && !name.ends_with("lm_head.weight");
    source.names().into_iter().filter(other).collect()
}
