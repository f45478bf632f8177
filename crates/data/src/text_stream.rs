//! Text as its tokens come.

use stratune_protocol::Problem;

use crate::Tokenizer;

/// Decodes an answer token by token; a character that spans tokens comes out whole.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The tokens of the last piece, which tell how the next ones join on, and those still to be told.
    ids: Vec<u32>,
    /// How many of them have been told.
    told: usize,
}

impl<'a> TextStream<'a> {
    /// Before the first token.
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), told: 0 }
    }

    /// The new piece of text that this token completes; empty while a character is incomplete.
    ///
    /// # Errors
    /// The tokenizer's decoder cannot put the tokens together.
    pub fn push(&mut self, id: u32) -> Result<String, Problem> {
        self.ids.push(id);
        let piece = self.rest()?;
        if piece.is_empty() || piece.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.ids.drain(..self.told);
        self.told = self.ids.len();
        Ok(piece)
    }

    /// What is left: an incomplete character, shown as a replacement mark.
    ///
    /// # Errors
    /// The tokenizer's decoder cannot put the tokens together.
    pub fn finish(self) -> Result<String, Problem> {
        self.rest()
    }

    /// The text of the tokens not yet told.
    fn rest(&self) -> Result<String, Problem> {
        let before = self.tokenizer.decode(&self.ids[..self.told])?;
        let all = self.tokenizer.decode(&self.ids)?;
        Ok(all.get(before.len()..).unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::testing::fixture;

    #[test]
    fn a_stream_never_tells_half_a_character_and_tells_all() {
        let tokenizer = fixture(&[]);
        let text = "naïve 東京, 🦀!";
        let mut stream = tokenizer.stream();
        let mut told = String::new();
        for id in tokenizer.encode(text).unwrap() {
            let piece = stream.push(id).unwrap();
            assert!(!piece.contains(char::REPLACEMENT_CHARACTER), "{piece:?}");
            told += &piece;
        }
        assert_eq!(told, text);
        assert_eq!(stream.finish().unwrap(), "");
        let mut half = tokenizer.stream();
        assert_eq!(half.push(tokenizer.encode("🦀").unwrap()[0]).unwrap(), "");
        assert!(!half.finish().unwrap().is_empty());
    }
}
