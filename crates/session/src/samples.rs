//! Prompts that are continued while a run goes on, within the time that there is for it.

use stratune_data::{Template, Tokenizer};
use stratune_models::Model;
use stratune_protocol::{GenerateRequest, Problem, ProblemKind};
use stratune_runtime::{Stopwatch, until};

use crate::answer;

/// Most new tokens of a sample.
const MAX: usize = 64;

/// Fewer pieces of text say nothing: rather than these, the next sample is longer.
const FEW: usize = 8;

/// What stands where a sample was not continued to its end.
const CUT: &str = " …";

/// Prompts that are continued as a person's would be: in the form of the training rows, greedily.
pub struct Samples<'a> {
    prompts: Vec<String>,
    tokenizer: &'a Tokenizer,
    template: &'a Template,
    speed: Option<Speed>,
}

/// How long a sample takes.
#[derive(Clone, Copy, Debug)]
struct Speed {
    /// Seconds until its first piece of text.
    first: f64,
    /// Seconds of each piece after that.
    each: f64,
}

impl<'a> Samples<'a> {
    /// Of these prompts.
    pub fn new(prompts: Vec<String>, tokenizer: &'a Tokenizer, template: &'a Template) -> Self {
        Self { prompts, tokenizer, template, speed: None }
    }

    /// How many prompts there are.
    pub fn count(&self) -> usize {
        self.prompts.len()
    }

    /// Continues the prompts with a model, in about so many seconds together. Gives each with its continuation; one for which
    /// there is no time is left out, and one that was cut short says so. One that cannot be continued, as it fills the context,
    /// comes with why.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn of(&mut self, model: &Model, seconds: f64) -> Result<Vec<(String, Result<String, Problem>)>, Problem> {
        let clock = Stopwatch::start();
        let mut continued = Vec::new();
        for (k, prompt) in self.prompts.clone().into_iter().enumerate() {
            let left = (seconds - clock.seconds()) / (self.prompts.len() - k) as f64;
            let needed = self.speed.map_or(0.0, |speed| speed.first + (FEW - 1) as f64 * speed.each);
            if left <= needed {
                break;
            }
            match self.continued(model, &prompt, left).await {
                Ok(text) if text.is_empty() => {}
                Err(problem) if problem.kind != ProblemKind::Input => return Err(problem),
                told => continued.push((prompt, told)),
            }
        }
        Ok(continued)
    }

    async fn continued(&mut self, model: &Model, prompt: &str, seconds: f64) -> Result<String, Problem> {
        let request = GenerateRequest {
            prompt: prompt.to_string(),
            as_instruction: true,
            max_tokens: MAX,
            ..GenerateRequest::default()
        };
        let clock = Stopwatch::start();
        let (mut text, mut first, mut pieces) = (String::new(), 0.0, 0_usize);
        let mut take = |piece: &str| {
            text.push_str(piece);
            pieces += 1;
            if pieces == 1 {
                first = clock.seconds();
            }
        };
        let answering = answer(model, self.tokenizer, self.template, &request, &mut take);
        let whole = until(answering, || clock.seconds() > seconds).await.transpose()?.is_some();
        if pieces > 0 {
            let each = (clock.seconds() - first) / pieces.saturating_sub(1).max(1) as f64;
            self.speed = Some(Speed { first, each });
        }
        if !whole && !text.is_empty() {
            text.push_str(CUT);
        }
        Ok(text)
    }
}
