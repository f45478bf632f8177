//! `stratune generate`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use stratune_protocol::{DeviceChoice, Event, GenerateRequest, Problem, Voice};
use stratune_session::answer;

use crate::{open, report};

/// Continue a prompt.
#[derive(Args)]
pub struct Generate {
    /// The model: `starter`, or a folder in Hugging Face form
    #[arg(long, default_value = "starter")]
    model: String,
    /// An adapter folder in PEFT's format
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// The text to continue
    #[arg(long)]
    prompt: String,
    /// Put the prompt in the form that training rows have
    #[arg(long)]
    as_instruction: bool,
    /// 0 takes the likeliest token each time
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Draw among this many likeliest tokens; 0 is all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw among the likeliest tokens that hold this much probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Most new tokens
    #[arg(long, default_value_t = 128)]
    max_tokens: usize,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Stop when this text appears; may be given more than once
    #[arg(long)]
    stop: Vec<String>,
}

impl Generate {
    /// Streams the answer to standard output.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Problem::input(format!("the temperature is {}", self.temperature))
                .at("--temperature")
                .next("use 0 or more"));
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return Err(Problem::input(format!("top-p is {}", self.top_p)).at("--top-p").next("use 0 to 1"));
        }
        let opened = open::device(self.device, json).await?;
        let mut base = open::base(&self.model, &opened, json).await?;
        open::adapter(&mut base, self.adapter.as_deref()).await?;
        let voice = if self.adapter.is_some() { Voice::Tuned } else { Voice::Base };
        let request = GenerateRequest {
            prompt: self.prompt,
            as_instruction: self.as_instruction,
            voice,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            stop: self.stop,
        };
        let tell = |text: &str, done: bool| {
            if json {
                report::event(&Event::Token { voice, text: text.into(), done });
            } else {
                print!("{text}{}", if done { "\n" } else { "" });
                // A closed pipe ends the answer without a word, as `head` expects.
                let _ = std::io::stdout().flush();
            }
        };
        answer(&base.model, &base.tokenizer, &base.template, &request, &mut |text| tell(text, false)).await?;
        tell("", true);
        Ok(())
    }
}
