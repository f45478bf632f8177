//! Gemma 2: norms of what attention and feed-forward read and of what they give, soft caps on scores and logits, and
//! every second block, from the first, sees a window.

use super::common::{self, ATTENTION_BIAS, Decoder, Norms};
use super::gguf::{GgufForm, Keys};
use super::{Family, Fields, gemma};
use crate::ModelConfig;

/// Biases where `attention_bias` says so.
pub const FAMILY: Family = Family {
    model_type: "gemma2",
    class: "Gemma2ForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

/// No key says what scores are divided by: the root of a head's width, but in the largest model.
const GGUF: GgufForm = GgufForm {
    architecture: "gemma2",
    slides: true,
    config: |keys, config| {
        config.insert("query_pre_attn_scalar".into(), query_scalar(keys, 46)?.into());
        config.insert("sliding_window".into(), keys.size("attention.sliding_window")?.unwrap_or(4096).into());
        for (key, absent) in [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)] {
            config.insert(key.into(), keys.number(key)?.unwrap_or(absent).into());
        }
        Ok(())
    },
    keys: |model, keys| {
        if let Some(window) = model.window() {
            keys.set("attention.sliding_window", window);
        }
        let scores = model.scores.softcap.map(f64::from);
        let caps = [("attn_logit_softcapping", scores), ("final_logit_softcapping", model.final_logit_softcapping)];
        for (key, cap) in caps {
            // Where the key is not there, there is a cap, too: no file says that there is none.
            cap.into_iter().for_each(|cap| keys.set(key, cap));
        }
    },
    ..gemma::GGUF
};

/// What scores are divided by the root of: a head's width, and the model's width by its heads in the model of so many blocks.
pub(super) fn query_scalar(keys: &Keys<'_>, largest: usize) -> Result<usize, String> {
    if keys.needed("block_count")? == largest {
        return Ok(keys.needed("embedding_length")? / keys.needed("attention.head_count")?);
    }
    keys.head_dim()
}

/// What the second Gemma is, and the third changes.
pub(super) const GEMMA2: Decoder = Decoder {
    num_key_value_heads: |_| 4,
    activation: ("hidden_activation", "gelu_pytorch_tanh"),
    norms: Norms::Sandwich,
    ..gemma::GEMMA
};

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let mut config = gemma::decoder(family, fields, &GEMMA2)?;
    config.scores.scale = gemma::query_scale(fields)?;
    config.scores.softcap = gemma::softcap(fields, "attn_logit_softcapping", Some(50.0))?.map(|softcap| softcap as f32);
    config.final_logit_softcapping = gemma::softcap(fields, "final_logit_softcapping", Some(30.0))?;
    let slides = match common::sliding_layers(fields, config.num_hidden_layers)? {
        Some(types) => types,
        None => (0..config.num_hidden_layers).map(|i| i % 2 == 0).collect(),
    };
    config.slide(&common::windows(fields, &slides, Some(4096))?);
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_absent_is_not_what_is_null() {
        let read = |key: &str, value: Value| {
            let mut json = json!({"model_type": "gemma2", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
                                  "num_hidden_layers": 3, "num_attention_heads": 4});
            json[key] = value;
            ModelConfig::from_json(&json, "config.json").unwrap()
        };
        let windows = |config: &ModelConfig| config.attention.iter().map(|kind| kind.window).collect::<Vec<_>>();
        let plain = read("hidden_act", "ignored".into());
        assert_eq!((plain.num_key_value_heads, plain.head_dim), (4, 256));
        assert_eq!((plain.scores.scale, plain.scores.softcap), (0.0625, Some(50.0)));
        assert_eq!(plain.final_logit_softcapping, Some(30.0));
        assert_eq!(windows(&plain), [Some(4096), None, Some(4096)]);
        assert_eq!(read("attn_logit_softcapping", Value::Null).scores.softcap, None);
        assert_eq!(read("final_logit_softcapping", Value::Null).final_logit_softcapping, None);
        assert_eq!(windows(&read("sliding_window", Value::Null)), [None; 3]);
        let types = json!(["full_attention", "full_attention", "sliding_attention"]);
        assert_eq!(windows(&read("layer_types", types)), [None, None, Some(4096)]);
        assert_eq!(read("query_pre_attn_scalar", 64.into()).scores.scale, 0.125);
    }
}
