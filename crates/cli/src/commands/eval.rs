//! `stratune eval`

use std::path::PathBuf;

use clap::Args;
use stratune_data::{Source, SourceFile, read_rows};
use stratune_protocol::{BaseDtype, DeviceChoice, LabelMetrics, Problem};
use stratune_session::{Base, EvalSet, evaluate_labels};
use stratune_train::RunConfig;

use super::task::TaskFlags;
use crate::arguments::choose;
use crate::data_flags::DataFlags;
use crate::{hub, open, report};

/// Measure the loss on rows, and how many answers are exactly right; or judge by a task of the literature.
#[derive(Args)]
pub struct Eval {
    /// The model: `starter`, a folder in Hugging Face form, a GGUF file, or the id of a model on the Hugging Face hub, owner/name[@revision][:file.gguf]
    #[arg(long, default_value = "starter")]
    model: String,
    /// An adapter: its folder, or a GGUF file of LoRA; several are weighted and added up
    #[arg(long, num_args = 1..)]
    adapter: Vec<PathBuf>,
    /// How much of each adapter's change is added [default: 1]
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    weights: Vec<f32>,
    /// What the model's matrices are kept as: file (a GGUF's blocks in their own bits), f32, f16, int8 or int4
    #[arg(long, default_value = "file", value_parser = choose::<BaseDtype>)]
    base_dtype: BaseDtype,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    #[command(flatten)]
    data: DataFlags,
    /// Print this many questions with their answers
    #[arg(long, default_value_t = 0)]
    show: usize,
    #[command(flatten)]
    task: TaskFlags,
}

impl Eval {
    /// Prints the marks.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let mut config = RunConfig::default();
        self.data.clone().apply(&mut config);
        let task = self.task.open(&config.data.files)?;
        if task.is_none() && config.data.files.is_empty() {
            return Err(Problem::input("no data is given").at("--data").next("name a file, or `example-held-out`"));
        }
        if !config.data.task.is_empty() {
            return Err(Problem::input("--data-task is of training: what is judged is a task's own split")
                .at("--data-task")
                .next("use --task"));
        }
        if task.is_none() {
            hub::fetch_data(&mut config.data, json).await?;
        }
        let opened = open::device(self.device, json).await?;
        let model = hub::fetched(&self.model, json).await?;
        let mut base = open::base(&model, self.base_dtype, &opened, json).await?;
        open::adapters(&mut base, &self.adapter, &self.weights).await?;
        if let Some(task) = task {
            return task.judge(&base, self.data.max_length, json).await;
        }
        let files = open::files(&config.data.files)?;
        if base.model.config.classifier.is_some() {
            return measure_labels(&base, &files, &config, json).await;
        }
        let source = read_rows(&files, &config.data)?;
        self.measure(&base, &source, config.data.max_length, json).await
    }

    /// Loss and exact answers on rows.
    async fn measure(&self, base: &Base, source: &Source, max_length: usize, json: bool) -> Result<(), Problem> {
        let eval_set = EvalSet::new(source, &base.tokenizer, &base.template, max_length.min(base.context()))?;
        let mut show = |done: usize, question: &str, given: &str, right: bool| {
            if done <= self.show {
                eprintln!("{} {question}\n    {given}", if right { "✓" } else { "✗" });
            }
        };
        let metrics = eval_set.evaluate(&base.model, &base.tokenizer, &base.template, &mut show).await?;
        if json {
            println!("{}", serde_json::to_string(&metrics).unwrap_or_default());
            return Ok(());
        }
        report::left_out(metrics.left_out.len(), &metrics.left_out);
        source.notices().iter().for_each(|notice| eprintln!("         {notice}"));
        println!("rows {}  loss {:.4}  perplexity {:.3}", metrics.rows, metrics.loss, metrics.perplexity);
        if let Some(share) = metrics.exact_match {
            println!("exact match {} of {} ({:.1} %)", metrics.exact, metrics.questions, 100.0 * share);
        }
        Ok(())
    }
}

/// How well a model with a classifier labels rows.
async fn measure_labels(base: &Base, files: &[SourceFile], config: &RunConfig, json: bool) -> Result<(), Problem> {
    let mut tell = |done: usize, of: usize| {
        if !json {
            report::progress("labelling", done, of);
        }
    };
    let measured = evaluate_labels(base, files, config, &mut tell).await?;
    if json {
        println!("{}", serde_json::to_string(&measured).unwrap_or_default());
        return Ok(());
    }
    if measured.left_out > 0 {
        eprintln!("         {} rows left out", measured.left_out);
    }
    println!("rows {}  loss {:.4}  {}", measured.rows, measured.loss, measured.metrics.sentence());
    if let LabelMetrics::Classes(of) = &measured.metrics {
        let width = of.labels.iter().map(String::len).max().unwrap_or(0).min(24);
        for (class, label) in of.labels.iter().enumerate().take(32) {
            let rows: u32 = of.rows[class].iter().sum();
            println!("  {label:width$}  F1 {:.3}  {rows} rows, {} right", of.f1(class), of.rows[class][class]);
        }
    }
    Ok(())
}
