//! Models that read a text and write another: an encoder's blocks, and a decoder's, which read what it says.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use stratune_peft::{Parameters, Visitor};

use crate::nn::{Encoded, KvCache, Norm, Positions, RelativeBias};
use crate::{ForwardOptions, Model, ModelConfig};

/// What a model of two stacks is beside what others are. Its first blocks are the encoder's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seq2Seq {
    /// Blocks of the encoder.
    pub encoder_layers: usize,
    /// Buckets of distances between tokens.
    pub buckets: usize,
    /// The distance from which on all share a bucket.
    pub distance: usize,
    /// The token with which the decoder begins.
    pub start: u32,
}

/// What a model of two stacks has beside its blocks.
#[derive(Clone, Debug)]
pub struct Stacks {
    /// Behind the encoder's last block.
    pub encoder_norm: Norm,
    /// The relative bias of the encoder.
    pub encoder_bias: RelativeBias,
    /// That of the decoder.
    pub decoder_bias: RelativeBias,
    /// The text that it reads while it writes; none: its decoder reads nothing, unless it is told.
    pub reads: Option<Encoded>,
}

/// Texts that an encoder reads, one a row.
#[derive(Clone, Debug)]
pub struct SourceTexts {
    /// `[rows, width]`, padded on the right.
    pub tokens: Tensor<2, Int>,
    /// What is added to scores, so little at padding that it is not seen: `[rows, 1, 1, width]`.
    pub mask: Tensor<4>,
}

impl SourceTexts {
    /// Of rows that are padded to one width, of these lengths.
    pub fn new(tokens: &[u32], lengths: &[usize], device: &Device) -> Self {
        let (rows, width) = (lengths.len(), tokens.len() / lengths.len().max(1));
        let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let of_row =
            |length: &usize| (0..width).map(|at| if at < *length { 0.0 } else { -1e30_f32 }).collect::<Vec<_>>();
        let mask: Vec<f32> = lengths.iter().flat_map(of_row).collect();
        Self {
            tokens: Tensor::from_data(TensorData::new(ids, [rows, width]), device),
            mask: Tensor::from_data(TensorData::new(mask, [rows, 1, 1, width]), device),
        }
    }
}

impl ModelConfig {
    /// How many of the blocks, from the first, are those of an encoder beside a decoder.
    pub fn encoder_layers(&self) -> usize {
        self.seq2seq.as_ref().map_or(0, |of| of.encoder_layers)
    }
}

impl Model {
    /// What the encoder's blocks need to know of texts.
    pub fn encoder_positions(&self, source: &SourceTexts) -> Positions {
        let Some(stacks) = &self.stacks else { return Positions::default() };
        let width = source.tokens.dims()[1];
        let bias = stacks.encoder_bias.forward(0..width, width) + source.mask.clone();
        self.positions_in(0, (0, bias))
    }

    /// What the decoder's blocks need for `seq` tokens after `past` earlier ones.
    pub(crate) fn decoder_positions(&self, seq: usize, past: usize) -> Option<Positions> {
        let stacks = self.stacks.as_ref()?;
        let bias = stacks.decoder_bias.forward(past..past + seq, past + seq);
        let mut at = self.positions_in(self.config.encoder_layers(), (past, bias));
        at.encoded = stacks.reads.clone();
        Some(at)
    }

    /// For blocks that are as this one, with what is added to their scores after so many tokens.
    fn positions_in(&self, block: usize, (past, added): (usize, Tensor<4>)) -> Positions {
        let Some(kind) = self.config.attention.get(block) else { return Positions::default() };
        Positions::of_masks(&self.rotaries, &[(kind.clone(), past, added)], &self.pasts(0), &self.device())
    }

    /// What the decoder reads of texts; none if the model has no encoder beside a decoder. `caches`, one a block of the
    /// encoder, get their keys and values.
    pub fn encode(
        &self,
        source: &SourceTexts,
        caches: Option<&mut [KvCache]>,
        options: ForwardOptions<'_>,
    ) -> Option<Encoded> {
        self.stacks.as_ref()?;
        let at = self.encoder_positions(source);
        let mut caches = caches.map(|caches| caches.iter_mut());
        let mut x = self.embed(source.tokens.clone());
        for block in 0..self.config.encoder_layers() {
            x = self.through_block(block, x, &at, caches.as_mut().and_then(Iterator::next), options);
        }
        self.encoded(x, source)
    }

    /// What the decoder reads, of what leaves the encoder's last block.
    pub fn encoded(&self, x: Tensor<3>, source: &SourceTexts) -> Option<Encoded> {
        let norm = &self.stacks.as_ref()?.encoder_norm;
        let states = norm.forward(x, &self.inference_context(self.layers.len()));
        Some(Encoded { states, mask: source.mask.clone(), held: BTreeMap::new() })
    }

    /// The same model as one that reads this text while it writes, in every row of a batch: what it says of tokens is what its
    /// decoder does.
    pub fn reading(&self, source: &[u32]) -> Self {
        // Where each row has an adapter of its own, so has each row of the encoder.
        let rows = self.row_adapters.as_ref().map_or(1, |rows| rows.len());
        let texts = SourceTexts::new(&source.repeat(rows), &vec![source.len(); rows], &self.device());
        let options = ForwardOptions { context: &|i| self.inference_context(i), alter: None };
        let Some(mut encoded) = self.encode(&texts, None, options) else { return self.clone() };
        for (i, block) in self.layers.iter().enumerate() {
            if let Some(cross_attn) = &block.cross_attn {
                encoded.held.insert(i, cross_attn.states(&encoded.states, &self.inference_context(i)));
            }
        }
        self.with_reads(Some(encoded))
    }

    /// The same model as one that reads this.
    pub(crate) fn with_reads(&self, encoded: Option<Encoded>) -> Self {
        let mut model = self.clone();
        if let Some(stacks) = &mut model.stacks {
            stacks.reads = encoded;
        }
        model
    }

    /// The model that continues a prompt, and what it continues: one of two stacks reads the prompt, and begins with a token
    /// of its own.
    pub fn begun(&self, prompt: &[u32]) -> (Self, Vec<u32>) {
        match &self.config.seq2seq {
            None => (self.clone(), prompt.to_vec()),
            Some(of) => (self.reading(prompt), vec![of.start]),
        }
    }
}

impl Stacks {
    /// Whether a relative bias trains.
    pub fn trains_bias(&self) -> bool {
        self.encoder_bias.table.trainable || self.decoder_bias.table.trainable
    }
}

impl Parameters for Stacks {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.encoder_bias.each(visitor);
        self.encoder_norm.each(visitor);
        self.decoder_bias.each(visitor);
    }
}
