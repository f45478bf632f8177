//! A merged model as a GGUF file.

use std::ops::Range;

use serde_json::{Value, json};
use stratune_data::WrittenTokenizer;
use stratune_kernels::{BlockFormat, WeightFormat};
use stratune_models::families::WrittenModel;
use stratune_models::{Entry, MergingModel};
use stratune_protocol::Problem;
use stratune_store::{
    BlockType, Ftype, Gguf, GgufMetadata, GgufTensor, GgufWriter, ModelFolder, RowOrder, Sink, View, quantize,
};
use stratune_train::Event;

use super::{GGUF_MODEL, short_name};

/// Keys of a base's file that are not true of one that is made of it.
const NOT_COPIED: [&str; 3] = ["general.file_type", "general.quantization_version", "general.alignment"];

/// Writes a GGUF model. What the base's own GGUF file says of itself, the vocabulary above all, goes along as it came, and so do
/// the blocks of its matrices where no method has changed them and the types are the same. `name` is the base's. Gives
/// what the file cannot say.
///
/// # Errors
/// GGUF has no place for something of the model or of its tokenizer, or a number cannot be written.
pub async fn write_gguf(
    source: &ModelFolder,
    merging: &MergingModel,
    ftype: Ftype,
    name: &str,
    sink: &mut dyn Sink,
    emit: &mut dyn FnMut(Event),
) -> Result<Vec<String>, Problem> {
    let model = WrittenModel::of(merging.config())?;
    let (mut metadata, notices) = match source.gguf() {
        Some(gguf) => (copied(gguf), Vec::new()),
        None => made(source, &model, merging.config().vocab_size, name).await?,
    };
    metadata.push(("general.file_type".into(), json!(ftype.id()).into()));
    if !matches!(ftype, Ftype::F32 | Ftype::F16) {
        metadata.push(("general.quantization_version".into(), json!(2).into()));
    }
    // Those of a file as they are there: they were rounded once.
    let mut factors = model.factors.clone();
    for (name, factors) in &mut factors {
        if let Some(gguf) = source.gguf().filter(|gguf| gguf.block_type(name).is_some()) {
            *factors = gguf.vector(name).await?;
        }
    }
    let vector = |(name, factors): (&&str, &Vec<f32>)| GgufTensor {
        name: (*name).into(),
        shape: vec![factors.len()],
        kind: BlockType::F32,
    };
    let mut tensors: Vec<GgufTensor> = factors.iter().map(vector).collect();
    tensors.extend(typed(ftype, &model.tensors));
    let mut writer = GgufWriter::begin(sink, GGUF_MODEL, &metadata, &tensors).await?;
    for factors in factors.values() {
        writer.add(&factors.iter().flat_map(|factor| factor.to_le_bytes()).collect::<Vec<_>>()).await?;
    }
    let total = model.tensors.len() as u64;
    let kinds = tensors.iter().skip(factors.len()).map(|tensor| tensor.kind);
    for (done, ((entry, view), kind)) in model.tensors.iter().zip(kinds).enumerate() {
        let from = TensorSource { source, merging, entry, view, kind };
        for part in merging.parts(entry) {
            writer.add(&from.bytes(part).await?).await?;
        }
        emit(Event::Progress { what: format!("writing {GGUF_MODEL}"), done: done as u64 + 1, total });
    }
    writer.finish()?;
    Ok(notices)
}

/// What a file says of itself, but for what is not true of another.
fn copied(gguf: &Gguf) -> GgufMetadata {
    let keys = gguf.metadata().as_object().into_iter().flatten().map(|(key, _)| key);
    let kept = keys.filter(|key| !NOT_COPIED.contains(&key.as_str()) && !key.starts_with("split."));
    let mut metadata: GgufMetadata = kept.filter_map(|key| Some((key.clone(), gguf.value(key)?))).collect();
    // What kind of file it is comes first, as in those that llama.cpp writes.
    metadata.sort_by_key(|(key, _)| (key != "general.architecture", !key.starts_with("general.")));
    metadata
}

/// What a file says of a model that lies in a folder.
async fn made(
    source: &ModelFolder,
    model: &WrittenModel,
    rows: usize,
    name: &str,
) -> Result<(GgufMetadata, Vec<String>), Problem> {
    let (tokenizer, config) = source.tokenizer().await?;
    let at = format!("{}/tokenizer.json", source.label());
    let tokenizer = WrittenTokenizer::of(&tokenizer, config.as_deref(), &source.ends().await?, rows, &at)?;
    let named = [("general.name".to_string(), Value::from(short_name(name)))];
    let keys = model.metadata.iter().cloned().chain(named).chain(tokenizer.metadata);
    Ok((keys.map(|(key, value)| (key, value.into())).collect(), tokenizer.notices))
}

/// The tensors with the types that a file of this kind has.
fn typed(ftype: Ftype, tensors: &[(Entry, View)]) -> Vec<GgufTensor> {
    let given: Vec<(&str, &[usize])> =
        tensors.iter().map(|(entry, view)| (view.tensor.as_str(), entry.shape.as_slice())).collect();
    let kinds = ftype.block_types(&given);
    let tensor = |((name, shape), kind): ((&str, &[usize]), BlockType)| GgufTensor {
        name: name.into(),
        shape: shape.into(),
        kind,
    };
    given.into_iter().zip(kinds).map(tensor).collect()
}

/// Where the bytes of a tensor come from.
struct TensorSource<'a> {
    source: &'a ModelFolder,
    merging: &'a MergingModel,
    entry: &'a Entry,
    view: &'a View,
    kind: BlockType,
}

impl TensorSource<'_> {
    /// The bytes of some rows, as the file has them.
    async fn bytes(&self, rows: Range<usize>) -> Result<Vec<u8>, Problem> {
        let Self { source, merging, entry, view, kind } = self;
        let row = if let [_, columns] = entry.shape[..] { columns } else { 1 };
        if self.is_as_it_came() {
            let blocks = source.blocks(&entry.name, rows.clone()).await?;
            return Ok(reordered(view.order, &blocks, blocks.len() / rows.len().max(1)));
        }
        let mut numbers = merging.read(entry, rows).await?;
        numbers.iter_mut().for_each(|number| *number += view.added);
        let numbers = reordered(view.order, &numbers, row);
        let mut bytes = Vec::new();
        let of_tensor = |problem: Problem| problem.at(format!("tensor {}", entry.name));
        match row {
            1 => quantize(*kind, &numbers, &mut bytes).map_err(of_tensor)?,
            row => numbers.chunks(row).try_for_each(|row| quantize(*kind, row, &mut bytes)).map_err(of_tensor)?,
        }
        Ok(bytes)
    }

    /// Whether no method has changed the blocks of the base's file, and they are of the type that is asked for.
    fn is_as_it_came(&self) -> bool {
        let there = self.source.block_type(&self.entry.name).filter(|there| *there == self.kind);
        let Some(there) = there.filter(|_| self.merging.is_unchanged(self.entry)) else { return false };
        // What norms have added was rounded, and would be a second time.
        let is_vector = self.entry.shape.len() == 1;
        let kept = BlockFormat::named(there.name()).map(WeightFormat::from);
        is_vector || kept.is_some() && kept == self.merging.format(self.entry)
    }
}

/// Rows of a whole tensor, of so many numbers or bytes each, in the order of the file.
fn reordered<T: Copy>(order: RowOrder, rows: &[T], row: usize) -> Vec<T> {
    if order == RowOrder::Same {
        return rows.to_vec();
    }
    let of = |place: usize| &rows[order.in_checkpoint(place) * row..][..row];
    (0..rows.len() / row.max(1)).flat_map(of).copied().collect()
}
