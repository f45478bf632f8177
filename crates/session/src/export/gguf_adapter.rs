//! An adapter as a GGUF file, which llama.cpp and Ollama put on a base.

use serde_json::{Value, json};
use stratune_models::ModelConfig;
use stratune_models::families::WrittenModel;
use stratune_peft::{Adapter, LoraFactors};
use stratune_protocol::Problem;
use stratune_store::{BlockType, GgufMetadata, GgufTensor, GgufWriter, ModelFolder, RowOrder, Sink};

use super::{GGUF_ADAPTER, short_name};

/// Writes a GGUF adapter of one that is LoRA in the end: A and B of each layer, in B what the one alpha of the file does not
/// say, and its rows in the order that the base's rows have.
///
/// # Errors
/// The adapter is no LoRA, the model's family has no GGUF form, or the base's file has the layer in one with others.
pub async fn write_gguf_adapter(
    source: &ModelFolder,
    config: &ModelConfig,
    adapter: &Adapter,
    name: &str,
    sink: &mut dyn Sink,
) -> Result<(), Problem> {
    let model = WrittenModel::of(config)?;
    let layers = adapter.lora_factors(&config.report("", 0))?;
    // llama.cpp adds alpha / rank · B A, of one alpha for all.
    let alpha = layers.first().map_or(1.0, |layer| layer.scale * layer.rank() as f32);
    let mut tensors = Vec::new();
    let mut numbers: Vec<Vec<f32>> = Vec::new();
    for layer in &layers {
        let weight = format!("{}.weight", layer.path);
        let found = model.tensors.iter().find(|(entry, _)| entry.name == weight);
        let (entry, view) = found.ok_or_else(|| super::absent(&weight))?;
        if let Some(gguf) = source.gguf()
            && gguf.block_type(&view.tensor).is_none()
        {
            return Err(Problem::input(format!("the base's file has {} in one with others", layer.path))
                .at(source.label())
                .next("write the merged model: --format gguf"));
        }
        let &[outputs, inputs] = &entry.shape[..] else { return Err(super::absent(&weight)) };
        let rank = layer.rank();
        if (layer.a.shape[1], layer.b.shape[0]) != (inputs, outputs) {
            let [a, b] = [&layer.a.shape, &layer.b.shape];
            let what = format!("the adapter has {a:?} and {b:?} for {}, which is [{outputs}, {inputs}]", layer.path);
            return Err(Problem::input(what).next("use an adapter that was trained on this model"));
        }
        let tensor = |end: &str, shape: [usize; 2]| GgufTensor {
            name: format!("{}.{end}", view.tensor),
            shape: shape.into(),
            kind: BlockType::F32,
        };
        tensors.push(tensor("lora_a", [rank, inputs]));
        numbers.push(layer.a.data.clone());
        tensors.push(tensor("lora_b", [outputs, rank]));
        numbers.push(factor_b(layer, alpha, view.order));
    }
    let metadata: GgufMetadata = [
        ("general.architecture", Value::from(model.architecture)),
        ("general.type", "adapter".into()),
        ("general.name", short_name(name).into()),
        ("adapter.type", "lora".into()),
        // As a float, whole or not.
        ("adapter.lora.alpha", json!(f64::from(alpha))),
    ]
    .map(|(key, value)| (key.to_string(), value.into()))
    .into();
    let mut writer = GgufWriter::begin(sink, GGUF_ADAPTER, &metadata, &tensors).await?;
    for numbers in numbers {
        writer.add(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>()).await?;
    }
    writer.finish()
}

/// B as the file has it.
fn factor_b(layer: &LoraFactors<'_>, alpha: f32, order: RowOrder) -> Vec<f32> {
    let rank = layer.rank();
    let ratio = layer.scale * rank as f32 / alpha;
    let rows = layer.b.shape[0];
    let row = |place: usize| &layer.b.data[order.in_checkpoint(place) * rank..][..rank];
    (0..rows).flat_map(row).map(|number| number * ratio).collect()
}
