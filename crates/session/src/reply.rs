//! One answer, token by token.

use stratune_data::{Conversation, Template, TextStream, Tokenizer};
use stratune_models::{CachedText, Model, Sampling, room};
use stratune_protocol::{GenerateRequest, Problem};

use crate::told::Told;
use crate::tool_calls::KEPT;

/// Why an answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A token that ends a text or a turn came, or a stop string.
    Stop,
    /// As many tokens were made as were asked for, or as fit the context.
    Length,
}

/// An answer that is being written.
#[derive(Debug)]
pub struct Reply<'a> {
    tokenizer: &'a Tokenizer,
    template: &'a Template,
    text: CachedText,
    prompt: usize,
    most: usize,
    made: usize,
    sampling: Sampling,
    stream: TextStream<'a>,
    told: Told,
    /// Special tokens that are told all the same, and how.
    kept: Vec<(u32, &'static str)>,
}

/// The tokens that are to be continued: of messages, of a prompt in the form of the training rows, or of one as it stands.
///
/// # Errors
/// The text cannot be tokenised, or the chat template does not take the messages.
pub fn prompt_tokens(
    tokenizer: &Tokenizer,
    template: &Template,
    request: &GenerateRequest,
) -> Result<Vec<u32>, Problem> {
    if !request.messages.is_empty() {
        return template.ask(tokenizer, &Conversation::read(&request.messages, &request.tools)?);
    }
    if request.as_instruction {
        return template.prompt(tokenizer, &request.prompt);
    }
    template.as_it_stands(tokenizer, &request.prompt)
}

/// How a request has tokens chosen.
pub(crate) fn sampling(request: &GenerateRequest) -> Sampling {
    Sampling {
        temperature: request.temperature,
        top_k: request.top_k,
        top_p: request.top_p,
        min_p: request.min_p,
        repetition_penalty: request.repetition_penalty,
        seed: request.seed,
    }
}

impl<'a> Reply<'a> {
    /// To a prompt, as `request` says. What `text` holds of its beginning from before is not computed again.
    ///
    /// # Errors
    /// A setting is out of range, or the prompt is empty or fills the context.
    pub fn begin(
        model: &Model,
        (tokenizer, template): (&'a Tokenizer, &'a Template),
        request: &GenerateRequest,
        prompt: Vec<u32>,
        mut text: CachedText,
    ) -> Result<Self, Problem> {
        request.check()?;
        if model.config.classifier.is_some() {
            return Err(Problem::input("this model labels texts, and writes none").next("give it texts to label"));
        }
        let most = request.max_tokens.min(room(model, &prompt)?);
        let (told, stream) = (Told::new(&request.stop), tokenizer.stream());
        let (made, sampling) = (0, sampling(request));
        let marks = KEPT.iter().filter(|_| !request.tools.is_empty());
        let kept = marks.filter_map(|mark| Some((tokenizer.special(mark)?, *mark))).collect();
        let length = prompt.len();
        text.begin(model, prompt);
        Ok(Self { tokenizer, template, text, prompt: length, most, made, sampling, stream, told, kept })
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt
    }

    /// Tokens of the answer so far, the one that ended it among them.
    pub fn tokens(&self) -> usize {
        self.made
    }

    /// What the model is to continue.
    pub fn text_mut(&mut self) -> &mut CachedText {
        &mut self.text
    }

    /// Prompt and answer, with what the model holds of them.
    pub fn into_text(self) -> CachedText {
        self.text
    }

    /// Chooses the next token. Gives the text that it makes certain, which never ends within a character, and why the
    /// answer is over, if it is.
    ///
    /// # Errors
    /// The tokenizer cannot put the tokens together.
    pub fn take(&mut self, logits: &[f32]) -> Result<(String, Option<FinishReason>), Problem> {
        let token = self.sampling.pick(logits, self.text.tokens(), self.made as u64);
        self.text.push(token);
        self.made += 1;
        let ends = self.template.ends(self.tokenizer, token);
        let goes_on = !ends && {
            let new = match self.kept.iter().find(|(kept, _)| *kept == token) {
                Some((_, mark)) => std::mem::replace(&mut self.stream, self.tokenizer.stream()).finish()? + mark,
                None => self.stream.push(token)?,
            };
            self.told.add(&new)
        };
        let finish = match goes_on {
            false => Some(FinishReason::Stop),
            true => (self.made >= self.most).then_some(FinishReason::Length),
        };
        if finish.is_some() && (ends || goes_on) {
            let rest = self.stream.clone().finish()?;
            self.told.add(&rest);
            self.told.end();
        }
        Ok((self.told.new_text(), finish))
    }
}
