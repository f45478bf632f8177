//! `stratune merge`

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stratune_models::ModelConfig;
use stratune_protocol::{BaseDtype, DeviceChoice, Problem};
use stratune_session::{merged_tensors, open_model};
use stratune_store::{ModelFolder, Stored, changed_config, model_files, write_files};

use crate::arguments::choose;
use crate::{hub, open};

/// Write a model with an adapter merged into its weights.
#[derive(Args)]
pub struct Merge {
    /// The model: `starter`, a folder in Hugging Face form, a GGUF file, or the id of a model on the Hugging Face hub, owner/name[@revision][:file.gguf]
    #[arg(long)]
    model: String,
    /// An adapter folder; several are weighted and added up
    #[arg(long, required = true, num_args = 1..)]
    adapter: Vec<PathBuf>,
    /// How much of each adapter's change is added [default: 1]
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    weights: Vec<f32>,
    /// What the model's matrices are kept as before the adapter goes in: as it was trained on them, file, f32, f16, int8 or int4
    #[arg(long, default_value = "file", value_parser = choose::<BaseDtype>)]
    base_dtype: BaseDtype,
    /// Folder for the merged model
    #[arg(long)]
    out: PathBuf,
    /// How numbers are written
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Replace a model in --out
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
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

impl Merge {
    /// Merges on the CPU and writes the folder.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let model = hub::fetched(&self.model, json).await?;
        let opened = open::device(DeviceChoice::Cpu, false).await?;
        let mut base = open::base(&model, self.base_dtype, &opened, false).await?;
        open::adapters(&mut base, &self.adapter, &self.weights).await?;
        let stored = match self.dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::Bf16 => Stored::BF16,
        };
        let source = open_model(open::folder(&model)?).await?;
        let before = base.model.config.to_json();
        let others = names_of_others(&source, &base.model.config);
        let (after, mut tensors) = merged_tensors(base.model).await?;
        for name in others {
            let tensor = source.tensor(&name).await?;
            tensors.insert(name, tensor);
        }
        let config = changed_config(source.config(), &before, &after.to_json());
        let files = model_files(&config, &tensors, stored, source.beside().await?)?;
        write_files(&self.out, &files, self.overwrite)?;
        eprintln!("model    {}", self.out.display());
        Ok(())
    }
}
