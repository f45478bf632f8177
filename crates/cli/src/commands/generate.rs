//! `stratune generate`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use stratune_protocol::{BaseDtype, DeviceChoice, GenerateRequest, ModelVariant, Problem};
use stratune_session::{answer, answer_each};
use stratune_train::Event;

use crate::arguments::choose;
use crate::pace::Pace;
use crate::sampling_flags::SamplingFlags;
use crate::{hub, open, report};

/// Continue a prompt.
#[derive(Args)]
pub struct Generate {
    /// The model: `starter`, a folder in Hugging Face form, a GGUF file, or the id of a model on the Hugging Face hub, owner/name[@revision][:file.gguf]
    #[arg(long, default_value = "starter")]
    model: String,
    /// An adapter: its folder, or a GGUF file of LoRA; several are weighted and added up
    #[arg(long, num_args = 1..)]
    adapter: Vec<PathBuf>,
    /// How much of each adapter's change is added [default: 1]
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    weights: Vec<f32>,
    /// Let the base and each adapter answer by itself, as rows of one batch
    #[arg(long, requires = "adapter", conflicts_with = "weights")]
    each: bool,
    /// What the model's matrices are kept as: file (a GGUF's blocks in their own bits), f32, f16, int8 or int4
    #[arg(long, default_value = "file", value_parser = choose::<BaseDtype>)]
    base_dtype: BaseDtype,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// The text to continue
    #[arg(long)]
    prompt: String,
    /// Put the prompt in the form that training rows have
    #[arg(long)]
    as_instruction: bool,
    #[command(flatten)]
    sampling: SamplingFlags,
}

impl Generate {
    /// Streams the answer to standard output.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let sampling = self.sampling.request()?;
        let opened = open::device(self.device, json).await?;
        let model = hub::fetched(&self.model, json).await?;
        let mut base = open::base(&model, self.base_dtype, &opened, json).await?;
        let variant = if self.adapter.is_empty() { ModelVariant::Base } else { ModelVariant::Tuned };
        let weights = if self.each { vec![1.0; self.adapter.len()] } else { self.weights };
        open::adapters(&mut base, &self.adapter, &weights).await?;
        let request = GenerateRequest { prompt: self.prompt, as_instruction: self.as_instruction, variant, ..sampling };
        if self.each {
            let rows: Vec<usize> = (0..=self.adapter.len()).collect();
            let model = base.model.for_rows(&rows);
            let said = answer_each(&model, rows.len(), &base.tokenizer, &base.template, &request).await?;
            let names = std::iter::once("base".to_string()).chain(self.adapter.iter().map(|a| a.display().to_string()));
            for (name, text) in names.zip(said) {
                if json {
                    println!("{}", serde_json::json!({ "adapter": name, "text": text }));
                } else {
                    println!("{name}: {}", text.trim());
                }
            }
            return Ok(());
        }
        let tell = |text: &str, done: bool| {
            if json {
                report::event(&Event::Token { variant, text: text.into(), done });
            } else {
                print!("{text}{}", if done { "\n" } else { "" });
                // A closed pipe ends the answer without a word, as `head` expects.
                let _ = std::io::stdout().flush();
            }
        };
        let mut pace = Pace::start();
        let mut piece = |text: &str| {
            pace.token();
            tell(text, false);
        };
        answer(&base.model, &base.tokenizer, &base.template, &request, &mut piece).await?;
        tell("", true);
        // A search for the likeliest text tells it in one piece.
        if !json && request.num_beams == 1 {
            eprintln!("pace     {pace}");
        }
        Ok(())
    }
}
