//! Texts that are continued beside each other, each with what the model holds of it.

use std::borrow::Cow;

use burn::tensor::{Int, Tensor, TensorData};
use stratune_protocol::Problem;
use stratune_runtime::read_f32;

use crate::nn::{Encoded, KvCache, Positions};
use crate::{ForwardOptions, Model};

/// A text, and the keys and values that a model holds of its beginning. They are of one model with one adapter: another
/// needs a text of its own.
#[derive(Clone, Debug, Default)]
pub struct CachedText {
    tokens: Vec<u32>,
    caches: Vec<KvCache>,
    /// Of how many tokens the caches are.
    held: usize,
    /// What an encoder reads, and what it has said of it.
    source: Vec<u32>,
    reads: Option<Encoded>,
}

impl CachedText {
    /// What continues a prompt: the prompt's tokens, or where the model has an encoder, which reads them, the token with which
    /// its decoder begins. What is held of the beginning that this shares with what it was stays.
    pub fn begin(&mut self, model: &Model, prompt: Vec<u32>) {
        match &model.config.seq2seq {
            None => self.rewrite(prompt),
            Some(of) => *self = Self { tokens: vec![of.start], source: prompt, ..Self::default() },
        }
    }

    /// The model that continues it: one that reads what is to be read.
    fn reader(&mut self, model: &Model) -> Model {
        match &self.reads {
            None => {
                let model = model.reading(&self.source);
                self.reads = model.stacks.as_ref().and_then(|stacks| stacks.reads.clone());
                model
            }
            Some(_) => model.with_reads(self.reads.clone()),
        }
    }

    /// Its tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Adds a token.
    pub fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// How many tokens of another text are held already: all but its last, at most.
    pub fn shared(&self, tokens: &[u32]) -> usize {
        let alike = self.tokens[..self.held].iter().zip(tokens).take_while(|(a, b)| a == b).count();
        alike.min(tokens.len().saturating_sub(1))
    }

    /// Becomes another text. What is held of the beginning that they share stays.
    pub fn rewrite(&mut self, tokens: Vec<u32>) {
        let shared = self.shared(&tokens);
        if shared == 0 {
            self.caches.clear();
        }
        let dropped = self.held - shared;
        self.caches.iter_mut().filter(|_| dropped > 0).for_each(|cache| cache.truncate(cache.len() - dropped));
        (self.tokens, self.held) = (tokens, shared);
    }

    /// The tokens that the caches do not hold yet. Who asks runs them, so that they do.
    fn ahead(&mut self, model: &Model) -> Vec<i32> {
        if self.held == 0 || !model.caches_last(self.held, self.tokens.len()) {
            (self.caches, self.held) = (model.caches(), 0);
        }
        let new = self.tokens[self.held..].iter().map(|token| *token as i32).collect();
        self.held = self.tokens.len();
        new
    }
}

/// The logits of the token after each of these texts, which are not empty and within the context. Those of which the
/// model holds all but the last token run together, in a batch; in a model of several adapters `adapters` says which is
/// whose, as [`Model::for_rows`] has it.
///
/// # Errors
/// The device does not answer.
pub async fn next_logits(
    model: &Model,
    texts: &mut [&mut CachedText],
    adapters: Option<&[usize]>,
) -> Result<Vec<Vec<f32>>, Problem> {
    let of = |rows: &[usize]| {
        adapters.map(|adapters| model.for_rows(&rows.iter().map(|row| adapters[*row]).collect::<Vec<_>>()))
    };
    let longest = texts.iter().map(|text| text.tokens.len()).max().unwrap_or(0);
    // One that is at its beginning runs by itself, as do those whose keys are rotated otherwise than the others', and those
    // that read another text.
    let alone = |text: &CachedText| {
        let lasts = |before, after| model.caches_last(before, after);
        let length = text.tokens.len();
        model.stacks.is_some()
            || text.held == 0
            || text.held + 1 < length
            || !lasts(text.held, length)
            || !lasts(length, longest)
    };
    let (first, together): (Vec<usize>, Vec<usize>) = (0..texts.len()).partition(|row| alone(texts[*row]));
    let mut logits = vec![Vec::new(); texts.len()];
    for row in first {
        let alone = of(&[row]);
        let mut model = Cow::Borrowed(alone.as_ref().unwrap_or(model));
        if !texts[row].source.is_empty() {
            model = Cow::Owned(texts[row].reader(&model));
        }
        let new = texts[row].ahead(&model);
        let input = Tensor::<2, Int>::from_data(TensorData::new(new.clone(), [1, new.len()]), &model.device());
        logits[row] = read_f32(model.next_logits(input, &mut texts[row].caches)).await?;
    }
    if !together.is_empty() {
        let mut rows: Vec<&mut CachedText> = Vec::new();
        for (row, text) in texts.iter_mut().enumerate() {
            if together.contains(&row) {
                rows.push(text);
            }
        }
        let new: Vec<u32> = rows.iter_mut().flat_map(|text| text.ahead(model)).map(|token| token as u32).collect();
        let mut caches: Vec<&mut Vec<KvCache>> = rows.iter_mut().map(|text| &mut text.caches).collect();
        let all = read_f32(of(&together).as_ref().unwrap_or(model).next_logits_of_rows(&new, &mut caches)).await?;
        let of_rows = all.chunks(model.config.vocab_size.max(1));
        together.iter().zip(of_rows).for_each(|(row, of_row)| logits[*row] = of_row.to_vec());
    }
    Ok(logits)
}

impl Model {
    /// What the blocks need for one new token in each row, after another number of earlier ones in each.
    fn positions_of_rows(&self, pasts: &[usize]) -> Positions {
        let pasts: Vec<usize> = pasts.iter().map(|past| past + self.prompt_length()).collect();
        let before = self.pasts(0);
        let mut at = self.with_ladder(|rotaries| Positions::of_rows(rotaries, &pasts, &before, &self.device()));
        if self.embed_positions.is_some() {
            let first = before.into_iter().max().unwrap_or(0);
            let ids: Vec<i32> = pasts.iter().map(|past| (first + past) as i32).collect();
            at.position_ids = Some(Tensor::from_data(TensorData::new(ids, [pasts.len(), 1]), &self.device()));
        }
        at
    }

    /// Logits of the token after each of several texts of any lengths: `tokens[i]` follows what `caches[i]` hold, which is
    /// something. Keys of none are rotated [otherwise](Self::caches_last) than those of another.
    ///
    /// # Shapes
    /// - output: `[texts, vocabulary]`
    pub fn next_logits_of_rows(&self, tokens: &[u32], caches: &mut [&mut Vec<KvCache>]) -> Tensor<2> {
        let pasts: Vec<usize> = caches.iter().map(|caches| self.text_length(caches)).collect();
        let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let input = Tensor::<2, Int>::from_data(TensorData::new(ids, [tokens.len(), 1]), &self.device());
        if let [caches] = caches {
            return self.next_logits(input, caches);
        }
        let at = self.positions_of_rows(&pasts);
        let x = self.at_positions(self.embed(input), &at);
        let blocks = caches.first().map_or(0, |caches| caches.len());
        let taken = |block: usize, caches: &mut [&mut Vec<KvCache>]| {
            KvCache::of_rows(caches.iter_mut().map(|row| std::mem::take(&mut row[block])))
        };
        let mut together: Vec<KvCache> = (0..blocks).map(|block| taken(block, caches)).collect();
        let options = ForwardOptions { context: &|i| self.inference_context(i), alter: None };
        let x = self.forward_blocks(x, &at, Some(&mut together), options);
        for (block, cache) in together.into_iter().enumerate() {
            caches.iter_mut().zip(cache.into_rows()).for_each(|(row, cache)| row[block] = cache);
        }
        self.logits_of(self.final_norm(x)).squeeze_dim(1)
    }
}
