//! Continuing a prompt as streamed text.

use stratune_data::{Template, Tokenizer};
use stratune_models::{Model, Sampling, generate, generate_rows};
use stratune_protocol::{GenerateRequest, Problem};

/// The tokens a prompt begins with: in the form of the training rows, or as it stands.
///
/// # Errors
/// The text cannot be tokenised.
pub fn prompt_tokens(
    tokenizer: &Tokenizer,
    template: &Template,
    text: &str,
    as_instruction: bool,
) -> Result<Vec<u32>, Problem> {
    if as_instruction {
        return template.prompt(tokenizer, text);
    }
    let mut tokens: Vec<u32> = tokenizer.bos().into_iter().collect();
    tokens.extend(tokenizer.encode(text)?);
    Ok(tokens)
}

/// Continues a prompt, giving each new piece of text to `piece` as it comes, and the whole at the end. Ends at any token that
/// ends a text or a turn, at a stop string, which is left out, or after `max_tokens`.
///
/// # Errors
/// The prompt is empty or too long, or the device does not answer.
pub async fn answer(
    model: &Model,
    tokenizer: &Tokenizer,
    template: &Template,
    request: &GenerateRequest,
    piece: &mut dyn FnMut(&str),
) -> Result<String, Problem> {
    let prompt = prompt_tokens(tokenizer, template, &request.prompt, request.as_instruction)?;
    let sampling =
        Sampling { temperature: request.temperature, top_k: request.top_k, top_p: request.top_p, seed: request.seed };
    let mut stream = tokenizer.stream();
    let mut told = Told { text: String::new(), sent: 0, stop: &request.stop, piece };
    generate(model, &prompt, request.max_tokens, &sampling, |token| {
        if template.ends(tokenizer, token) {
            return Ok(false);
        }
        let new = stream.push(token)?;
        Ok(told.add(&new))
    })
    .await?;
    let rest = stream.finish()?;
    told.add(&rest);
    Ok(told.end())
}

/// What each row of a model that treats its rows differently says to one prompt, in one batch.
///
/// # Errors
/// As [`answer`].
pub async fn answer_each(
    model: &Model,
    rows: usize,
    tokenizer: &Tokenizer,
    template: &Template,
    request: &GenerateRequest,
) -> Result<Vec<String>, Problem> {
    let prompt = prompt_tokens(tokenizer, template, &request.prompt, request.as_instruction)?;
    let sampling =
        Sampling { temperature: request.temperature, top_k: request.top_k, top_p: request.top_p, seed: request.seed };
    let mut said: Vec<Vec<u32>> = vec![Vec::new(); rows];
    generate_rows(model, &prompt, rows, request.max_tokens, &sampling, |row, token| {
        let ended = template.ends(tokenizer, token);
        if !ended {
            said[row].push(token);
        }
        Ok(!ended)
    })
    .await?;
    let cut = |text: String| {
        let stops = request.stop.iter().filter(|s| !s.is_empty());
        let end = stops.filter_map(|s| text.find(s.as_str())).min().unwrap_or(text.len());
        text[..end].to_string()
    };
    said.iter().map(|tokens| tokenizer.decode(tokens).map(cut)).collect()
}

/// Text that was generated, and how much of it is certain not to be the beginning of a stop string.
struct Told<'a> {
    text: String,
    sent: usize,
    stop: &'a [String],
    piece: &'a mut dyn FnMut(&str),
}

impl Told<'_> {
    /// False when a stop string has come.
    fn add(&mut self, new: &str) -> bool {
        self.text.push_str(new);
        let stops = self.stop.iter().filter(|s| !s.is_empty());
        if let Some(at) = stops.clone().filter_map(|s| self.text.find(s.as_str())).min() {
            self.text.truncate(at);
            self.send(at);
            return false;
        }
        let held = stops.map(|s| overlap(&self.text, s)).max().unwrap_or(0);
        self.send(self.text.len() - held);
        true
    }

    fn send(&mut self, until: usize) {
        if until > self.sent {
            (self.piece)(&self.text[self.sent..until]);
            self.sent = until;
        }
    }

    fn end(mut self) -> String {
        self.send(self.text.len());
        self.text
    }
}

/// Length of the longest end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().min(text.len() + 1);
    (1..longest).rev().find(|n| stop.is_char_boundary(*n) && text.ends_with(&stop[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_is_never_shown_even_in_pieces() {
        for pieces in [vec!["one", "\n", "\n", "two"], vec!["one\n\ntwo"], vec!["o", "n", "e", "\n", "\nx"]] {
            let mut shown = String::new();
            let stop = ["\n\n".to_string()];
            let mut piece = |p: &str| shown.push_str(p);
            let mut told = Told { text: String::new(), sent: 0, stop: &stop, piece: &mut piece };
            let went_on = pieces.iter().all(|p| told.add(p));
            assert!(!went_on);
            assert_eq!(told.end(), "one");
            assert_eq!(shown, "one");
        }
    }

    #[test]
    fn what_was_held_back_for_a_stop_that_did_not_come_is_shown_at_the_end() {
        let mut shown = String::new();
        let stop = ["###".to_string()];
        let mut piece = |p: &str| shown.push_str(p);
        let mut told = Told { text: String::new(), sent: 0, stop: &stop, piece: &mut piece };
        assert!(told.add("a##"));
        assert_eq!(told.end(), "a##");
        assert_eq!(shown, "a##");
    }
}
