//! Taking an adapter out of a model, and putting one in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use burn::tensor::{Tensor, TensorData};
use stratune_models::{Model, ModelConfig};
use stratune_peft::{
    Adapter, SavedModules, StateMismatch, Values, Within, adapter_values, named_parameters, prefix_part,
    restore_adapter,
};
use stratune_protocol::{Problem, Role};
use stratune_runtime::read_f32;
use stratune_store::{AdapterFiles, Folder, HostTensor, Tensors};
use stratune_train::RunConfig;

/// The adapter folder of what a run has added to a model: Hugging Face PEFT's where PEFT has the method.
///
/// # Errors
/// The device does not answer.
pub async fn adapter_of(model: &Model, config: &RunConfig) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    // A copy, whose tensors are shared: the run may go on with the original.
    let mut model = model.clone();
    let kept = model.finalize_for_base_as_read(&config.method).await?;
    let base = model.config.base_paths();
    let tensors = read(adapter_values(&mut model, &base)).await?;
    let report = model.config.report(&config.model, model.config.parameters());
    let names = model.modules_to_save();
    let labels = model.config.classifier.as_ref().map(|of| of.labels.clone()).unwrap_or_default();
    let saved = SavedModules { labels: if names.is_empty() { Vec::new() } else { labels }, names };
    let labels = labels_file(&saved.labels);
    let adapter = Adapter { base_model: None, methods: kept, seed: config.train.seed, saved, tensors };
    let mut files = adapter.write(&report)?;
    files.extend(labels);
    Ok(files)
}

/// What a folder has the names of a classifier's labels in, as transformers' `config.json` has them. PEFT does not keep them.
const LABELS: &str = "id2label.json";

fn labels_file(labels: &[String]) -> Option<(String, Vec<u8>)> {
    let by_number: serde_json::Map<_, _> =
        labels.iter().enumerate().map(|(i, l)| (i.to_string(), l.clone().into())).collect();
    (!labels.is_empty()).then(|| (LABELS.into(), format!("{:#}\n", serde_json::Value::Object(by_number)).into_bytes()))
}

/// Reads the adapter in a folder.
///
/// # Errors
/// A file is missing or damaged, or the adapter asks for something that is not computed here; names it.
pub async fn read_adapter(folder: &dyn Folder) -> Result<Adapter, Problem> {
    let mut adapter = Adapter::read(AdapterFiles::read(folder).await?)?;
    if folder.size(LABELS).is_some() && !adapter.saved.names.is_empty() {
        let wrong = || {
            Problem::input(format!("{LABELS} does not name each label once, from 0"))
                .at(folder.label())
                .next("export the adapter again, or delete the file: labels are numbers then")
        };
        let by_number: BTreeMap<String, String> =
            serde_json::from_slice(&folder.read(LABELS, None).await?).map_err(|_| wrong())?;
        let label = |i: usize| by_number.get(&i.to_string()).cloned().ok_or_else(wrong);
        adapter.saved.labels = (0..by_number.len()).map(label).collect::<Result<_, _>>()?;
    }
    Ok(adapter)
}

/// Gives a model the classifier of an adapter's shape and labels, to be filled.
fn classifier_for(model: &mut Model, adapter: &Adapter) -> Result<(), Problem> {
    if adapter.saved.names.is_empty() {
        return Ok(());
    }
    let SavedModules { labels, .. } = &adapter.saved;
    let numbered = |count: usize| (0..count).map(|i| format!("LABEL_{i}")).collect::<Vec<_>>();
    let own = model.config.classifier.as_ref().map(|of| of.labels.clone()).unwrap_or_default();
    // A decoder has a classifier once it has labels, whose path its tensor is then found by.
    let with = model.config.with_labels(&numbered(1), false)?;
    let path = with.module(None, Role::Classifier).map(|module| format!("{}.weight", module.path)).unwrap_or_default();
    let there = adapter.tensors.get(&path).and_then(|tensor| tensor.shape.first().copied());
    let labels = match there {
        Some(count) if !labels.is_empty() && labels.len() != count => {
            return Err(Problem::input(format!("{LABELS} names {} labels, and {path} has {count}", labels.len()))
                .next("delete the file: labels are numbers then"));
        }
        Some(_) if !labels.is_empty() => labels.clone(),
        Some(count) if own.len() == count => own,
        Some(count) => numbered(count),
        None => own,
    };
    if labels.is_empty() {
        return Ok(());
    }
    *model = model.with_labels(&labels, labels.len() == 1, adapter.seed)?;
    model.train_modules(|path| adapter.tensors.contains_key(&format!("{path}.weight")));
    Ok(())
}

/// Puts an adapter into a model.
///
/// # Errors
/// The adapter belongs to another model, or lacks a tensor, or has one too many; names the tensor.
pub async fn attach(model: &mut Model, adapter: &Adapter) -> Result<(), Problem> {
    let next = "use an adapter that was trained on this model";
    // Before anything of that size is made: a damaged configuration may ask for any.
    let report = model.config.report("", model.config.parameters());
    adapter.methods.iter().try_for_each(|method| method.check_on(&report)).map_err(|p| p.or_next(next))?;
    let asked = adapter.methods.trainable(&report);
    let there = adapter.tensors.values().map(|tensor| tensor.data.len() as u64).fold(0, u64::saturating_add);
    if asked > there {
        let what = format!("the adapter's configuration asks for {asked} numbers, and its file has {there}");
        return Err(Problem::input(what).next(next));
    }
    classifier_for(model, adapter).map_err(|p| p.or_next(next))?;
    model.attach(&adapter.methods, adapter.seed).await.map_err(|p| p.or_next(next))?;
    model.check_indices(|path| adapter.tensors.get(path).map(|host| host.data.as_slice()))?;
    let device = model.device();
    let attentions: Vec<_> = model.layers.iter().map(|block| block.self_attn.id.clone()).collect();
    let on_device = |(path, host): (&String, &HostTensor)| {
        let data = TensorData::new(host.data.clone(), [host.data.len()]);
        // PEFT's prefix knows the number of the block alone.
        let path = match prefix_part(path).and_then(|(block, part)| Some((attentions.get(block)?, part))) {
            Some((attention, part)) => attention.param(&format!("prefix.{part}")).path,
            None => path.clone(),
        };
        (path, (host.shape.clone(), Tensor::from_data(data, &device)))
    };
    let values: Values = adapter.tensors.iter().map(on_device).collect();
    let base = model.config.base_paths();
    for (path, (_, ours)) in named_parameters(model).into_iter().filter(|(path, _)| path.ends_with(".sparse_check")) {
        let Some(theirs) = adapter.tensors.get(&path) else { continue };
        if theirs.data != read_f32(ours).await? {
            let what = "the adapter moves the smallest weights of a base, and on this model these are others";
            return Err(Problem::input(what).at(path).next(next));
        }
    }
    restore_adapter(model, &base, &values).map_err(|mismatch| {
        let (what, at) = match mismatch {
            StateMismatch::Missing(path) => ("the adapter lacks this tensor".to_string(), path),
            StateMismatch::Unexpected(path) => {
                ("the adapter has a tensor that its method does not have".to_string(), path)
            }
            StateMismatch::Shape(path, there, want) => {
                (format!("the adapter has {there:?} where this model takes {want:?}"), path)
            }
        };
        Problem::input(what).at(at).next(next)
    })
}

/// The adapter that a low-rank one is at a lower rank: of each A the first rows, of each B the first columns, scaled as an
/// adapter of this rank is. DyLoRA trains each of them; of others nothing is known.
///
/// # Errors
/// It is no LoRA, or the rank is 0 or above its own.
pub fn sliced(adapter: &Adapter, rank: usize) -> Result<Adapter, Problem> {
    let mut cut = adapter.clone();
    for method in &mut cut.methods.0 {
        if method.kind.method().saved_activations.within != Within::LowRank {
            return Err(Problem::input(format!("{} has no ranks to leave out", method.kind))
                .next("give an adapter that dylora has trained"));
        }
        let highest = method.overrides.values().filter_map(|over| over.rank).chain(method.rank).max().unwrap_or(0);
        if rank == 0 || rank > highest {
            return Err(Problem::input(format!("the rank asked for is {rank}, and the adapter's own is {highest}"))
                .next(format!("use 1 to {highest}")));
        }
        let lower = |of: &mut Option<usize>| *of = of.map(|r| r.min(rank));
        lower(&mut method.rank);
        method.overrides.values_mut().for_each(|over| lower(&mut over.rank));
    }
    for (path, tensor) in &mut cut.tensors {
        let [rows, columns] = tensor.shape[..] else { continue };
        let (rows_left, columns_left) = match path.rsplit_once('.').map_or("", |(before, _)| before) {
            p if p.ends_with("lora_A") => (rows.min(rank), columns),
            p if p.ends_with("lora_B") => (rows, columns.min(rank)),
            _ => continue,
        };
        let left = tensor.data.chunks(columns.max(1)).take(rows_left);
        let data = left.flat_map(|row| &row[..columns_left]).copied().collect();
        *tensor = HostTensor { shape: vec![rows_left, columns_left], data };
    }
    Ok(cut)
}

/// A base with several adapters, each weighted.
///
/// # Errors
/// As [`attach`]; or the adapters cannot be mixed.
pub async fn mix(base: &Model, adapters: &[(Adapter, f32)]) -> Result<Model, Problem> {
    let mut models = Vec::new();
    for (adapter, weight) in adapters {
        let mut model = base.clone();
        attach(&mut model, adapter).await?;
        models.push((model, *weight));
    }
    base.mixed(models)
}

/// A model's geometry and all of its tensors on the host, its additions merged into them, as files have them.
///
/// # Errors
/// An addition cannot be merged, or the device does not answer.
pub async fn merged_tensors(mut model: Model) -> Result<(ModelConfig, Tensors), Problem> {
    model.merge()?;
    let mut tensors = read(named_parameters(&mut model)).await?;
    for table in model.embeddings() {
        // What is quantized or in pieces is no parameter.
        let path = table.id.param("weight").path;
        if let Entry::Vacant(place) = tensors.entry(path) {
            place.insert(HostTensor { shape: table.dims().to_vec(), data: table.read().await? });
        }
    }
    for entry in model.config.layout().into_iter().filter(|entry| entry.transposed) {
        if let Some(tensor) = tensors.get_mut(&entry.name) {
            *tensor = turned(tensor);
        }
    }
    Ok(((*model.config).clone(), tensors))
}

/// A matrix transposed.
fn turned(HostTensor { shape, data }: &HostTensor) -> HostTensor {
    let &[rows, columns] = &shape[..] else { return HostTensor { shape: shape.clone(), data: data.clone() } };
    let column = |c: usize| (0..rows).map(move |r| data[r * columns + c]);
    HostTensor { shape: vec![columns, rows], data: (0..columns).flat_map(column).collect() }
}

async fn read(values: Values) -> Result<Tensors, Problem> {
    let mut tensors = BTreeMap::new();
    for (path, (shape, value)) in values {
        tensors.insert(path, HostTensor { shape, data: read_f32(value).await? });
    }
    Ok(tensors)
}
