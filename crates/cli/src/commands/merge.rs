//! `stratune merge`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use stratune_data::Template;
use stratune_models::MergingModel;
use stratune_protocol::{BaseDtype, DeviceChoice, Problem};
use stratune_session::{
    Beside, Export, GGUF_MODEL, RunFacts, Serves, model_config, open_model, read_tokenizer, write_beside, write_gguf,
    write_gguf_adapter, write_model_folder,
};
use stratune_store::{DiskFolder, DiskSink, Ftype, ModelFolder, Stored};
use stratune_train::Event;

use crate::arguments::choose;
use crate::report::Bar;
use crate::{hub, open};

/// Write a model with an adapter merged into its weights, or the adapter itself, for other programs to read.
#[derive(Args)]
pub struct Merge {
    /// The model: `starter`, a folder in Hugging Face form, a GGUF file, or the id of a model on the Hugging Face hub, owner/name[@revision][:file.gguf]
    #[arg(long)]
    model: String,
    /// An adapter: its folder, or a GGUF file of LoRA; several are weighted and added up; none: the model as it is
    #[arg(long, num_args = 1..)]
    adapter: Vec<PathBuf>,
    /// How much of each adapter's change is added [default: 1]
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    weights: Vec<f32>,
    /// What the model's matrices are kept as before the adapter goes in: as it was trained on them, file, f32, f16, int8 or int4
    #[arg(long, default_value = "file", value_parser = choose::<BaseDtype>)]
    base_dtype: BaseDtype,
    /// Folder for what is written
    #[arg(long)]
    out: PathBuf,
    /// A folder in Hugging Face form, a GGUF model, or a GGUF LoRA adapter of one that is LoRA in the end
    #[arg(long, value_enum, default_value = "safetensors")]
    format: Format,
    /// How numbers are written in a folder [default: f32]
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// How matrices are written in a GGUF model: f32, f16, q8_0, q4_0 or q4_k_m [default: f16]
    #[arg(long)]
    quant: Option<String>,
    /// Replace what is in --out
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Safetensors,
    Gguf,
    GgufAdapter,
}

impl Merge {
    /// Merges on the CPU and writes the files.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let export = self.export()?;
        let model = hub::fetched(&self.model, json).await?;
        let source = open_model(open::folder(&model)?).await?;
        let mut sink = DiskSink::new(&self.out, self.overwrite);
        let mut bar = Bar::new();
        let mut emit = |event: Event| {
            if !json {
                bar.show(&event)
            }
        };
        let (methods, export) = match export {
            Export::GgufAdapter => (Some(self.write_adapter(&source, &model, &mut sink).await?), export),
            _ => self.write_model(export, &source, &model, &mut sink, &mut emit).await?,
        };
        self.write_beside(export, &source, &model, methods.as_deref(), &mut sink).await?;
        sink.publish()
    }

    fn export(&self) -> Result<Export, Problem> {
        let misplaced = |flag: &str, format: &str| {
            Err(Problem::input(format!("{flag} is of --format {format} alone")).at(flag).next("leave it out"))
        };
        match self.format {
            Format::Safetensors if self.quant.is_some() => misplaced("--quant", "gguf"),
            Format::GgufAdapter if self.quant.is_some() => misplaced("--quant", "gguf"),
            Format::Gguf | Format::GgufAdapter if self.dtype.is_some() => misplaced("--dtype", "safetensors"),
            Format::Safetensors => Ok(Export::Folder),
            Format::Gguf => {
                let quant = self.quant.as_deref().map_or(Ok(Ftype::F16), Ftype::named);
                quant.map(Export::Gguf).map_err(|problem| problem.at("--quant"))
            }
            Format::GgufAdapter => Ok(Export::GgufAdapter),
        }
    }

    /// The model with its adapters. Gives what was trained of it, and what it is.
    async fn write_model(
        &self,
        export: Export,
        source: &ModelFolder,
        model: &str,
        sink: &mut DiskSink,
        emit: &mut dyn FnMut(Event),
    ) -> Result<(Option<String>, Export), Problem> {
        let opened = open::device(DeviceChoice::Cpu, false).await?;
        let mut base = open::base(model, self.base_dtype, &opened, false).await?;
        // An adapter may bring a classifier, with labels of its own.
        let before = base.model.config.clone();
        let methods = open::adapters(&mut base, &self.adapter, &self.weights).await?;
        let merging = MergingModel::new(base.model)?;
        match export {
            Export::Gguf(ftype) => {
                let notices = write_gguf(source, &merging, ftype, model, sink, emit).await?;
                notices.iter().for_each(|notice| eprintln!("         {notice}"));
            }
            Export::Folder | Export::Classifier | Export::ImageClassifier | Export::GgufAdapter => {
                let stored = match self.dtype {
                    None | Some(Dtype::F32) => Stored::F32,
                    Some(Dtype::F16) => Stored::F16,
                    Some(Dtype::Bf16) => Stored::BF16,
                };
                write_model_folder(source, &before, &merging, stored, sink, emit).await?;
            }
        }
        let export = if export == Export::Folder { Export::folder_of(merging.config()) } else { export };
        Ok((methods, export))
    }

    /// The adapter by itself.
    async fn write_adapter(&self, source: &ModelFolder, model: &str, sink: &mut DiskSink) -> Result<String, Problem> {
        let ([dir], []) = (&self.adapter[..], &self.weights[..]) else {
            return Err(Problem::input("a GGUF adapter is made of one adapter, without weights")
                .at("--adapter")
                .next("name one, or merge several into a model: --format gguf"));
        };
        let config = model_config(source)?;
        let adapter = open::adapter(dir, &config).await?;
        write_gguf_adapter(source, &config, &adapter, model, sink).await?;
        Ok(adapter.methods.title())
    }

    /// Model card, Modelfile and licence; and the commands, for whoever waits.
    async fn write_beside(
        &self,
        export: Export,
        source: &ModelFolder,
        model: &str,
        methods: Option<&str>,
        sink: &mut DiskSink,
    ) -> Result<(), Problem> {
        let config = model_config(source)?;
        let tokenizer = read_tokenizer(source, &config).await?;
        let template = Template::of(&tokenizer)?;
        let facts = match &self.adapter[..] {
            [dir] if open::gguf(dir).is_none() => RunFacts::read(&DiskFolder::new(dir)?).await?,
            _ => RunFacts::default(),
        };
        // What an adapter is put on has to be a GGUF file, too.
        let file = hub::path(model).ok().filter(|path| source.is_gguf() && path.is_file());
        let converted = Path::new("base").join(GGUF_MODEL);
        let base = file.as_deref().and_then(|path| std::path::absolute(path).ok()).unwrap_or(converted.clone());
        let base = base.display().to_string();
        let base_name = file.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let serves = match export {
            Export::Folder | Export::Classifier | Export::ImageClassifier => Serves::Folder,
            Export::Gguf(_) => Serves::Model,
            Export::GgufAdapter => Serves::Adapter { base: &base },
        };
        let name = self.name();
        let mut commands = export.commands(&name, &base);
        let mut told = export.commands(&name, &base_name.unwrap_or_else(|| converted.display().to_string()));
        if export == Export::GgufAdapter && file.is_none() {
            let convert = |model: &str| format!("stratune merge --model {model} --format gguf --out base");
            commands.insert(0, convert(model));
            told.insert(0, convert("BASE"));
        }
        let beside = Beside { export, serves, model, methods, facts: &facts, commands: &told };
        write_beside(beside, source, (&tokenizer, &template), sink).await?;
        let what = if export == Export::GgufAdapter { "adapter" } else { "model" };
        eprintln!("{what:<8} {}", self.out.display());
        eprintln!("to use it, in that folder:");
        commands.iter().for_each(|command| eprintln!("         {command}"));
        Ok(())
    }

    /// What Ollama is to call it.
    fn name(&self) -> String {
        let name = self.out.file_name().map_or("tuned".into(), |name| name.to_string_lossy().to_lowercase());
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect()
    }
}
