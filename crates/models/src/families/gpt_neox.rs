//! GPT-NeoX, and Pythia: attention and feed-forward read the same, norms have biases, a part of each head is rotated, and
//! one matrix makes queries, keys and values, head by head.

use serde_json::Value;
use stratune_protocol::{Module, Role};

use super::common::{self, Decoder, LLAMA};
use super::gguf::{self, GgufForm};
use super::{Family, Fields, rope};
use crate::ModelConfig;

/// Biases in the attention unless `attention_bias` says no, and in the feed-forward. transformers calls `embed_out` in files
/// `lm_head` in its modules.
pub const FAMILY: Family = Family {
    model_type: "gpt_neox",
    class: "GPTNeoXForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS],
    file_names: &[("embed_out.", "lm_head.")],
    gguf: Some(&GGUF),
    file_name: None,
};

/// No key says the base of the wavelengths.
const GGUF: GgufForm = GgufForm {
    architecture: "gptneox",
    rotary_share: Some("rotary_pct"),
    epsilon: ["attention.layer_norm_epsilon", "layer_norm_eps"],
    config: |keys, config| {
        let parallel = keys.flag("use_parallel_residual")?.unwrap_or(true);
        config.insert("use_parallel_residual".into(), parallel.into());
        // Where it is not said, a quarter rotates.
        config.entry("rotary_pct").or_insert(1.0.into());
        let theta = config.remove("rope_theta");
        config.insert("rotary_emb_base".into(), theta.into());
        for key in ["num_key_value_heads", "head_dim"] {
            config.remove(key);
        }
        Ok(())
    },
    keys: |model, keys| keys.set("use_parallel_residual", model.parallel),
    biased: &Role::LINEAR,
    needs_biases: true,
    ..gguf::PLAIN
};

const ATTENTION_BIAS: (&str, &[Role]) = ("attention_bias", &[Role::QueryKeyValue, Role::Output]);

const NEOX: Decoder = Decoder { rms_norm_eps: 1e-5, activation: ("hidden_act", "gelu"), ..LLAMA };

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let json = as_llama(fields);
    let mut config = common::read(family, &Fields(&json), &NEOX)?;
    config.json = fields.0.clone();
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let (d, heads) = (config.hidden_size, config.num_attention_heads);
        return Err(format!("hidden_size {d} is not a multiple of num_attention_heads {heads}"));
    }
    config.centring_norms = true;
    config.heads_apart = true;
    config.parallel = fields.flag_or("use_parallel_residual", true)?;
    config.rotary_dim = rope::rotated(fields, config.head_dim, fields.number_or("rotary_pct", 0.25)?)?;
    let biased = fields.flag_or("attention_bias", true)?;
    config.modules = modules(&config, biased, fields.flag_or("tie_word_embeddings", false)?);
    Ok(config)
}

/// Its keys by Llama's names. Key heads and the width of a head are none of its keys: they follow.
fn as_llama(fields: &Fields<'_>) -> Value {
    let mut json = fields.0.clone();
    if let Some(json) = json.as_object_mut() {
        json.remove("num_key_value_heads");
        json.remove("head_dim");
        for (key, llama) in [("layer_norm_eps", "rms_norm_eps"), ("rotary_emb_base", "rope_theta")] {
            if let Some(value) = fields.get(key) {
                json.insert(llama.into(), value.clone());
            }
        }
    }
    json
}

fn modules(config: &ModelConfig, attention_bias: bool, tied: bool) -> Vec<Module> {
    let (d, m, vocabulary) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let table = |path: &str, role| common::module(None, path.into(), role, vec![vocabulary, d], false);
    let mut all = vec![table("gpt_neox.embed_in", Role::Embedding)];
    for i in 0..config.num_hidden_layers {
        for (name, role, shape, bias) in [
            ("input_layernorm", Role::AttentionNorm, vec![d], true),
            ("attention.query_key_value", Role::QueryKeyValue, vec![3 * d, d], attention_bias),
            ("attention.dense", Role::Output, vec![d, d], attention_bias),
            ("post_attention_layernorm", Role::MlpNorm, vec![d], true),
            ("mlp.dense_h_to_4h", Role::Up, vec![m, d], true),
            ("mlp.dense_4h_to_h", Role::Down, vec![d, m], true),
        ] {
            all.push(common::module(Some(i), format!("gpt_neox.layers.{i}.{name}"), role, shape, bias));
        }
    }
    all.push(common::module(None, "gpt_neox.final_layer_norm".into(), Role::FinalNorm, vec![d], true));
    if !tied {
        all.push(table("embed_out", Role::Head));
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(more: Value) -> ModelConfig {
        let mut json = json!({"model_type": "gpt_neox", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 48,
                              "num_hidden_layers": 3, "num_attention_heads": 4});
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ModelConfig::from_json(&json, "config.json").unwrap()
    }

    #[test]
    fn old_and_new_spellings_say_the_same() {
        let old = read(json!({"rotary_pct": 0.5, "rotary_emb_base": 5000, "layer_norm_eps": 1e-4}));
        let new = read(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0,
                                                  "partial_rotary_factor": 0.5}, "layer_norm_eps": 1e-4}));
        assert_eq!((old.rotary_dim, &old.attention), (8, &new.attention));
        assert_eq!((new.rotary_dim, new.norm_eps, old.norm_eps), (8, 1e-4, 1e-4));
    }

    #[test]
    fn what_is_absent_has_the_defaults_of_the_family() {
        let config = read(json!({}));
        assert_eq!((config.rotary_dim, config.head_dim, config.parallel, config.norm_eps), (4, 16, true, 1e-5));
        let of = |config: &ModelConfig, role| config.module(Some(0), role).unwrap().bias;
        assert!(of(&config, Role::QueryKeyValue) && of(&config, Role::Up));
        assert_eq!(config.module(None, Role::Head).unwrap().path, "embed_out");
        let bare = read(json!({"attention_bias": false, "use_parallel_residual": false}));
        assert!(!of(&bare, Role::Output) && of(&bare, Role::Down) && !bare.parallel);
    }
}
