//! What enters the first block: the vectors of tokens, of patches and of a prompt, with those of their positions.

use burn::tensor::{Int, Tensor};
use stratune_peft::Embedding;

use super::Model;
use crate::nn::{Positions, scaled};

impl Model {
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = tokens.dims();
        let rows = self.embed_tokens.rows(tokens.reshape([batch * seq]));
        scaled(rows.reshape([batch, seq, self.config.hidden_size]), self.config.embedding_multiplier)
    }

    /// The embedded beginning of a text: its prompt, if the model has one, and the tokens, where they are.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, prompt + seq, hidden]`
    pub fn embed_with_prompt(&self, tokens: Tensor<2, Int>, at: &Positions) -> Tensor<3> {
        self.normed_input(self.input(tokens, at))
    }

    /// The same before it is normalised, where models do that.
    pub fn input(&self, tokens: Tensor<2, Int>, at: &Positions) -> Tensor<3> {
        let x = self.with_patches(tokens, at);
        let x = match &self.prompt {
            None => x,
            Some(prompt) => {
                let [batch, _, hidden] = x.dims();
                let length = self.prompt_length();
                let before = scaled(prompt.value.clone().unsqueeze::<3>(), self.config.prompt_multiplier());
                let before = before.expand([batch, length, hidden]);
                Tensor::cat(vec![before, x], 1)
            }
        };
        self.placed(x, at)
    }

    /// The vectors of tokens; of an image that of its first token, and behind it those of its patches.
    fn with_patches(&self, tokens: Tensor<2, Int>, at: &Positions) -> Tensor<3> {
        match self.embed_patches.as_ref().zip(at.patches.as_ref()) {
            None => self.embed(tokens),
            Some((embed, patches)) => {
                let patches = embed.forward(patches.clone(), &self.inference_context(0));
                Tensor::cat(vec![self.embed(tokens.narrow(1, 0, 1)), patches], 1)
            }
        }
    }

    /// What enters the first block: `x` and the embeddings of its positions, where the model has such.
    pub(crate) fn at_positions(&self, x: Tensor<3>, at: &Positions) -> Tensor<3> {
        self.normed_input(self.placed(x, at))
    }

    fn normed_input(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.embed_norm {
            None => x,
            Some(norm) => norm.forward(x, &self.inference_context(0)),
        }
    }

    /// `x` and the embeddings of its positions, and of which text of a pair it is of.
    fn placed(&self, x: Tensor<3>, at: &Positions) -> Tensor<3> {
        let rows = |table: &Embedding, ids: &Tensor<2, Int>| {
            let [batch, seq] = ids.dims();
            table.rows(ids.clone().reshape([batch * seq])).reshape([batch, seq, self.config.hidden_size])
        };
        let x = match self.embed_positions.as_ref().zip(at.position_ids.as_ref()) {
            None => x,
            Some((table, ids)) => x + rows(table, ids),
        };
        let Some(table) = &self.embed_token_types else { return x };
        let ids = at.type_ids.clone().unwrap_or_else(|| Tensor::zeros([1, 1], &x.device()));
        x + rows(table, &ids)
    }

    /// `x` without the positions of the prompt.
    pub fn without_prompt(&self, x: Tensor<3>) -> Tensor<3> {
        match self.prompt_length() {
            0 => x,
            length => {
                let seq = x.dims()[1] - length;
                x.narrow(1, length, seq)
            }
        }
    }
}
