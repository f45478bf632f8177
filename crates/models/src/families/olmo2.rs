//! OLMo 2: norms of what attention and feed-forward give alone, and of all queries and all keys at once.

use super::common::{self, ATTENTION_BIAS, Decoder, LLAMA, Norms, QkNorm};
use super::gguf::{self, GgufForm};
use super::{Family, Fields};
use crate::ModelConfig;

/// Biases where `attention_bias` says so.
pub const FAMILY: Family = Family {
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

const GGUF: GgufForm = GgufForm { architecture: "olmo2", ..gguf::PLAIN };

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let olmo2 = Decoder { rms_norm_eps: 1e-5, norms: Norms::Post, qk_norm: QkNorm::Whole, ..LLAMA };
    common::read(family, fields, &olmo2)
}
