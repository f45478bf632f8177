//! What a run would need: the part of `stratune inspect` that looks ahead.

use std::rc::Rc;

use serde_json::{Value, json};
use stratune_protocol::{Bytes, Pace, Problem};
use stratune_session::{
    Base, Conditions, MemoryReport, model_config, open_device, pace, read_dataset_for, read_image_processor,
    read_tokenizer, report_of,
};
use stratune_store::ModelFolder;
use stratune_train::RunConfig;

use crate::open;
use crate::report::duration;

/// What a run would need.
pub struct Forecast {
    config: RunConfig,
    device: String,
    width: usize,
    memory_report: MemoryReport,
    pace: Option<Pace>,
}

impl Forecast {
    /// Of a run of `config`; without data its rows are as long as they may be. With `trial` a few steps are timed.
    ///
    /// # Errors
    /// The configuration does not fit the model, the device is not there, or there is nothing to try steps on.
    pub async fn of(config: RunConfig, files: &ModelFolder, trial: bool) -> Result<Self, Problem> {
        let geometry = model_config(files)?;
        let model = report_of(files, &config.model)?;
        let opened = open_device(config.device).await?;
        let dataset = match config.data.files.is_empty() {
            true => None,
            false => {
                let tokenizer = read_tokenizer(files, &geometry).await?;
                let sources = open::data(&config.data)?;
                let images = read_image_processor(files, &geometry).await?;
                let reads = (&tokenizer, images.as_ref());
                Some(Rc::new(read_dataset_for(&sources, &config, (&geometry, &[]), reads, model.context)?))
            }
        };
        let width = dataset.as_ref().map(|data| data.report.width);
        let conditions = Conditions { model: &model, device: &opened.info, width };
        let memory_report = conditions.memory_report(&config);
        let pace = match (trial, dataset) {
            (false, _) => None,
            (true, None) => {
                return Err(Problem::input("there is nothing to try steps on")
                    .at("--trial")
                    .next("name the data: --data FILE, or --data example"));
            }
            (true, Some(dataset)) => {
                let folder = open::folder(&config.model)?;
                let storage = opened.info.weight_storage(config.base_dtype);
                let base = Base::load(folder, &config.model, storage, &opened.device, &mut |_| {}).await?;
                let timed = pace(config.clone(), &base, dataset).await;
                Some(timed.map_err(|problem| conditions.explain(&config, problem))?)
            }
        };
        let width = width.unwrap_or(config.data.max_length.min(model.context));
        let device = format!("{} · {}", opened.info.device, opened.info.name);
        Ok(Self { config, device, width, memory_report, pace })
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        let memory_report = &self.memory_report;
        json!({
            "method": self.config.method.title(),
            "device": self.device,
            "rows": self.config.train.batch_size,
            "positions": self.width,
            "parts": memory_report.forecast,
            "bytes": memory_report.forecast.bytes(),
            "limits": memory_report.limits,
            "verdict": memory_report.verdict,
            "remedies": memory_report.remedies,
            "pace": self.pace,
            "seconds": self.pace.map(|pace| pace.seconds()),
        })
    }

    /// A table of the parts, the verdict with what would help, and the time.
    pub fn print(&self) {
        let (rows, width) = (self.config.train.batch_size, self.width);
        let title = self.config.method.title();
        println!("\nA run of {title} on {}, batches of {rows} rows of at most {width} positions:", self.device);
        for (name, bytes) in self.memory_report.forecast.parts() {
            println!("  {name:24}{:>10}", Bytes(bytes).to_string());
        }
        println!("{}", self.memory_report.sentence());
        for remedy in &self.memory_report.remedies {
            println!("  with {}: {}", remedy.settings, Bytes(remedy.bytes));
        }
        if let Some(pace) = self.pace {
            println!(
                "About {}: {} steps of {:.2} s, {} validations of {:.1} s, prompts continued {} times in {:.1} s",
                duration(pace.seconds()),
                pace.steps,
                pace.step,
                pace.validations,
                pace.validation,
                pace.samples,
                pace.sample,
            );
        }
    }
}
