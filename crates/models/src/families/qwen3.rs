//! Qwen 3: queries and keys of each head are normalised, and heads have a width of their own.

use stratune_protocol::Role;

use super::common::{self, Defaults, Switches};
use super::{Family, Fields, qwen2};
use crate::ModelConfig;

/// Biases where `attention_bias` says so.
pub const FAMILY: Family = Family {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    read,
    bias_keys: &[("attention_bias", &[Role::Query, Role::Key, Role::Value, Role::Output])],
};

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let defaults = Defaults {
        num_key_value_heads: |_| 32,
        head_dim: |_, _| 128,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        max_position_embeddings: 32_768,
    };
    let mut config = common::decoder(family, fields, &defaults)?;
    config.windows = qwen2::windows(fields, config.num_hidden_layers)?;
    let biased = fields.flag_or("attention_bias", false)?;
    let bias = |role: Role| biased && role.part() == Some("attention");
    let tied = fields.flag_or("tie_word_embeddings", false)?;
    config.modules = common::modules(&config, &Switches { bias: &bias, qk_norm: true, tied });
    Ok(config)
}
