//! Arcee's AFM: Llama with a feed-forward that is not gated.

use super::common::{self, ATTENTION_BIAS, Decoder, LLAMA, MLP_BIAS};
use super::gguf::{self, GgufForm};
use super::{Family, Fields};
use crate::ModelConfig;

/// Biases where `attention_bias` and `mlp_bias` say so.
pub const FAMILY: Family = Family {
    model_type: "arcee",
    class: "ArceeForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS, MLP_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

const GGUF: GgufForm = GgufForm { architecture: "arcee", alternating: true, ..gguf::PLAIN };

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let arcee = Decoder {
        rms_norm_eps: 1e-5,
        max_position_embeddings: 4096,
        activation: ("hidden_act", "relu2"),
        gated: false,
        ..LLAMA
    };
    common::read(family, fields, &arcee)
}
