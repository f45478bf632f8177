//! Where the tokens of a pass are: what its blocks need of positions.

use burn::tensor::{Tensor, TensorData};

use super::Model;
use crate::nn::{KvCache, PackedTexts, Positions, Rotaries};

impl Model {
    /// What the blocks need for `seq` new tokens after `past` earlier ones. A prompt counts among the new tokens at the
    /// beginning of a text, prefixes among the earlier ones.
    pub fn positions(&self, seq: usize, past: usize) -> Positions {
        self.positions_of([seq, 0], past)
    }

    /// The same for rows from their beginning, of `width` tokens of which at most `longest` are of a text.
    pub fn padded_positions(&self, width: usize, longest: usize) -> Positions {
        self.positions_of([width, width.saturating_sub(longest)], 0)
    }

    fn positions_of(&self, [seq, padding]: [usize; 2], past: usize) -> Positions {
        if let Some(at) = self.decoder_positions(seq, past) {
            return at;
        }
        let (seq, past) = if past == 0 { (seq + self.prompt_length(), 0) } else { (seq, past + self.prompt_length()) };
        let pasts = self.pasts(past);
        let mut at = self.with_ladder(|rotaries| Positions::new(rotaries, [seq, padding], &pasts, &self.device()));
        if self.embed_positions.is_some() {
            let past = pasts.into_iter().max().unwrap_or(past);
            // Those beyond the last can only be padding.
            let (first, last) = (self.config.first_position, self.config.max_position_embeddings.saturating_sub(1));
            let ids: Vec<i32> = (past..past + seq).map(|position| (first + position.min(last)) as i32).collect();
            at.position_ids = Some(Tensor::from_data(TensorData::new(ids, [1, seq]), &self.device()));
        }
        at
    }

    /// How many positions come before the tokens that follow `past`, in each block.
    pub(crate) fn pasts(&self, past: usize) -> Vec<usize> {
        let prefixes = self.layers.iter().filter_map(|block| block.self_attn.prefix.as_ref());
        prefixes.map(|prefix| past + prefix.length()).chain([past]).collect()
    }

    /// Whether what caches hold of a text of `before` tokens does for one of `after`: some models rotate the keys of long
    /// texts otherwise.
    pub fn caches_last(&self, before: usize, after: usize) -> bool {
        let [before, after] = [before, after].map(|tokens| self.pasts(tokens + self.prompt_length()));
        before.into_iter().zip(after).all(|(before, after)| !self.rotaries.differ(before, after))
    }

    /// What the blocks need for rows of several texts from their beginning, if the model [can_pack](Self::can_pack)
    /// them.
    pub fn packed_positions(&self, texts: &PackedTexts) -> Positions {
        let pasts = self.pasts(0);
        let texts = match self.prompt_length() {
            0 => texts,
            length => &texts.behind(length),
        };
        let mut at = self.with_ladder(|rotaries| Positions::of_packed(rotaries, texts, &pasts));
        let (first, past) = (self.config.first_position, pasts.into_iter().max().unwrap_or(0));
        let positions = || texts.position_ids.clone().add_scalar((first + past) as i64);
        at.position_ids = self.embed_positions.as_ref().map(|_| positions());
        at
    }

    /// The same positions in the heads of the model, and in those of the ladder beside it.
    pub(crate) fn with_ladder(&self, of: impl Fn(&Rotaries) -> Positions) -> Positions {
        let mut at = of(&self.rotaries);
        at.side = self.ladder.as_ref().map(|ladder| Box::new(of(&ladder.rotaries)));
        at
    }

    /// Tokens of the text that caches hold.
    pub(crate) fn text_length(&self, caches: &[KvCache]) -> usize {
        let (Some(cache), Some(block)) = (caches.first(), self.layers.get(self.config.encoder_layers())) else {
            return 0;
        };
        let prefix = block.self_attn.prefix.as_ref().map_or(0, |p| p.length());
        cache.len().saturating_sub(prefix + self.prompt_length())
    }
}
