//! The whole model, block by block.

mod input;
mod positions;

use std::iter;
use std::rc::Rc;

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::{Compute, Matrix, WeightFormat, linear_by_pieces};
use stratune_peft::{Embedding, ForwardContext, Linear, Param, ParamId, Parameters, Shared, Visitor};
use stratune_protocol::WeightBytes;

use crate::nn::{Classifier, KvCache, Norm, Positions, Rotaries, scaled};
use crate::{Block, Ladder, ModelConfig, Stacks};

/// A model. Its training loop takes it apart: [`embed`](Self::embed), the [`layers`](Self::layers) one by one,
/// [`norm`](Self::norm), [`head`](Self::head).
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is. Copies of a model share it.
    pub config: Rc<ModelConfig>,
    /// `[vocabulary, hidden]`.
    pub embed_tokens: Embedding,
    /// `[positions, hidden]`, where positions have embeddings that are added to those of the tokens.
    pub embed_positions: Option<Embedding>,
    /// `[types, hidden]`, where texts of a pair have embeddings that are added, too.
    pub embed_token_types: Option<Embedding>,
    /// The patches of images to vectors, in models that read such.
    pub embed_patches: Option<Linear>,
    /// Of what enters the first block.
    pub embed_norm: Option<Norm>,
    /// What a model has that reads a text and writes another.
    pub stacks: Option<Box<Stacks>>,
    /// From the input upwards; of two stacks first the encoder's.
    pub layers: Vec<Block>,
    /// Before the output layer.
    pub norm: Option<Norm>,
    /// `[vocabulary, hidden]`; none if it is the embedding.
    pub lm_head: Option<Embedding>,
    /// The head of a model that classifies texts.
    pub classifier: Option<Classifier>,
    /// Cosines and sines of every position of the context.
    pub rotaries: Rotaries,
    /// Learned embeddings before the text, `[length, hidden]`.
    pub prompt: Option<Param<2>>,
    /// A small network beside the blocks.
    pub ladder: Option<Ladder>,
    /// What the methods of all blocks read.
    pub shared: Shared,
    /// Which adapter each row of a batch gets, if the model holds several.
    pub row_adapters: Option<Rc<[usize]>>,
    /// What its products multiply in: a run's choice.
    pub compute: Compute,
}

/// Options of a forward pass through the blocks.
#[derive(Clone, Copy)]
pub struct ForwardOptions<'a> {
    /// The context of block i.
    pub context: &'a dyn Fn(usize) -> ForwardContext,
    /// Changes a copy of block i before it runs.
    pub alter: Option<Alter<'a>>,
}

/// Changes a block, given its number.
pub type Alter<'a> = &'a dyn Fn(usize, &mut Block);

impl Model {
    /// Where the tensors live.
    pub fn device(&self) -> Device {
        self.embed_tokens.device()
    }

    /// The matrices of its linear layers.
    fn matrices(&self) -> impl Iterator<Item = Matrix> {
        let of_block = |mut block: Block| block.linears_mut().map(|linear| linear.weight.matrix()).collect::<Vec<_>>();
        self.layers.iter().cloned().flat_map(of_block)
    }

    /// What its matrices take as they are.
    pub fn weight_bytes(&self) -> WeightBytes {
        let embeddings = [Some(&self.embed_tokens), self.lm_head.as_ref()].into_iter().flatten();
        WeightBytes {
            blocks: self.matrices().map(|matrix| matrix.bytes()).sum(),
            embeddings: embeddings.flat_map(Embedding::pieces).map(|piece| piece.matrix().bytes()).sum(),
        }
    }

    /// What the matrices of its linear layers are kept as, what most are first; none if all are floats.
    pub fn formats(&self) -> Vec<WeightFormat> {
        let mut counted: Vec<(WeightFormat, usize)> = Vec::new();
        for format in self.matrices().filter_map(|matrix| matrix.format()) {
            match counted.iter_mut().find(|(known, _)| *known == format) {
                Some((_, count)) => *count += 1,
                None => counted.push((format, 1)),
            }
        }
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counted.into_iter().map(|(format, _)| format).collect()
    }

    /// Whether a row of a batch may hold several texts: no method puts positions before a text, no row has an adapter of its
    /// own, and none reads another text.
    pub fn can_pack(&self) -> bool {
        self.virtual_tokens() == 0 && self.row_adapters.is_none() && self.stacks.is_none()
    }

    /// Which parameter the prompt is.
    pub fn prompt_id() -> ParamId {
        ParamId { block: None, path: "prompt".into() }
    }

    /// Embeddings before the text.
    pub fn prompt_length(&self) -> usize {
        self.prompt.as_ref().map_or(0, |prompt| prompt.value.dims()[0])
    }

    /// Virtual tokens: positions of the context that methods take from the text.
    pub fn virtual_tokens(&self) -> usize {
        let prefix = |block: &Block| block.self_attn.prefix.as_ref().map_or(0, |p| p.length());
        self.prompt_length() + self.layers.iter().map(prefix).max().unwrap_or(0)
    }

    /// The context of evaluation and generation through block `i`.
    pub fn inference_context(&self, i: usize) -> ForwardContext {
        ForwardContext {
            row_adapters: self.row_adapters.clone(),
            compute: self.compute,
            ..ForwardContext::inference(i, Rc::new(self.shared.clone()))
        }
    }

    /// Through all blocks, and the ladder beside them; of two stacks through the decoder's. `caches` are those of
    /// [`caches`](Self::caches).
    ///
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward_blocks(
        &self,
        x: Tensor<3>,
        at: &Positions,
        caches: Option<&mut [KvCache]>,
        options: ForwardOptions<'_>,
    ) -> Tensor<3> {
        let (mut own, side) = match caches.map(|c| c.split_at_mut(self.layers.len() - self.config.encoder_layers())) {
            None => (None, None),
            Some((own, side)) => (Some(own.iter_mut()), Some(side)),
        };
        let mut x = x;
        let mut states = vec![x.clone()];
        for i in self.config.encoder_layers()..self.layers.len() {
            x = self.through_block(i, x, at, own.as_mut().and_then(Iterator::next), options);
            if self.ladder.is_some() {
                states.push(x.clone());
            }
        }
        match self.ladder.as_ref().zip(at.side.as_ref()) {
            None => x,
            Some((ladder, at)) => x + ladder.forward(&states, at, side, &(options.context)(self.layers.len())),
        }
    }

    pub(crate) fn through_block(
        &self,
        i: usize,
        x: Tensor<3>,
        at: &Positions,
        cache: Option<&mut KvCache>,
        options: ForwardOptions<'_>,
    ) -> Tensor<3> {
        let (block, context) = (&self.layers[i], (options.context)(i));
        match options.alter {
            None => block.forward(x, at, cache, &context),
            Some(alter) => {
                let mut block = block.clone();
                alter(i, &mut block);
                block.forward(x, at, cache, &context)
            }
        }
    }

    /// The output layer's matrix, `[vocabulary, hidden]`.
    pub fn head(&self) -> &Embedding {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// The embedding of tokens, those of positions and types, if there are such, and the output layer, if that is another
    /// matrix.
    pub fn embeddings(&self) -> impl Iterator<Item = &Embedding> {
        let added = self.embed_positions.iter().chain(&self.embed_token_types);
        iter::once(&self.embed_tokens).chain(added).chain(&self.lm_head)
    }

    /// The same, to be changed.
    pub fn embeddings_mut(&mut self) -> impl Iterator<Item = &mut Embedding> {
        let added = self.embed_positions.iter_mut().chain(&mut self.embed_token_types);
        iter::once(&mut self.embed_tokens).chain(added).chain(&mut self.lm_head)
    }

    /// The blocks' output after the last norm; `caches`, one a block, carry the positions before.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    pub fn hidden_states(&self, tokens: Tensor<2, Int>, caches: Option<&mut [KvCache]>) -> Tensor<3> {
        let seq = tokens.dims()[1];
        let past = caches.as_ref().map_or(0, |c| self.text_length(c));
        let at = self.positions(seq, past);
        let begins = past == 0;
        let x = match begins {
            true => self.embed_with_prompt(tokens, &at),
            false => self.at_positions(self.embed(tokens), &at),
        };
        let mut x = self.forward_blocks(
            x,
            &at,
            caches,
            ForwardOptions { context: &|i| self.inference_context(i), alter: None },
        );
        if begins {
            x = self.without_prompt(x);
        }
        self.final_norm(x)
    }

    /// What the output layer reads.
    pub fn final_norm(&self, x: Tensor<3>) -> Tensor<3> {
        self.final_norm_by(self.norm.as_ref(), x)
    }

    /// The same with a norm in the place of the model's. The division of the logits is made here, where there are fewer
    /// numbers than logits.
    pub fn final_norm_by(&self, norm: Option<&Norm>, x: Tensor<3>) -> Tensor<3> {
        let normed = match norm {
            None => x,
            Some(norm) => norm.forward(x, &self.inference_context(self.layers.len())),
        };
        scaled(normed, self.config.logits_scaling.recip())
    }

    /// Logits of what [`final_norm`](Self::final_norm) gave.
    pub fn logits_of(&self, normed: Tensor<3>) -> Tensor<3> {
        let logits = linear_by_pieces(normed, &self.head().matrices(), self.compute);
        match self.config.final_logit_softcapping {
            None => logits,
            // Beyond it tanh is 1, or on some drivers no number.
            Some(softcap) => logits.div_scalar(softcap).clamp(-10.0, 10.0).tanh().mul_scalar(softcap),
        }
    }

    /// Logits of every position of a text from its beginning.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, vocabulary]`
    pub fn logits(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.logits_of(self.hidden_states(tokens, None))
    }

    /// Logits of the token after the last of `tokens`, which follow what `caches` hold.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, vocabulary]`
    pub fn next_logits(&self, tokens: Tensor<2, Int>, caches: &mut [KvCache]) -> Tensor<2> {
        let seq = tokens.dims()[1];
        let last = self.hidden_states(tokens, Some(caches)).narrow(1, seq - 1, 1);
        self.logits_of(last).squeeze_dim(1)
    }

    /// Fresh caches for a new text.
    pub fn caches(&self) -> Vec<KvCache> {
        let side = self.ladder.as_ref().map_or(0, |ladder| ladder.blocks.len());
        vec![KvCache::default(); self.layers.len() - self.config.encoder_layers() + side]
    }
}

impl Parameters for Model {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.embed_tokens.each(visitor);
        self.embed_positions.each(visitor);
        self.embed_token_types.each(visitor);
        self.embed_patches.each(visitor);
        self.embed_norm.each(visitor);
        self.stacks.each(visitor);
        for block in &mut self.layers {
            block.each(visitor);
        }
        self.norm.each(visitor);
        self.lm_head.each(visitor);
        self.classifier.each(visitor);
        if let Some(prompt) = &mut self.prompt {
            visitor.visit(&Self::prompt_id(), prompt);
        }
        self.ladder.each(visitor);
        self.shared.each(visitor);
    }
}
