//! Continuing a prompt as streamed text.

use stratune_data::{Template, Tokenizer};
use stratune_models::{CachedText, Model, generate_rows, next_logits};
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
    let cut = |text: String| {
        let stops = request.stop.iter().filter(|s| !s.is_empty());
        let end = stops.filter_map(|s| text.find(s.as_str())).min().unwrap_or(text.len());
        text[..end].to_string()
    };
    said.iter().map(|tokens| tokenizer.decode(tokens).map(cut)).collect()
}
