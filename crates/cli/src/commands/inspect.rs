//! `stratune inspect`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stratune_data::read_rows;
use stratune_models::ModelConfig;
use stratune_peft::Structure;
use stratune_protocol::Problem;
use stratune_session::{STARTER, missing_tensors, open_model, read_adapter, saved_run};
use stratune_store::{Checkpoint, DiskFolder, Folder, ModelFolder};
use stratune_train::RunConfig;

use crate::arguments::RunFlags;
use crate::forecast::Forecast;
use crate::{hub, open};

/// Say what a model, adapter, structure, checkpoint or dataset is, and what a run on the model would need.
#[derive(Args)]
pub struct Inspect {
    /// A model or adapter folder, a structure, a checkpoint, a data file, `starter`, `example` or an id on the hub; without it the model of
    /// --config
    #[arg(conflicts_with = "model")]
    path: Option<String>,
    /// Of a model: also time a few steps on --data and throw them away, to say how long the run would take
    #[arg(long)]
    trial: bool,
    #[command(flatten)]
    run: RunFlags,
}

/// Whether it is a GGUF file, or a folder with one.
fn is_gguf(path: &Path) -> bool {
    let named = |name: &str| name.ends_with(".gguf");
    match path.is_dir() {
        true => DiskFolder::new(path).is_ok_and(|folder| folder.names().iter().any(|name| named(name))),
        false => path.to_str().is_some_and(named),
    }
}

impl Inspect {
    /// Prints what it is.
    pub async fn run(mut self, json: bool) -> Result<(), Problem> {
        let Some(name) = self.path.take() else {
            if self.run.config.is_none() && self.run.model.is_none() {
                return Err(Problem::input("nothing is named").next("name a path, `starter`, `example` or a --config"));
            }
            return self.model(json).await;
        };
        let path = Path::new(&name);
        let has = |name: &str| path.join(name).exists();
        if name == STARTER || has("config.json") || is_gguf(path) || hub::is_id(&name) {
            self.run.model = Some(name);
            return self.model(json).await;
        }
        if self.trial {
            return Err(Problem::input("only a model can be tried")
                .at(&name)
                .next("name a model, and the data by --data"));
        }
        let found = if has("adapter_config.json") {
            adapter(&DiskFolder::new(path)?).await?
        } else if has("checkpoint.safetensors") {
            checkpoint(&path.join("checkpoint.safetensors"))?
        } else if path.is_dir() {
            return Err(Problem::input("the folder holds no config.json, adapter_config.json or checkpoint")
                .at(&name)
                .next("name a model folder, an adapter folder or a run's folder"));
        } else if path.extension().is_some_and(|e| e == "safetensors") {
            checkpoint(path)?
        } else if let Some(text) = structure_text(path) {
            return structure(&text, &name, json);
        } else {
            self.data(name, json).await?
        };
        print(&found, json);
        Ok(())
    }

    /// The model, and a run on it.
    async fn model(self, json: bool) -> Result<(), Problem> {
        let config = self.run.to_config(json).await?;
        let folder = open::folder(&config.model)?;
        let files = open_model(folder.clone()).await?;
        let mut found = model(&config.model, folder.as_ref(), &files).await?;
        let forecast = Forecast::of(config, &files, self.trial).await?;
        if json {
            found["forecast"] = forecast.to_json();
        }
        print(&found, json);
        if !json {
            forecast.print();
        }
        Ok(())
    }

    async fn data(&self, name: String, json: bool) -> Result<Value, Problem> {
        let mut config = RunConfig::default();
        self.run.data.clone().apply(&mut config);
        let mut config = config.data;
        config.files = vec![name];
        hub::fetch_data(&mut config, json).await?;
        let source = read_rows(&open::files(&config.files)?, &config)?;
        let skipped: Vec<String> = source.skipped.iter().map(|s| format!("{}: {}", s.at, s.why)).collect();
        Ok(json!({
            "kind": "dataset",
            "format": source.format,
            "rows": source.rows.len(),
            "columns": source.columns,
            "skipped": skipped,
            "unread": source.unread,
        }))
    }
}

/// The text of a structure's file; none of anything else.
fn structure_text(path: &Path) -> Option<Vec<u8>> {
    let named = path.extension().is_some_and(|e| e == "json");
    named.then(|| std::fs::read(path).ok()).flatten().filter(|text| Structure::is_one(text))
}

/// Draws a structure.
fn structure(text: &[u8], at: &str, json: bool) -> Result<(), Problem> {
    let structure = Structure::from_json(text, at)?;
    let mut modules: BTreeMap<&str, usize> = BTreeMap::new();
    structure.sites.iter().for_each(|placed| *modules.entry(placed.method.name()).or_default() += 1);
    let mut found =
        json!({ "kind": "structure", "model": structure.model, "layers": structure.layers, "modules": modules });
    if json {
        found["sites"] = json!(structure.sites);
    }
    print(&found, json);
    if !json {
        print!("\n{}", structure.draw());
    }
    Ok(())
}

/// Prints what was found, a field on a line, or all of it as JSON.
fn print(found: &Value, json: bool) {
    if json {
        println!("{found}");
    } else if let Value::Object(fields) = found {
        for (name, value) in fields {
            match value {
                Value::String(text) => println!("{name:22}{text}"),
                other => println!("{name:22}{other}"),
            }
        }
    }
}

async fn model(name: &str, folder: &dyn Folder, files: &ModelFolder) -> Result<Value, Problem> {
    let bytes: u64 = folder.names().iter().filter_map(|n| folder.size(n)).sum();
    let config = ModelConfig::from_json(files.config(), "config.json")?;
    let report = config.report(name, config.parameters());
    let missing = missing_tensors(files, &config);
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
