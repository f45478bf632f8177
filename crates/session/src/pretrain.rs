//! Making a small model from nothing: its tokenizer, and how well it knows held-out text.

use stratune_data::{Dataset, Tokenizer};
use stratune_protocol::{Problem, ProblemKind};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerBuilder};

/// The end-of-text token of tokenizers made here.
const END: &str = "<|endoftext|>";

/// Learns a byte-level BPE of `vocabulary` tokens from texts (Sennrich et al. 2016, on bytes as in GPT-2). Gives
/// `tokenizer.json` and `tokenizer_config.json`.
///
/// # Errors
/// There is too little text for so many tokens.
pub fn learn_tokenizer(texts: &[&str], vocabulary: usize) -> Result<(Vec<u8>, Vec<u8>), Problem> {
    let failed =
        |e: tokenizers::Error| Problem::new(ProblemKind::Internal, format!("the tokenizer cannot be learned: {e}"));
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::normalizers::NFC>)
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_post_processor(None::<ByteLevel>)
        .with_decoder(Some(ByteLevel::default()))
        .build()
        .map_err(failed)?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocabulary)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts.iter()).map_err(failed)?;
    let got = tokenizer.get_vocab_size(true);
    if got != vocabulary {
        return Err(Problem::input(format!("the text gives a vocabulary of {got} tokens, not {vocabulary}"))
            .next("give more text, or lower vocab_size in config.json"));
    }
    let json = tokenizer.to_string(true).map_err(failed)?;
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "bos_token": null,
        "add_bos_token": false,
        "clean_up_tokenization_spaces": false,
    });
    Ok((json.into_bytes(), format!("{config:#}\n").into_bytes()))
}

/// How well a model knows text, whatever its tokenizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BitsPerByte {
    /// Bits a byte.
    pub bits_per_byte: f64,
    /// Bytes it was measured on.
    pub bytes: usize,
}

/// Turns the mean loss over a dataset's held-out rows into bits a byte of their text.
///
/// # Errors
/// A token cannot be decoded.
pub fn bits_per_byte(dataset: &Dataset, tokenizer: &Tokenizer, loss: f64) -> Result<BitsPerByte, Problem> {
    let (mut bytes, mut tokens) = (0, 0);
    for row in &dataset.validation {
        let labels: Vec<u32> = row.tokens.iter().zip(&row.loss_mask).filter(|(_, l)| **l).map(|(t, _)| *t).collect();
        tokens += labels.len();
        bytes += tokenizer.decode(&labels)?.len();
    }
    let bits_per_byte = loss * tokens as f64 / (bytes.max(1) as f64 * std::f64::consts::LN_2);
    Ok(BitsPerByte { bits_per_byte, bytes })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_learned_tokenizer_gives_back_every_byte() {
        let text = "the cat sat on the mat; the dog sat on the log. ".repeat(40);
        let (json, config) = learn_tokenizer(&[&text], 270).unwrap();
        let tokenizer = Tokenizer::from_json(&json, Some(&config), "tokenizer.json").unwrap();
        assert_eq!(tokenizer.vocabulary(), 270);
        assert!(tokenizer.eos().is_some() && tokenizer.bos().is_none());
        for sample in ["the cat", "žluťoučký kůň 🐎\n\ttab", " the  log"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(sample).unwrap()).unwrap(), sample);
        }
        assert!(tokenizer.encode("the cat sat").unwrap().len() <= 5, "merges are used");
        assert!(learn_tokenizer(&["abc"], 5000).unwrap_err().what.contains("vocabulary"));
    }
}
