//! A model that is loaded and can speak.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::{BesideSentencePiece, ImageProcessor, Template, Tokenizer, from_sentence_piece};
use stratune_kernels::{BlockFormat, BlockLoader, QuantizedDtype, Sizes, WeightFormat, self_test};
use stratune_models::{Entry, LoadedTensor, Model, ModelConfig, TensorLoader, Weights, pieces};
use stratune_protocol::{BaseDtype, ComputeDtype, ModelReport, Problem, Role, WeightBytes, WeightStorage};
use stratune_runtime::{chunk_length, synchronize};
use stratune_store::{BlockType, Folder, ModelFolder};
use stratune_train::Event;

use crate::images::{image_tokenizer, read_image_processor};
use crate::open_model::open_model;

/// A model with its tokenizer, as it came from its folder.
#[derive(Debug)]
pub struct Base {
    /// The weights, without any method.
    pub model: Model,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How images become what the model reads, if it reads such.
    pub images: Option<ImageProcessor>,
    /// How rows and prompts become text.
    pub template: Template,
    /// What tells this model from another.
    pub fingerprint: String,
    /// Its name: `starter`, the folder or the file, or the id on the hub.
    pub name: String,
    /// What its matrices take as a GGUF file has them, if it is one.
    pub in_file: Option<WeightBytes>,
    /// What its matrices are kept as.
    pub dtype: BaseDtype,
    /// The sizes at which the device's arithmetic was last found to be right.
    tested: RefCell<Option<Sizes>>,
}

impl Base {
    /// Loads a Hugging Face folder or a GGUF file, a tensor at a time, its matrices kept as `storage` says.
    ///
    /// # Errors
    /// A file is missing or damaged, the architecture is unknown, or tokenizer and model do not belong together.
    pub async fn load(
        folder: Rc<dyn Folder>,
        name: &str,
        storage: WeightStorage,
        device: &Device,
        emit: &mut dyn FnMut(Event),
    ) -> Result<Self, Problem> {
        let files = open_model(folder).await?;
        let config = model_config(&files)?;
        let tokenizer = read_tokenizer(&files, &config).await?;
        let images = read_image_processor(&files, &config).await?;
        let template = Template::of(&tokenizer)?;
        let model = read_model(&files, storage, device, emit).await?;
        let fingerprint = files.fingerprint().await?;
        let in_file = report_of(&files, name)?.in_file;
        let (name, tested) = (name.to_string(), RefCell::new(None));
        Ok(Self { model, tokenizer, images, template, fingerprint, name, in_file, dtype: storage.dtype, tested })
    }

    /// Tests the arithmetic of the device at the sizes of this model, and of batches of `rows` examples of `seq` tokens, with
    /// products that multiply in `compute`.
    ///
    /// # Errors
    /// The device computes wrongly at these sizes, or has no memory left for the test.
    pub async fn test_device(&self, rows: usize, seq: usize, compute: ComputeDtype) -> Result<(), Problem> {
        let config = &self.model.config;
        let sizes = Sizes {
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            // Of models that read images it is a token alone.
            vocabulary: config.vocab_size.max(2),
            seq: seq.max(2),
            positions: (rows * seq).max(1),
            formats: self.model.formats(),
            compute,
        };
        if self.tested.borrow().as_ref() == Some(&sizes) {
            return Ok(());
        }
        let tested = self_test(&self.model.device(), &sizes).await;
        tested.map_err(|fault| fault.of("at the sizes of this run the device"))?;
        *self.tested.borrow_mut() = Some(sizes);
        Ok(())
    }

    /// What the model is, for people.
    pub fn report(&self) -> ModelReport {
        let config = &self.model.config;
        ModelReport { in_file: self.in_file, ..config.report(&self.name, config.parameters()) }
    }

    /// Longest sequence it was made for, less what an adapter takes of it.
    pub fn context(&self) -> usize {
        self.model.config.context().saturating_sub(self.model.virtual_tokens())
    }
}

/// The geometry that a folder's `config.json` states.
///
/// # Errors
/// It is no model of a family that is known here.
pub fn model_config(files: &ModelFolder) -> Result<ModelConfig, Problem> {
    ModelConfig::from_json(files.config(), &format!("{}/config.json", files.label()))
}

/// What a model is, by its headers alone.
///
/// # Errors
/// It is no model of a family that is known here.
pub fn report_of(files: &ModelFolder, name: &str) -> Result<ModelReport, Problem> {
    let config = model_config(files)?;
    let mut bytes = WeightBytes::default();
    for entry in config.layout() {
        let [rows, columns] = entry.shape[..] else { continue };
        let written = name_in_files(files, &config, &entry).ok().and_then(|name| files.block_type(&name));
        let taken = match kept_as(written) {
            Some(format) => format.bytes([rows, columns]),
            None => 4 * rows as u64 * columns as u64,
        };
        *if matches!(entry.role, Role::Embedding | Role::Head) { &mut bytes.embeddings } else { &mut bytes.blocks } +=
            taken;
    }
    let report = config.report(name, config.parameters());
    Ok(ModelReport { in_file: files.is_gguf().then_some(bytes), ..report })
}

/// What a matrix of a GGUF file is kept as, if not as floats.
fn kept_as(written: Option<BlockType>) -> Option<WeightFormat> {
    match written? {
        BlockType::F16 => Some(QuantizedDtype::F16.into()),
        written => BlockFormat::named(written.name()).map(WeightFormat::from),
    }
}

/// The tokenizer of a folder: `tokenizer.json`, or what SentencePiece's `tokenizer.model` says where that is missing.
///
/// # Errors
/// It is missing or damaged, or knows more tokens than the model. One that reads images needs none.
pub async fn read_tokenizer(files: &ModelFolder, config: &ModelConfig) -> Result<Tokenizer, Problem> {
    if config.image.is_some() {
        return image_tokenizer();
    }
    let (json, config_json) = match files.older_tokenizer("tokenizer.model").await? {
        None => files.tokenizer().await?,
        Some(model) => {
            let (config, added) = (files.tokenizer_config().await?, files.older_tokenizer("added_tokens.json").await?);
            let beside = BesideSentencePiece { config: config.as_deref(), added_tokens: added.as_deref() };
            let (json, config) = from_sentence_piece(&model, beside, &files.label())?;
            (json, Some(config))
        }
    };
    let at = format!("{}/tokenizer.json", files.label());
    let tokenizer = Tokenizer::from_json(&json, config_json.as_deref(), &at)?.with_ends(&files.ends().await?);
    let tokenizer = tokenizer.with_decoder_start(config.seq2seq.as_ref().map(|of| of.start));
    tokenizer.for_model(config.vocab_size).map_err(|problem| problem.at(at))
}

/// Whether a tensor is `[in, out]` in its file. A GGUF file has all matrices as they are here.
fn is_turned(files: &ModelFolder, entry: &Entry) -> bool {
    entry.transposed && !files.is_gguf()
}

/// What a tensor is called in a folder's files.
fn name_in_files(files: &ModelFolder, config: &ModelConfig, entry: &Entry) -> Result<String, Problem> {
    let name = &entry.name;
    let shape = if files.is_gguf() { entry.shape.clone() } else { entry.file_shape() };
    let names = config.names_in_files(name);
    let found = names.into_iter().find_map(|name| Some((files.shape(&name)?, name)));
    match found {
        Some((there, name)) if there == shape => Ok(name),
        Some((there, name)) => {
            let what = format!("{name} is {there:?} where config.json says {shape:?}");
            Err(Problem::input(what).at(files.label()).next("use a config.json that belongs to these weights"))
        }
        None => {
            let what = format!("the model has no tensor {name}");
            Err(Problem::input(what).at(files.label()).next("use a complete model folder"))
        }
    }
}

/// Whether files have no tensor of any name that this one may have.
fn is_absent(files: &ModelFolder, config: &ModelConfig, entry: &Entry) -> bool {
    config.names_in_files(&entry.name).iter().all(|name| files.shape(name).is_none())
}

/// The tensors that a folder should have by its `config.json` and has not, or of another shape.
pub fn missing_tensors(files: &ModelFolder, config: &ModelConfig) -> Vec<String> {
    let missing = |entry: &Entry| {
        let optional = entry.is_optional() && is_absent(files, config, entry);
        !optional && name_in_files(files, config, entry).is_err()
    };
    config.layout().into_iter().filter(missing).map(|entry| entry.name).collect()
}

/// The numbers of a matrix that its file has as `[in, out]`, as `[out, in]`.
async fn transposed(files: &ModelFolder, name: &str, shape: &[usize]) -> Result<Vec<f32>, Problem> {
    let &[outputs, inputs] = shape else { return files.numbers(name, 0..shape.iter().product()).await };
    let mut numbers = vec![0.0; outputs * inputs];
    let most = chunk_length(outputs) / outputs.max(1);
    for first in (0..inputs).step_by(most.max(1)) {
        let end = inputs.min(first + most.max(1));
        let rows = files.numbers(name, first * outputs..end * outputs).await?;
        for (i, row) in rows.chunks(outputs.max(1)).enumerate() {
            row.iter().enumerate().for_each(|(o, number)| numbers[o * inputs + first + i] = *number);
        }
    }
    Ok(numbers)
}

/// A piece of a tensor on its way: as numbers, or as the blocks of a GGUF file.
enum Loader {
    Numbers(TensorLoader),
    Blocks(BlockLoader),
}

impl Loader {
    /// As `dtype` says; what a file has in few bits that kernels do not read comes as floats.
    fn new(files: &ModelFolder, name: &str, entry: &Entry, shape: &[usize], dtype: BaseDtype, device: &Device) -> Self {
        let written = files.block_type(name).filter(|_| dtype == BaseDtype::File);
        match (kept_as(written), shape) {
            (Some(WeightFormat::Rounded(_)), [_, _]) => {
                Self::Numbers(TensorLoader::new(entry.role, shape, BaseDtype::F16, device))
            }
            (Some(WeightFormat::Blocks(format)), &[rows, columns]) => {
                Self::Blocks(BlockLoader::new([rows, columns], format, device))
            }
            _ => Self::Numbers(TensorLoader::new(entry.role, shape, dtype.resolved(false), device)),
        }
    }
}

/// The model of a folder, read some rows at a time: no more of it is on the host, unless that is the device; of matrices
/// that files have transposed one.
///
/// # Errors
/// A tensor is missing, damaged, or of another shape than `config.json` says.
pub async fn read_model(
    files: &ModelFolder,
    storage: WeightStorage,
    device: &Device,
    emit: &mut dyn FnMut(Event),
) -> Result<Model, Problem> {
    let config = model_config(files)?;
    let storage = WeightStorage { dtype: storage.dtype.resolved(files.is_gguf()), ..storage };
    let mut layout = config.layout();
    // Vectors first: a device may put them where a larger tensor was on its way, and nothing large fits there again.
    layout.sort_by_key(|entry| entry.shape.len());
    let total = layout.len() as u64;
    let mut weights = Weights::of(&config);
    let mut on_the_way = 0;
    for (done, entry) in layout.into_iter().enumerate() {
        let name = match name_in_files(files, &config, &entry) {
            // Not if there is another of that name, for other labels.
            Err(_) if entry.is_optional() && is_absent(files, &config, &entry) => continue,
            found => found?,
        };
        let is_turned = is_turned(files, &entry);
        let mut turned = match is_turned {
            true => transposed(files, &name, &entry.shape).await?,
            false => Vec::new(),
        };
        let mut loaded = Vec::new();
        for (range, shape) in pieces(&entry, storage) {
            let columns = if let [_, columns] = shape[..] { columns } else { 1 };
            let most = chunk_length(columns);
            let mut loader = Loader::new(files, &name, &entry, &shape, storage.dtype, device);
            for from in range.clone().step_by(most) {
                let to = range.end.min(from + most);
                match &mut loader {
                    Loader::Numbers(loader) => loader.add(match is_turned {
                        true => turned.drain(..to - from).collect(),
                        false => files.numbers(&name, from..to).await?,
                    }),
                    Loader::Blocks(loader) => {
                        let blocks = files.blocks(&name, from / columns..to.div_ceil(columns)).await?;
                        if !loader.add(&blocks) {
                            return Err(Problem::input(format!("{name} has a scale that is no number"))
                                .at(files.label())
                                .next("download or convert the file again"));
                        }
                    }
                }
                on_the_way += to - from;
                if on_the_way >= chunk_length(1) {
                    synchronize(device).await?;
                    on_the_way = 0;
                }
            }
            loaded.push(match loader {
                Loader::Numbers(loader) => loader.finish(),
                Loader::Blocks(loader) => LoadedTensor::Quantized(loader.finish()),
            });
        }
        weights.insert(entry.name, loaded);
        emit(Event::Progress { what: format!("reading {}", files.label()), done: done as u64 + 1, total });
    }
    // What tensors have left on their way.
    device.memory_cleanup();
    Model::from_weights(config, weights, device)
}
