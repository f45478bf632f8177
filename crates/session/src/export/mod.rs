//! A tuned model as the files that others read: a folder in Hugging Face form, a GGUF model, a GGUF adapter; each goes into a
//! [`Sink`](stratune_store::Sink) a part of a tensor at a time.

mod archive;
mod card;
mod folder;
mod gguf;
mod gguf_adapter;
mod modelfile;
mod run_facts;

pub(crate) use archive::{export_of, write_archive, zip_name};
pub use card::{Export, card};
pub use folder::write_model_folder;
pub use gguf::write_gguf;
pub use gguf_adapter::write_gguf_adapter;
pub use modelfile::{Serves, modelfile};
pub use run_facts::RunFacts;

use stratune_data::{Template, Tokenizer};
use stratune_protocol::Problem;
use stratune_store::{ModelFolder, Sink, write_whole};

/// The name of a GGUF model's file.
pub const GGUF_MODEL: &str = "model.gguf";
/// The name of a GGUF adapter's file.
pub const GGUF_ADAPTER: &str = "adapter.gguf";

/// What a model is called by its source: without what a path or an address has around it.
fn short_name(source: &str) -> &str {
    let name = source.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or(source);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    name.strip_suffix(".gguf").unwrap_or(name)
}

/// What goes beside a model or an adapter.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// In which form that is.
    pub export: Export,
    /// What Ollama serves.
    pub serves: Serves<'a>,
    /// The base's name, as the run has it.
    pub model: &'a str,
    /// What was trained of it, if anything.
    pub methods: Option<&'a str>,
    /// The run.
    pub facts: &'a RunFacts,
    /// How it is used.
    pub commands: &'a [String],
}

/// Writes the model card, the Modelfile, and the licence where the base came with one.
///
/// # Errors
/// One cannot be read or written.
pub async fn write_beside(
    beside: Beside<'_>,
    source: &ModelFolder,
    (tokenizer, template): (&Tokenizer, &Template),
    sink: &mut dyn Sink,
) -> Result<(), Problem> {
    let Beside { export, serves, model, methods, facts, commands } = beside;
    let text = card(export, model, methods, facts, licence(source).as_deref(), commands);
    write_whole(sink, "README.md", text.as_bytes()).await?;
    if !matches!(export, Export::Classifier | Export::ImageClassifier) {
        write_whole(sink, "Modelfile", modelfile(serves, tokenizer, template).as_bytes()).await?;
    }
    // The folder's own go along with its other files.
    if !matches!(export, Export::Folder | Export::Classifier | Export::ImageClassifier) {
        write_licences(source, sink).await?;
    }
    Ok(())
}

/// The licence that a GGUF model's file names.
pub fn licence(source: &ModelFolder) -> Option<String> {
    let value = source.gguf()?.value("general.license")?;
    value.value.as_str().map(str::to_owned)
}

/// Writes the files that say what may be done with a model, where it came with such.
///
/// # Errors
/// One cannot be read or written.
pub async fn write_licences(source: &ModelFolder, sink: &mut dyn Sink) -> Result<(), Problem> {
    let speaks = |name: &str| ["LICENSE", "NOTICE", "USE_POLICY"].iter().any(|begins| name.starts_with(begins));
    for (name, bytes) in source.beside().await?.into_iter().filter(|(name, _)| speaks(name)) {
        write_whole(sink, &name, &bytes).await?;
    }
    Ok(())
}

/// That tensors of a model have other names than its source's.
fn absent(name: &str) -> Problem {
    Problem::input(format!("the model has no tensor {name}")).next("please report this")
}
