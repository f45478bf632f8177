//! Flags of how tokens are chosen.

use clap::Args;
use stratune_protocol::{GenerateRequest, Problem};

/// How tokens are chosen, and when an answer ends.
#[derive(Args)]
pub struct SamplingFlags {
    /// 0 takes the likeliest token each time
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Draw among this many likeliest tokens; 0 is all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw among the likeliest tokens that hold this much probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Draw among tokens that have at least this share of the likeliest's probability; 0 is all
    #[arg(long, default_value_t = 0.0)]
    min_p: f32,
    /// Make tokens that are there already less likely; 1 leaves them
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Continue this many of the likeliest texts at once, and take the best at the end
    #[arg(long, default_value_t = 1)]
    num_beams: usize,
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

impl SamplingFlags {
    /// A request with these settings that asks nothing yet.
    ///
    /// # Errors
    /// Names the first flag that is out of range.
    pub fn request(self) -> Result<GenerateRequest, Problem> {
        let request = GenerateRequest {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            num_beams: self.num_beams,
            max_tokens: self.max_tokens,
            seed: self.seed,
            stop: self.stop,
            ..GenerateRequest::default()
        };
        let flag = |problem: Problem| {
            let at = format!("--{}", problem.at.replace('_', "-"));
            problem.at(at)
        };
        request.check().map_err(flag)?;
        Ok(request)
    }
}
