//! GPT-2: learned positions, norms with biases, one matrix for queries, keys and values, a feed-forward that is not gated.
//! Files have the matrices of its blocks as `[in, out]`.

use serde_json::Value;
use stratune_protocol::{Module, Role};

use super::common::{self, Decoder, LLAMA};
use super::gguf::{self, GgufForm};
use super::{Family, Fields};
use crate::ModelConfig;

/// Biases everywhere. The masks that old files have beside them (`attn.bias`, `attn.masked_bias`) are not read.
pub const FAMILY: Family = Family {
    model_type: "gpt2",
    class: "GPT2LMHeadModel",
    read,
    bias_keys: &[],
    file_names: &[],
    file_name: None,
    gguf: Some(&GGUF),
};

/// Matrices are `[out, in]` there. The width of the feed-forward that the metadata say is four times the model's, whatever it is.
const GGUF: GgufForm = GgufForm {
    architecture: "gpt2",
    epsilon: ["attention.layer_norm_epsilon", "layer_norm_epsilon"],
    config: |keys, config| {
        for (key, llama) in KEYS {
            if let Some(value) = config.remove(llama) {
                config.insert(key.into(), value);
            }
        }
        config.insert("n_inner".into(), keys.rows("blk.0.ffn_up.weight").into());
        for key in ["num_key_value_heads", "head_dim", "rope_theta"] {
            config.remove(key);
        }
        Ok(())
    },
    biased: &Role::LINEAR,
    needs_biases: true,
    ..gguf::PLAIN
};

const GPT2: Decoder = Decoder {
    rms_norm_eps: 1e-5,
    max_position_embeddings: 1024,
    activation: ("activation_function", "gelu_new"),
    tie_word_embeddings: true,
    ..LLAMA
};

/// Its keys, and what Llama calls the same.
const KEYS: [(&str, &str); 6] = [
    ("n_embd", "hidden_size"),
    ("n_layer", "num_hidden_layers"),
    ("n_head", "num_attention_heads"),
    ("n_positions", "max_position_embeddings"),
    ("n_inner", "intermediate_size"),
    ("layer_norm_epsilon", "rms_norm_eps"),
];

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    if fields.flag_or("add_cross_attention", false)? {
        return Err("add_cross_attention is true, which is not computed".into());
    }
    let json = as_llama(fields)?;
    let mut config = common::read(family, &Fields(&json), &GPT2)?;
    config.json = fields.0.clone();
    config.centring_norms = true;
    config.attention.iter_mut().for_each(|kind| kind.rope = None);
    if !fields.flag_or("scale_attn_weights", true)? {
        config.scores.scale = 1.0;
    }
    config.scores_by_depth = fields.flag_or("scale_attn_by_inverse_layer_idx", false)?;
    config.modules = modules(&config, fields.flag_or("tie_word_embeddings", true)?);
    Ok(config)
}

/// Its keys by Llama's names. Key heads and the width of a head are none of its keys: they follow.
fn as_llama(fields: &Fields<'_>) -> Result<Value, String> {
    let mut json = fields.0.clone();
    if let Some(json) = json.as_object_mut() {
        json.remove("num_key_value_heads");
        json.remove("head_dim");
        json.remove("intermediate_size");
        for (key, llama) in KEYS {
            if let Some(value) = fields.get(key) {
                json.insert(llama.into(), value.clone());
            }
        }
    }
    if json.get("intermediate_size").is_none() {
        json["intermediate_size"] = (4 * Fields(&json).size("hidden_size")?).into();
    }
    let [d, heads] = ["hidden_size", "num_attention_heads"].map(|key| Fields(&json).size(key));
    let (d, heads) = (d?, heads?);
    match d.is_multiple_of(heads) {
        true => Ok(json),
        false => Err(format!("n_embd {d} is not a multiple of n_head {heads}")),
    }
}

fn modules(config: &ModelConfig, tied: bool) -> Vec<Module> {
    let (d, m) = (config.hidden_size, config.intermediate_size);
    let table = |path: &str, role, rows| common::module(None, path.into(), role, vec![rows, d], false);
    let mut all = vec![
        table("transformer.wte", Role::Embedding, config.vocab_size),
        table("transformer.wpe", Role::PositionEmbedding, config.max_position_embeddings),
    ];
    for i in 0..config.num_hidden_layers {
        for (name, role, shape) in [
            ("ln_1", Role::AttentionNorm, vec![d]),
            ("attn.c_attn", Role::QueryKeyValue, vec![3 * d, d]),
            ("attn.c_proj", Role::Output, vec![d, d]),
            ("ln_2", Role::MlpNorm, vec![d]),
            ("mlp.c_fc", Role::Up, vec![m, d]),
            ("mlp.c_proj", Role::Down, vec![d, m]),
        ] {
            let module = common::module(Some(i), format!("transformer.h.{i}.{name}"), role, shape, true);
            all.push(Module { transposed: role.is_linear(), ..module });
        }
    }
    all.push(common::module(None, "transformer.ln_f".into(), Role::FinalNorm, vec![d], true));
    if !tied {
        all.push(table("lm_head", Role::Head, config.vocab_size));
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({"model_type": "gpt2", "vocab_size": 96, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 40,
               "n_inner": null, "layer_norm_epsilon": 1e-4})
    }

    #[test]
    fn its_keys_are_those_of_others_by_other_names() {
        let config = ModelConfig::from_json(&base(), "config.json").unwrap();
        assert_eq!((config.hidden_size, config.intermediate_size, config.head_dim), (32, 128, 8));
        assert_eq!((config.num_hidden_layers, config.max_position_embeddings, config.norm_eps), (3, 40, 1e-4));
        assert!(config.attention.iter().all(|kind| kind.rope.is_none()));
        let linear = |module: &&Module| module.role.is_linear();
        assert!(config.modules.iter().filter(linear).all(|module| module.transposed && module.bias));
        let fc = config.layout().into_iter().find(|entry| entry.name == "transformer.h.2.mlp.c_fc.weight").unwrap();
        assert_eq!((fc.shape.clone(), fc.file_shape()), (vec![128, 32], vec![32, 128]));
        assert!(config.names_in_files(&fc.name).contains(&"h.2.mlp.c_fc.weight".to_string()));
    }

    #[test]
    fn scores_may_be_scaled_otherwise() {
        let with = |key: &str, value: bool| {
            let mut json = base();
            json[key] = value.into();
            let config = ModelConfig::from_json(&json, "config.json").unwrap();
            [0, 2].map(|i| config.scores_of(i).scale)
        };
        assert_eq!(with("scale_attn_weights", false), [1.0, 1.0]);
        let by_depth = with("scale_attn_by_inverse_layer_idx", true);
        assert!((by_depth[0] / by_depth[1] - 3.0).abs() < 1e-6, "{by_depth:?}");
        let mut crossed = base();
        crossed["add_cross_attention"] = true.into();
        assert!(ModelConfig::from_json(&crossed, "").unwrap_err().what.contains("add_cross_attention"));
    }
}
