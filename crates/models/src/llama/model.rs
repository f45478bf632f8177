//! The whole model, block by block.

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::{CausalMask, Rotary};
use stratune_peft::{Param, Parameters, Pass, Visitor};

use super::{Block, LlamaConfig};
use crate::nn::{KvCache, RmsNorm};

/// A Llama model. Its training loop takes it apart: [`embed`](Self::embed), the [`layers`](Self::layers) one by one,
/// [`norm`](Self::norm), [`head`](Self::head).
#[derive(Clone, Debug)]
pub struct Llama {
    /// Its geometry.
    pub config: LlamaConfig,
    /// `[vocabulary, hidden]`.
    pub embed_tokens: Param<2>,
    /// From the input upwards.
    pub layers: Vec<Block>,
    /// Before the output layer.
    pub norm: RmsNorm,
    /// `[vocabulary, hidden]`; none if it is the embedding.
    pub lm_head: Option<Param<2>>,
    /// Angles of every position of the context.
    pub rotary: Rotary,
}

/// What the blocks need to know about where the tokens are.
#[derive(Clone, Debug)]
pub struct Positions {
    /// Angles of the positions.
    pub rotary: Rotary,
    /// Who sees whom.
    pub mask: CausalMask,
}

impl Llama {
    /// Where the tensors live.
    pub fn device(&self) -> Device {
        self.embed_tokens.value.device()
    }

    /// What the blocks need for `seq` new tokens after `past` earlier ones.
    pub fn positions(&self, seq: usize, past: usize) -> Positions {
        let groups = self.config.num_attention_heads / self.config.num_key_value_heads;
        let mask = CausalMask::new(groups, seq, past, &self.device());
        Positions { rotary: self.rotary.clone(), mask }
    }

    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = tokens.dims();
        let rows = self.embed_tokens.value.clone().select(0, tokens.reshape([batch * seq]));
        rows.reshape([batch, seq, self.config.hidden_size])
    }

    /// The output layer's matrix, `[vocabulary, hidden]`.
    pub fn head(&self) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).value.clone()
    }

    /// The blocks' output after the last norm; `caches`, one a block, carry the positions before.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    pub fn hidden(&self, tokens: Tensor<2, Int>, caches: Option<&mut [KvCache]>) -> Tensor<3> {
        let seq = tokens.dims()[1];
        let past = caches.as_ref().and_then(|c| c.first()).map_or(0, KvCache::len);
        let at = self.positions(seq, past);
        let mut caches = caches.map(|c| c.iter_mut());
        let mut x = self.embed(tokens);
        for (i, block) in self.layers.iter().enumerate() {
            let cache = caches.as_mut().and_then(Iterator::next);
            x = block.forward(x, &at, cache, &Pass::plain(i));
        }
        self.norm.forward(x)
    }

    /// Logits of every position of a text from its beginning.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, vocabulary]`
    pub fn logits(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = tokens.dims();
        let rows = self.hidden(tokens, None).reshape([batch * seq, self.config.hidden_size]);
        rows.matmul(self.head().transpose()).reshape([batch, seq, self.config.vocab_size])
    }

    /// Logits of the token after the last of `tokens`, which follow what `caches` hold.
    ///
    /// # Shapes
    /// - `tokens`: `[1, seq]`
    /// - output: `[1, vocabulary]`
    pub fn next_logits(&self, tokens: Tensor<2, Int>, caches: &mut [KvCache]) -> Tensor<2> {
        let seq = tokens.dims()[1];
        let last = self.hidden(tokens, Some(caches)).narrow(1, seq - 1, 1).reshape([1, self.config.hidden_size]);
        last.matmul(self.head().transpose())
    }

    /// Fresh caches for a new text.
    pub fn caches(&self) -> Vec<KvCache> {
        vec![KvCache::default(); self.layers.len()]
    }

    /// The path of block `i`.
    pub fn layer_path(i: usize) -> String {
        format!("model.layers.{i}")
    }
}

impl Parameters for Llama {
    fn each(&mut self, _: &str, visitor: &mut impl Visitor) {
        visitor.visit("model.embed_tokens.weight", &mut self.embed_tokens);
        for (i, block) in self.layers.iter_mut().enumerate() {
            block.each(&Self::layer_path(i), visitor);
        }
        self.norm.each("model.norm", visitor);
        if let Some(head) = &mut self.lm_head {
            visitor.visit("lm_head.weight", head);
        }
    }
}
