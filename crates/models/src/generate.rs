//! Continuing a text, token by token.

use burn::tensor::{Int, Tensor, TensorData};
use rand::RngExt;
use stratune_protocol::{Problem, draws};
use stratune_runtime::{read_f32, yield_now};

use crate::Model;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Draw among this many likeliest; 0 is all.
    pub top_k: usize,
    /// Draw among the likeliest that hold this much probability together; 1 is all.
    pub top_p: f32,
    /// Draw among those that have at least this share of the likeliest's probability; 0 is all.
    pub min_p: f32,
    /// Logits of tokens that the text has already are divided by this where they are above 0, else multiplied, as
    /// transformers' `repetition_penalty` does; 1 leaves them.
    pub repetition_penalty: f32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self =
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 };

    /// The token that follows `text`, `step` tokens after the prompt.
    pub fn pick(&self, logits: &[f32], text: &[u32], step: u64) -> u32 {
        if self.repetition_penalty == 1.0 {
            return self.draw(logits, step);
        }
        let mut logits = logits.to_vec();
        let mut seen = text.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                let penalty = self.repetition_penalty;
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        self.draw(&logits, step)
    }

    fn draw(&self, logits: &[f32], step: u64) -> u32 {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |i: u32| logits[i as usize];
        if self.temperature <= 0.0 {
            // The first of equals, as argmax has it.
            return order.into_iter().reduce(|best, i| if logit(i) > logit(best) { i } else { best }).unwrap_or(0);
        }
        order.sort_by(|a, b| logit(*b).total_cmp(&logit(*a)));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let top = order.first().map_or(0.0, |i| logit(*i));
        let mut weights: Vec<f64> =
            order.iter().map(|i| f64::from((logit(*i) - top) / self.temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut mass = 0.0;
        let kept = weights.iter().take_while(|w| {
            let before = mass;
            mass += **w / total;
            before < f64::from(self.top_p)
        });
        // The likeliest weighs 1.
        let likely = weights.iter().take_while(|w| **w >= f64::from(self.min_p)).count();
        let kept = kept.count().min(likely).max(1);
        weights.truncate(kept);
        let mut at = draws(self.seed, "token", [step, 0]).random::<f64>() * weights.iter().sum::<f64>();
        let place = weights.iter().position(|w| {
            at -= w;
            at < 0.0
        });
        order[place.unwrap_or(kept - 1)]
    }
}

/// How many tokens may follow a prompt, or where an encoder reads it be written of it.
///
/// # Errors
/// The prompt is empty or fills the context.
pub fn room(model: &Model, prompt: &[u32]) -> Result<usize, Problem> {
    let context = model.config.context().saturating_sub(model.virtual_tokens());
    // The decoder begins with one token, and has a context of its own.
    let reads = model.config.seq2seq.is_some();
    if prompt.is_empty() {
        return Err(Problem::input("the prompt is empty").next("type something"));
    }
    if prompt.len() >= context + usize::from(reads) {
        let what = format!("the prompt has {} tokens and the context holds {context}", prompt.len());
        return Err(Problem::input(what).next("shorten the prompt"));
    }
    Ok(if reads { context - 1 } else { context - prompt.len() })
}

/// Continues `prompt` by at most `max_tokens`, as long as `take` says so and the context lasts.
///
/// # Errors
/// The prompt is empty or fills the context, or the device does not answer.
pub async fn generate(
    model: &Model,
    prompt: &[u32],
    max_tokens: usize,
    sampling: &Sampling,
    mut take: impl FnMut(u32) -> Result<bool, Problem>,
) -> Result<(), Problem> {
    generate_rows(model, prompt, 1, max_tokens, sampling, |_, token| take(token)).await
}

/// The same in `rows` rows of one batch, which differ where the model treats its rows differently. `take` gets the row
/// and its token; a row that has ended gets no more.
///
/// # Errors
/// The prompt is empty or fills the context, or the device does not answer.
pub async fn generate_rows(
    model: &Model,
    prompt: &[u32],
    rows: usize,
    max_tokens: usize,
    sampling: &Sampling,
    mut take: impl FnMut(usize, u32) -> Result<bool, Problem>,
) -> Result<(), Problem> {
    let room = room(model, prompt)?;
    let (model, prompt) = model.begun(prompt);
    let mut caches = model.caches();
    let mut texts = vec![prompt.to_vec(); rows];
    let mut tokens = prompt.repeat(rows);
    let mut going = vec![true; rows];
    for step in 0..max_tokens.min(room) {
        let ids: Vec<i32> = tokens.iter().map(|t| *t as i32).collect();
        let input = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, tokens.len() / rows]), &model.device());
        let logits = read_f32(model.next_logits(input, &mut caches)).await?;
        let of_rows = logits.chunks(model.config.vocab_size).zip(&texts);
        tokens = of_rows.map(|(row, text)| sampling.pick(row, text, step as u64)).collect();
        for (row, token) in tokens.iter().enumerate() {
            going[row] = going[row] && take(row, *token)?;
            texts[row].push(*token);
        }
        if !going.contains(&true) {
            break;
        }
        let length = texts.first().map_or(0, Vec::len);
        if !model.caches_last(length - 1, length) {
            (caches, tokens) = (model.caches(), texts.concat());
        }
        yield_now().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn seen(sampling: Sampling) -> Vec<u32> {
        let mut seen: Vec<u32> = (0..400).map(|step| sampling.pick(&LOGITS, &[], step)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        assert_eq!(seen(Sampling::GREEDY), [1]);
    }

    #[test]
    fn top_k_and_top_p_leave_out_the_unlikely() {
        let warm = Sampling { temperature: 1.0, seed: 3, ..Sampling::GREEDY };
        assert_eq!(seen(Sampling { temperature: 2.0, ..warm }), [0, 1, 2, 3, 4]);
        assert_eq!(seen(Sampling { top_k: 3, ..warm }), [1, 2, 3]);
        // The two likeliest hold 0.80 of the probability.
        assert_eq!(seen(Sampling { top_p: 0.7, ..warm }), [1, 3]);
        assert_eq!(seen(Sampling { top_p: 0.0, ..warm }), [1]);
        // The third has e⁻¹ of the likeliest's probability, the first e⁻².
        assert_eq!(seen(Sampling { min_p: 0.3, ..warm }), [1, 2, 3]);
        assert_eq!(seen(Sampling { min_p: 0.4, ..warm }), [1, 3]);
        assert_eq!(seen(Sampling { min_p: 1.0, top_p: 0.0, ..warm }), [1]);
    }

    #[test]
    fn what_was_said_is_less_likely_to_be_said_again() {
        let penal = |repetition_penalty, text: &[u32]| {
            Sampling { repetition_penalty, ..Sampling::GREEDY }.pick(&LOGITS, text, 0)
        };
        assert_eq!([penal(1.0, &[1, 3]), penal(1.2, &[1]), penal(1.2, &[1, 3, 1])], [1, 3, 1]);
        assert_eq!(penal(1.6, &[1, 3, 3]), 2);
        let below = Sampling { repetition_penalty: 2.0, ..Sampling::GREEDY }.pick(&[-1.0, -1.5], &[0, 9], 0);
        assert_eq!(below, 1, "what is below 0 is multiplied, and a token beyond the vocabulary changes nothing");
    }

    #[test]
    fn draws_follow_the_weights_and_the_seed() {
        let sampling = Sampling { temperature: 1.0, seed: 9, ..Sampling::GREEDY };
        let ones = (0..4000).filter(|s| sampling.pick(&LOGITS, &[], *s) == 1).count() as f64 / 4000.0;
        // 0.399 expected; three standard deviations are 0.023.
        assert!((ones - 0.399).abs() < 0.023, "{ones}");
        let draw = |seed| (0..20).map(|s| Sampling { seed, ..sampling }.pick(&LOGITS, &[], s)).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
