//! Qwen 3: queries and keys of each head are normalised, and heads have a width of their own.

use super::common::{self, ATTENTION_BIAS, Decoder, LLAMA, QkNorm};
use super::gguf::{self, GgufForm};
use super::{Family, Fields, qwen2};
use crate::ModelConfig;

/// Biases where `attention_bias` says so.
pub const FAMILY: Family = Family {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

const GGUF: GgufForm = GgufForm { architecture: "qwen3", ..gguf::PLAIN };

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let qwen3 = Decoder {
        num_key_value_heads: |_| 32,
        head_dim: |_, _| 128,
        max_position_embeddings: 32_768,
        qk_norm: QkNorm::Head,
        ..LLAMA
    };
    let mut config = common::read(family, fields, &qwen3)?;
    config.slide(&qwen2::windows(fields, config.num_hidden_layers)?);
    Ok(config)
}
