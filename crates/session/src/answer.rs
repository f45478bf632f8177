//! Continuing a prompt as streamed text.

use stratune_data::{Template, Tokenizer};
use stratune_models::{BeamSearch, CachedText, Model, beam_search, generate_rows, next_logits};
use stratune_protocol::{GenerateRequest, Problem};
use stratune_runtime::yield_now;

use crate::reply::{FinishReason, Reply, prompt_tokens, sampling};

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
    let speaks = (tokenizer, template);
    let mut told = String::new();
    let mut each = |new: &str| {
        told.push_str(new);
        piece(new);
        true
    };
    answer_after(model, speaks, request, &mut CachedText::default(), &mut each).await?;
    Ok(told)
}

/// The same, as the next turn of a conversation: what `kept` holds of its beginning is not computed again, and it holds
/// this turn afterwards. Ends also when `piece`, which is asked after each token, says false; then no reason is given.
///
/// # Errors
/// As [`answer`], or the chat template does not take the messages.
pub async fn answer_after(
    model: &Model,
    (tokenizer, template): (&Tokenizer, &Template),
    request: &GenerateRequest,
    kept: &mut CachedText,
    piece: &mut dyn FnMut(&str) -> bool,
) -> Result<Option<FinishReason>, Problem> {
    let prompt = prompt_tokens(tokenizer, template, request)?;
    if request.num_beams > 1 {
        let (text, finish) = searched(model, (tokenizer, template), request, &prompt).await?;
        piece(&text);
        return Ok(Some(finish));
    }
    let mut reply = Reply::begin(model, (tokenizer, template), request, prompt, std::mem::take(kept))?;
    let mut finish = None;
    while finish.is_none() {
        let logits = next_logits(model, &mut [reply.text_mut()], None).await?;
        let (new, over) = reply.take(logits.first().map_or(&[], Vec::as_slice))?;
        finish = over;
        if !piece(&new) {
            break;
        }
        yield_now().await;
    }
    *kept = reply.into_text();
    Ok(finish)
}

/// The best text that a search finds.
async fn searched(
    model: &Model,
    (tokenizer, template): (&Tokenizer, &Template),
    request: &GenerateRequest,
    prompt: &[u32],
) -> Result<(String, FinishReason), Problem> {
    request.check()?;
    let search = BeamSearch { beams: request.num_beams, length_penalty: 1.0, max_tokens: request.max_tokens };
    let found = beam_search(model, prompt, &search, |token| template.ends(tokenizer, token)).await?;
    let mut tokens = found.into_iter().next().map_or_else(Vec::new, |best| best.tokens);
    let ended = tokens.pop_if(|last| template.ends(tokenizer, *last)).is_some();
    let text = tokenizer.decode(&tokens)?;
    let stopped = cut(text.clone(), &request.stop);
    let finish = if ended || stopped != text { FinishReason::Stop } else { FinishReason::Length };
    Ok((stopped, finish))
}

/// A text before the first of these.
fn cut(text: String, stops: &[String]) -> String {
    let stops = stops.iter().filter(|stop| !stop.is_empty());
    let end = stops.filter_map(|stop| text.find(stop.as_str())).min().unwrap_or(text.len());
    text[..end].to_string()
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
    request.check()?;
    if request.num_beams > 1 {
        return Err(Problem::input("a search for the likeliest text goes through one model at a time")
            .at("num_beams")
            .next("leave num_beams at 1, or ask each adapter alone"));
    }
    let prompt = prompt_tokens(tokenizer, template, request)?;
    let mut said: Vec<Vec<u32>> = vec![Vec::new(); rows];
    generate_rows(model, &prompt, rows, request.max_tokens, &sampling(request), |row, token| {
        let ended = template.ends(tokenizer, token);
        if !ended {
            said[row].push(token);
        }
        Ok(!ended)
    })
    .await?;
    said.iter().map(|tokens| tokenizer.decode(tokens).map(|text| cut(text, &request.stop))).collect()
}
