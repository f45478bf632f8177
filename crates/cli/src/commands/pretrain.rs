//! `stratune pretrain`

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use serde_json::{Value, json};
use stratune_data::{Dataset, SourceFile, Template, Tokenizer, load};
use stratune_models::{Model, ModelConfig};
use stratune_protocol::{BaseDtype, DataConfig, DataFormat, DeviceChoice, EndReason, Problem, ProblemKind};
use stratune_session::{
    Recorder, Samples, Saving, bits_per_byte, data_fingerprint, learn_tokenizer, merged_tensors, open_model,
    read_tokenizer, test_compute,
};
use stratune_store::{Checkpoint, CheckpointStore, DiskCheckpoints, Stored, model_files, write_files};
use stratune_train::{Event, Identity, RunConfig, Trainer};

use crate::report::{self, Bar};

use crate::{hub, interrupt, open};

/// Text that the tokenizer is learned from: more changes nothing that matters and takes long.
const TOKENIZER_BYTES: usize = 16 << 20;

/// Make a small model from text alone.
#[derive(Args)]
pub struct Pretrain {
    /// Folder with config.json, the geometry, and run.toml, the recipe; its tokenizer.json is used if it has one, else
    /// one is learned
    #[arg(long)]
    config: PathBuf,
    /// Begin with this model's weights and tokenizer: starter, a folder or an id on the hub, of the same geometry
    #[arg(long, value_name = "MODEL")]
    from: Option<String>,
    /// Text files
    #[arg(long, num_args = 1.., required = true, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Folder for the model and the checkpoint
    #[arg(long)]
    out: PathBuf,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Optimiser steps, instead of run.toml's
    #[arg(long)]
    steps: Option<usize>,
    /// Go on from the checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// Replace a model in --out, which stays until this one is made
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
}

impl Pretrain {
    /// Runs, and gives the exit code.
    pub async fn run(self, json: bool) -> Result<u8, Problem> {
        let checkpoints = Rc::new(DiskCheckpoints::new(&self.out));
        let checkpoint = if self.resume { checkpoints.load().await? } else { None };
        let used = ["checkpoint.safetensors", "model.safetensors"].iter().any(|f| self.out.join(f).exists());
        if used && !self.resume && !self.overwrite {
            return Err(Problem::input("the folder holds a model already")
                .at(self.out.display().to_string())
                .next("use --resume, --overwrite, or another --out"));
        }
        let geometry_path = self.config.join("config.json");
        let geometry: Value = serde_json::from_slice(&open::read(&geometry_path)?)
            .map_err(|e| Problem::input(format!("not JSON: {e}")).at(geometry_path.display().to_string()))?;
        let geometry = ModelConfig::from_json(&geometry, &geometry_path.display().to_string())?;
        let config = self.recipe()?;

        let opened = open::device(self.device, json).await?;
        test_compute(&opened, config.compute_dtype).await?;
        let from = match &self.from {
            Some(from) => {
                let from = hub::fetched(from, json).await?;
                Some(open::base(&from, BaseDtype::F32, &opened, json).await?)
            }
            None => None,
        };
        if let Some(from) = from.as_ref().filter(|from| *from.model.config != geometry) {
            return Err(Problem::input(format!("{} has another geometry than config.json", from.name))
                .at(geometry_path.display().to_string())
                .next("use the config.json of that model"));
        }

        let names = self.data.iter().map(|p| p.display().to_string()).collect();
        let mut data = DataConfig { files: names, ..config.data.clone() };
        hub::fetch_data(&mut data, json).await?;
        let files = open::data(&data)?;
        let (tokenizer, beside) = match &from {
            Some(from) => {
                let source = open_model(open::folder(&from.name)?).await?;
                (read_tokenizer(&source, &geometry).await?, source.beside().await?)
            }
            None => {
                let (json, settings) = self.tokenizer(checkpoint.as_ref(), &files, geometry.vocab_size)?;
                let at = self.out.join("tokenizer.json").display().to_string();
                let tokenizer = Tokenizer::from_json(&json, Some(&settings), &at)?;
                let tokenizer = tokenizer.for_model(geometry.vocab_size).map_err(|problem| problem.at(at))?;
                (tokenizer, vec![("tokenizer.json".to_string(), json), ("tokenizer_config.json".into(), settings)])
            }
        };
        let seed = config.train.seed;
        let dataset = Rc::new(load(&files, &config.data, &tokenizer, geometry.context(), seed)?);
        drop(files);

        let control = interrupt::control()?;
        let mut model = match from {
            Some(from) => from.model,
            None => {
                Model::random_as(geometry.clone(), opened.info.weight_storage(BaseDtype::F32), seed, &opened.device)?
            }
        };
        model.train_all()?;
        let identity = Identity { model: geometry.to_json().to_string(), data: data_fingerprint(&dataset) };
        let mut trainer = Trainer::new(config, model, dataset.clone(), Vec::new(), identity)?;
        if let Some(checkpoint) = &checkpoint {
            trainer.resume(checkpoint)?;
        }
        let template = Template::of(&tokenizer)?;
        let mut bar = Bar::new();
        let mut recorder = Recorder {
            emit: &mut |event: &Event| if json { report::event(event) } else { bar.show(event) },
            checkpoints,
            samples: Samples::new(Vec::new(), &tokenizer, &template),
            log: None,
            beside: in_checkpoint(&beside),
            saving: Saving::Needed,
            once_saved: None,
        };
        let ended = trainer.run(&mut recorder, &control).await?;
        if ended.step == 0 {
            return Ok(interrupt::EXIT_CODE);
        }

        let (_, tensors) = merged_tensors(trainer.model).await?;
        let mut config = geometry.to_json();
        // Without them readers take those of the family's first model.
        (config["bos_token_id"], config["eos_token_id"]) = (json!(tokenizer.bos()), json!(tokenizer.eos()));
        let files = model_files(&config, &tensors, Stored::F16, beside)?;
        write_files(&self.out, &files, true)?;
        self.record(&dataset, &tokenizer, ended.best, json)?;
        Ok(if ended.reason == EndReason::Stopped { interrupt::EXIT_CODE } else { 0 })
    }

    /// run.toml, its data read as text.
    fn recipe(&self) -> Result<RunConfig, Problem> {
        let path = self.config.join("run.toml");
        let text = String::from_utf8(open::read(&path)?)
            .map_err(|_| Problem::input("the recipe is not UTF-8").at(path.display().to_string()))?;
        let mut config = RunConfig::from_toml(&text).map_err(|p| {
            let at = format!("{} {}", path.display(), p.at);
            p.at(at.trim())
        })?;
        config.data.format = DataFormat::Text;
        if let Some(steps) = self.steps {
            config.train.steps = steps;
        }
        config.validate()?;
        if !config.base_dtype.can_train() {
            return Err(Problem::input("every weight trains, and has to be a float")
                .at("base_dtype")
                .next("leave it out of the recipe"));
        }
        Ok(config)
    }

    /// The tokenizer of the recipe, of the run that is resumed, or a new one.
    fn tokenizer(
        &self,
        checkpoint: Option<&Checkpoint>,
        files: &[SourceFile],
        vocabulary: usize,
    ) -> Result<(Vec<u8>, Vec<u8>), Problem> {
        let of = |dir: &Path| -> Option<(Vec<u8>, Vec<u8>)> {
            Some((
                std::fs::read(dir.join("tokenizer.json")).ok()?,
                std::fs::read(dir.join("tokenizer_config.json")).ok()?,
            ))
        };
        // Earlier versions kept it in the folder and not in the checkpoint.
        let resumed = || checkpoint.and_then(|checkpoint| out_of_checkpoint(checkpoint).or_else(|| of(&self.out)));
        if let Some(there) = of(&self.config).or_else(resumed) {
            return Ok(there);
        }
        eprintln!("learning a tokenizer of {vocabulary} tokens");
        // As much of every file, so that no author decides alone.
        let share = TOKENIZER_BYTES / files.len().max(1);
        let texts: Vec<_> =
            files.iter().map(|f| String::from_utf8_lossy(&f.bytes[..f.bytes.len().min(share)])).collect();
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        learn_tokenizer(&texts, vocabulary)
    }

    /// What came out, beside the model.
    fn record(
        &self,
        dataset: &Dataset,
        tokenizer: &Tokenizer,
        best: Option<(usize, f64)>,
        json: bool,
    ) -> Result<(), Problem> {
        let Some((step, loss)) = best else { return Ok(()) };
        let measured = bits_per_byte(dataset, tokenizer, loss)?;
        let record = json!({
            "step": step,
            "validation_loss": loss,
            "bits_per_byte": measured.bits_per_byte,
            "validation_bytes": measured.bytes,
            "training_tokens_in_an_epoch": dataset.report.tokens,
        });
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|e| Problem::new(ProblemKind::Internal, format!("the record cannot be written: {e}")))?;
        write_files(&self.out, &[("pretrain.json".into(), text)], true)?;
        if json {
            println!("{record}");
        } else {
            println!(
                "step {step}: validation loss {loss:.4}, {:.4} bits a byte on {} held-out bytes",
                measured.bits_per_byte, measured.bytes
            );
        }
        Ok(())
    }
}

/// The files of a tokenizer.
const TOKENIZER: [&str; 2] = ["tokenizer.json", "tokenizer_config.json"];

/// What a checkpoint says of the tokenizer: until the model is made, the files in the folder are those of a model that it may
/// replace.
fn in_checkpoint(beside: &[(String, Vec<u8>)]) -> Value {
    let text = |name: &str| beside.iter().find(|file| file.0 == name).map(|file| String::from_utf8_lossy(&file.1));
    json!({ (TOKENIZER[0]): text(TOKENIZER[0]), (TOKENIZER[1]): text(TOKENIZER[1]) })
}

/// The tokenizer that a checkpoint was made with.
fn out_of_checkpoint(checkpoint: &Checkpoint) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = |name: &str| checkpoint.meta[name].as_str().map(|text| text.as_bytes().to_vec());
    Some((text(TOKENIZER[0])?, text(TOKENIZER[1])?))
}
