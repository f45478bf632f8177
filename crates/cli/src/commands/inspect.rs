//! `stratune inspect`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stratune_data::read_rows;
use stratune_models::LlamaConfig;
use stratune_protocol::{Problem, RunConfig};
use stratune_session::saved_run;
use stratune_store::{Checkpoint, DiskFolder, ModelFolder, read_adapter};

use crate::open;

/// Say what a model, adapter, checkpoint or dataset is.
#[derive(Args)]
pub struct Inspect {
    /// A model or adapter folder, a checkpoint, a data file, `starter` or `example`
    path: String,
}

impl Inspect {
    /// Prints what it is.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let path = Path::new(&self.path);
        let has = |name: &str| path.join(name).exists();
        let found = if self.path == "starter" || has("config.json") {
            self.model().await?
        } else if has("adapter_config.json") {
            adapter(&DiskFolder::new(path)?).await?
        } else if has("checkpoint.safetensors") {
            checkpoint(&path.join("checkpoint.safetensors"))?
        } else if path.is_dir() {
            return Err(Problem::input("the folder holds no config.json, adapter_config.json or checkpoint")
                .at(&self.path)
                .next("name a model folder, an adapter folder or a run's folder"));
        } else if path.extension().is_some_and(|e| e == "safetensors") {
            checkpoint(path)?
        } else {
            self.data()?
        };
        if json {
            println!("{found}");
        } else if let Value::Object(fields) = &found {
            for (name, value) in fields {
                match value {
                    Value::String(text) => println!("{name:22}{text}"),
                    other => println!("{name:22}{other}"),
                }
            }
        }
        Ok(())
    }

    async fn model(&self) -> Result<Value, Problem> {
        let folder = open::folder(&self.path)?;
        let bytes: u64 = folder.names().iter().filter_map(|n| folder.size(n)).sum();
        let files = ModelFolder::open(folder).await?;
        let config = LlamaConfig::from_json(files.config(), "config.json")?;
        let report = config.report(&self.path, config.parameters());
        let missing: Vec<String> =
            config.layout().into_iter().filter(|(n, s)| files.shape(n) != Some(&s[..])).map(|(n, _)| n).collect();
        Ok(json!({
            "kind": "model",
            "family": report.family,
            "parameters": report.parameters,
            "layers": report.layers,
            "hidden_size": report.hidden_size,
            "heads": format!("{} query, {} key", config.num_attention_heads, config.num_key_value_heads),
            "vocabulary": report.vocabulary,
            "context": report.context,
            "bytes_on_disk": bytes,
            "bytes_in_f32": 4 * report.parameters,
            "lora_r8_parameters": RunConfig::default().method.trainable(&report),
            "tensors_missing": missing,
            "fingerprint": files.fingerprint().await?,
        }))
    }

    fn data(&self) -> Result<Value, Problem> {
        let mut config = RunConfig::default().data;
        config.files = vec![self.path.clone()];
        let source = read_rows(&open::files(&config.files)?, &config)?;
        let skipped: Vec<String> = source.skipped.iter().map(|s| format!("{}: {}", s.at, s.why)).collect();
        Ok(json!({
            "kind": "dataset",
            "format": source.format,
            "rows": source.rows.len(),
            "columns": source.columns,
            "skipped": skipped,
        }))
    }
}

async fn adapter(folder: &DiskFolder) -> Result<Value, Problem> {
    let adapter = read_adapter(folder).await?;
    let parameters: usize = adapter.tensors.values().map(|tensor| tensor.data.len()).sum();
    let largest = adapter.tensors.values().flat_map(|tensor| &tensor.data).fold(0.0_f32, |m, v| m.max(v.abs()));
    Ok(json!({
        "kind": "adapter",
        "method": adapter.methods.title(),
        "base_model": adapter.base_model,
        "parameters": parameters,
        "largest_magnitude": largest,
        "methods": adapter.methods,
        "tensors": adapter.tensors.keys().collect::<Vec<_>>(),
    }))
}

fn checkpoint(path: &Path) -> Result<Value, Problem> {
    let at = PathBuf::from(path).display().to_string();
    let checkpoint = Checkpoint::from_bytes(&open::read(path)?, &at)?;
    let run = saved_run(&checkpoint)?;
    Ok(json!({
        "kind": "checkpoint",
        "step": run.step,
        "steps": run.steps,
        "model": run.model,
        "tensors": checkpoint.tensors.len(),
        "config": run.config.to_toml()?,
    }))
}
