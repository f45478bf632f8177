//! `stratune serve`

use std::path::{Path, PathBuf};

use clap::Args;
use stratune_protocol::{BaseDtype, DeviceChoice, Problem};
use stratune_session::ServedModels;

use crate::arguments::choose;
use crate::serve::{Cors, listen};
use crate::{hub, open};

/// Answer OpenAI's clients on this machine.
#[derive(Args)]
pub struct Serve {
    /// The model: `starter`, a folder in Hugging Face form, a GGUF file, or the id of a model on the Hugging Face hub, owner/name[@revision][:file.gguf]
    #[arg(long, default_value = "starter")]
    model: String,
    /// An adapter, NAME=FOLDER or FOLDER, or a GGUF file in its place; each is a model of that name beside the base
    #[arg(long, num_args = 1..)]
    adapter: Vec<String>,
    /// The port on 127.0.0.1; 0 takes any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Answers that are written at a time, in one batch; others wait
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    parallel: u64,
    /// The origin of a page that may ask from a browser, such as http://localhost:3000
    #[arg(long)]
    cors: Option<Cors>,
    /// What the model's matrices are kept as: file (a GGUF's blocks in their own bits), f32, f16, int8 or int4
    #[arg(long, default_value = "file", value_parser = choose::<BaseDtype>)]
    base_dtype: BaseDtype,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

impl Serve {
    /// Answers until the process is ended. Says its address on standard output once it does.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let (mut names, mut adapters) = (vec![called(&self.model)], Vec::new());
        for given in &self.adapter {
            let (name, folder) = named(given)?;
            if names.contains(&name) {
                return Err(Problem::input(format!("two models are called '{name}'"))
                    .at("--adapter")
                    .next("give each a name of its own: NAME=FOLDER"));
            }
            adapters.push((name.clone(), folder));
            names.push(name);
        }
        let opened = open::device(self.device, json).await?;
        let model = hub::fetched(&self.model, json).await?;
        let base = open::base(&model, self.base_dtype, &opened, json).await?;
        let mut read = Vec::new();
        for (name, path) in adapters {
            read.push((name, open::adapter(&path, &base.model.config).await?));
        }
        let served = ServedModels::new(base, &read).await?;
        let (engine, address) = listen(self.port, names.clone(), self.cors, self.parallel as usize)?;
        match json {
            true => println!("{}", serde_json::json!({"serving": format!("http://{address}/v1"), "models": names})),
            false => {
                eprintln!("models   {}", names.join(", "));
                println!("serving  http://{address}/v1");
            }
        }
        engine.run(&served).await;
        Ok(())
    }
}

/// What a model is called: the last part of a path, a name or an id as it is.
fn called(model: &str) -> String {
    let path = Path::new(model);
    let last = path.file_name().and_then(|name| name.to_str()).filter(|_| path.exists());
    last.unwrap_or(model).into()
}

/// The name and the folder of an adapter.
fn named(given: &str) -> Result<(String, PathBuf), Problem> {
    let (name, folder) = match given.split_once('=') {
        Some((name, folder)) => (name, folder),
        None => (Path::new(given).file_name().and_then(|name| name.to_str()).unwrap_or_default(), given),
    };
    match name.is_empty() || folder.is_empty() {
        true => Err(Problem::input(format!("'{given}' names no adapter")).at("--adapter").next("use NAME=FOLDER")),
        false => Ok((name.into(), folder.into())),
    }
}
