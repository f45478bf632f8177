//! Gemma 1: gains of norms are 1 + weight, embeddings are multiplied by the root of their width, and gelu for silu.

use serde_json::Value;
use stratune_kernels::Activation;

use super::common::{self, ATTENTION_BIAS, Decoder, LLAMA};
use super::gguf::{self, GgufForm};
use super::{Family, Fields};
use crate::ModelConfig;

/// Biases where `attention_bias` says so.
pub const FAMILY: Family = Family {
    model_type: "gemma",
    class: "GemmaForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

/// Files hold what norms multiply by.
pub(super) const GGUF: GgufForm = GgufForm { architecture: "gemma", added_to_norms: 1.0, ..gguf::PLAIN };

/// What the first Gemma is, and those after it change.
pub(super) const GEMMA: Decoder = Decoder {
    num_key_value_heads: |_| 16,
    head_dim: |_, _| 256,
    max_position_embeddings: 8192,
    activation: ("hidden_act", "gelu_pytorch_tanh"),
    tie_word_embeddings: true,
    ..LLAMA
};

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let mut config = decoder(family, fields, &GEMMA)?;
    // The first files say gelu and mean what their model was trained with, the approximation of it.
    if config.activation == Activation::Gelu {
        config.activation = Activation::GeluTanh;
    }
    Ok(config)
}

/// Of any Gemma.
pub(super) fn decoder(family: &'static Family, fields: &Fields<'_>, of: &Decoder) -> Result<ModelConfig, String> {
    if fields.flag_or("use_bidirectional_attention", false)? {
        return Err("use_bidirectional_attention is true, and causal attention alone is computed".into());
    }
    let mut config = common::read(family, fields, of)?;
    config.zero_centered_norms = true;
    // In f32, as transformers has it for weights in f32: in bf16 it would round the root first.
    config.embedding_multiplier = (config.hidden_size as f64).sqrt();
    Ok(config)
}

/// What scores are divided by the root of.
pub(super) fn query_scale(fields: &Fields<'_>) -> Result<f32, String> {
    let scalar = fields.given("query_pre_attn_scalar", "positive number", positive)?.or(256.0, 256.0);
    Ok(scalar.sqrt().recip() as f32)
}

/// What a key says no number goes beyond; `absent` where it is not there.
pub(super) fn softcap(fields: &Fields<'_>, key: &str, absent: Option<f64>) -> Result<Option<f64>, String> {
    fields.given(key, "positive number", |value| positive(value).map(Some)).map(|softcap| softcap.or(absent, None))
}

fn positive(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| *number > 0.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({"model_type": "gemma", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
               "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": null})
    }

    #[test]
    fn gelu_means_its_approximation() {
        for name in ["gelu", "gelu_pytorch_tanh"] {
            let mut json = base();
            json["hidden_act"] = name.into();
            let config = ModelConfig::from_json(&json, "config.json").unwrap();
            assert_eq!(config.activation, Activation::GeluTanh);
        }
    }

    #[test]
    fn attention_that_is_not_causal_is_refused() {
        let mut json = base();
        json["use_bidirectional_attention"] = true.into();
        let problem = ModelConfig::from_json(&json, "config.json").unwrap_err();
        assert!(problem.what.contains("use_bidirectional_attention"), "{problem}");
    }
}
