//! What was tuned as one zip, as a page takes it away.

use std::rc::Rc;

use stratune_models::MergingModel;
use stratune_protocol::{ExportForm, Problem};
use stratune_store::{Folder, Ftype, MemoryFolder, Sink, Stored, ZipSink};
use stratune_train::Event;

use super::{Beside, Export, GGUF_MODEL, Serves, write_beside, write_gguf, write_gguf_adapter, write_model_folder};
use crate::open_model::open_model;
use crate::tuned::Tuned;
use crate::{Base, adapter_of, read_adapter};

/// The name of a zip.
pub(crate) fn zip_name(form: ExportForm) -> &'static str {
    match form {
        ExportForm::Adapter => "adapter.zip",
        ExportForm::GgufAdapter => "adapter-gguf.zip",
        ExportForm::GgufF16 => "model-f16.zip",
        ExportForm::GgufQ8 => "model-q8_0.zip",
        ExportForm::GgufQ4 => "model-q4_k_m.zip",
        ExportForm::Folder => "model.zip",
    }
}

/// What other programs than PEFT read; none of PEFT's adapter.
pub(crate) fn export_of(form: ExportForm) -> Option<Export> {
    match form {
        ExportForm::Adapter => None,
        ExportForm::GgufAdapter => Some(Export::GgufAdapter),
        ExportForm::GgufF16 => Some(Export::Gguf(Ftype::F16)),
        ExportForm::GgufQ8 => Some(Export::Gguf(Ftype::Q8_0)),
        ExportForm::GgufQ4 => Some(Export::Gguf(Ftype::Q4_K_M)),
        ExportForm::Folder => Some(Export::Folder),
    }
}

/// Writes the files of an export: adapter or model, card, Modelfile, licence. `folder` is the base's. Gives what a GGUF file
/// cannot say.
///
/// # Errors
/// What was tuned has no such form, the base's files cannot be read, or the zip not be written.
pub(crate) async fn write_archive(
    export: Export,
    base: &Base,
    folder: Rc<dyn Folder>,
    tuned: &Tuned,
    zip: &mut ZipSink,
    emit: &mut dyn FnMut(Event),
) -> Result<Vec<String>, Problem> {
    let source = open_model(folder).await?;
    let config = &base.model.config;
    let export = if export == Export::Folder { Export::folder_of(&tuned.model.config) } else { export };
    let merging = || MergingModel::new(tuned.model.clone());
    let notices = match export {
        Export::GgufAdapter => {
            let files =
                adapter_of(&tuned.model, &tuned.finalized).await?.into_iter().map(|(name, bytes)| (name, bytes.into()));
            let adapter = read_adapter(&MemoryFolder::new("adapter", files.collect())).await?;
            write_gguf_adapter(&source, config, &adapter, &base.name, zip).await?;
            Vec::new()
        }
        Export::Gguf(ftype) => write_gguf(&source, &merging()?, ftype, &base.name, zip, emit).await?,
        Export::Folder | Export::Classifier | Export::ImageClassifier => {
            write_model_folder(&source, config, &merging()?, Stored::F32, zip, emit).await?;
            Vec::new()
        }
    };
    // A file of the base is where the person has it; of a folder, there has to be one first.
    let base_file = if source.is_gguf() { base.name.as_str() } else { GGUF_MODEL };
    let serves = match export {
        Export::Folder | Export::Classifier | Export::ImageClassifier => Serves::Folder,
        Export::Gguf(_) => Serves::Model,
        Export::GgufAdapter => Serves::Adapter { base: base_file },
    };
    let mut commands = export.commands("tuned", base_file);
    if export == Export::GgufAdapter && !source.is_gguf() {
        commands.insert(0, "stratune merge --model BASE --format gguf --out .".into());
    }
    let beside = Beside {
        export,
        serves,
        model: &base.name,
        methods: Some(&tuned.finalized.method.title()),
        facts: &tuned.facts,
        commands: &commands,
    };
    write_beside(beside, &source, (&base.tokenizer, &base.template), zip as &mut dyn Sink).await?;
    Ok(notices)
}
