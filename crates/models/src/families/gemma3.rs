//! Gemma 3, of text: as Gemma 2, but that queries and keys of each head are normalised, scores have no cap, most blocks see
//! a window, and those have a base of their own for their rotary positions.

use super::common::{self, ATTENTION_BIAS, Decoder, QkNorm};
use super::gguf::GgufForm;
use super::{Family, Fields, gemma, gemma2, rope};
use crate::ModelConfig;
use crate::nn::Rope;

/// Biases where `attention_bias` says so.
pub const FAMILY: Family = Family {
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

const GGUF: GgufForm = GgufForm {
    architecture: "gemma3",
    slides: true,
    config: |keys, config| {
        config.insert("query_pre_attn_scalar".into(), gemma2::query_scalar(keys, 62)?.into());
        // None would be no window.
        config.insert("sliding_window".into(), keys.size("attention.sliding_window")?.into());
        let local = keys.number("rope.freq_base_swa")?.unwrap_or(1e4);
        config.insert("rope_local_base_freq".into(), local.into());
        config.insert("rope_theta".into(), keys.number("rope.freq_base")?.unwrap_or(1e6).into());
        let pattern = keys.size("attention.sliding_window_pattern")?.unwrap_or(6);
        config.insert("sliding_window_pattern".into(), pattern.into());
        if let Some(cap) = keys.number("final_logit_softcapping")? {
            config.insert("final_logit_softcapping".into(), cap.into());
        }
        Ok(())
    },
    keys: |model, keys| {
        if let Some(window) = model.window() {
            let sees_all = model.attention.iter().position(|kind| kind.window.is_none());
            keys.set("attention.sliding_window", window);
            keys.set("attention.sliding_window_pattern", sees_all.unwrap_or(model.num_hidden_layers) + 1);
        }
        let slides = model.attention.iter().find(|kind| kind.window.is_some());
        if let Some(rope) = slides.and_then(|kind| kind.rope.as_ref()) {
            keys.set("rope.freq_base_swa", rope.theta);
        }
        if let Some(cap) = model.final_logit_softcapping {
            keys.set("final_logit_softcapping", cap);
        }
    },
    ..gemma::GGUF
};

const GEMMA3: Decoder = Decoder { max_position_embeddings: 131_072, qk_norm: QkNorm::Head, ..gemma2::GEMMA2 };

/// `attn_logit_softcapping` is a key of the configuration that no model of the family applies.
pub(super) fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let mut config = gemma::decoder(family, fields, &GEMMA3)?;
    config.scores.scale = gemma::query_scale(fields)?;
    config.final_logit_softcapping = gemma::softcap(fields, "final_logit_softcapping", None)?;
    let layers = config.num_hidden_layers;
    let slides = match common::sliding_layers(fields, layers)? {
        Some(types) => types,
        None => {
            let pattern = fields.given_size("sliding_window_pattern")?.or(6, 6);
            (1..=layers).map(|count| count % pattern != 0).collect()
        }
    };
    config.slide(&common::windows(fields, &slides, Some(4096))?);
    let [full, sliding] = ropes(fields, config.max_position_embeddings)?;
    for (kind, slides) in config.attention.iter_mut().zip(slides) {
        kind.rope = Some(if slides { sliding.clone() } else { full.clone() });
    }
    Ok(config)
}

/// Of the blocks that see everything, and of those that see a window. Old files have the scaling and the base of the former
/// where other families have theirs.
fn ropes(fields: &Fields<'_>, context: usize) -> Result<[Rope; 2], String> {
    let new = fields.within("rope_parameters");
    let [full, sliding] = ["full_attention", "sliding_attention"].map(|kind| new.within(kind));
    let base = full.number_or("rope_theta", fields.number_or("rope_theta", 1e6)?)?;
    let full = if fields.get("rope_scaling").is_some() { fields.within("rope_scaling") } else { full };
    let local = fields.number_or("rope_local_base_freq", 1e4)?;
    Ok([rope::of(&full, fields, base, context)?, rope::of(&sliding, fields, local, context)?])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(more: Value) -> ModelConfig {
        let mut json = json!({"model_type": "gemma3_text", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
                              "num_hidden_layers": 3, "num_attention_heads": 4});
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ModelConfig::from_json(&json, "config.json").unwrap()
    }

    #[test]
    fn old_and_new_spellings_of_positions_say_the_same() {
        let linear = json!({"rope_type": "linear", "factor": 8.0});
        let old = read(json!({"rope_scaling": linear, "rope_theta": 5e5, "rope_local_base_freq": 2e4,
                              "sliding_window": 7, "sliding_window_pattern": 3}));
        let full = json!({"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5});
        let sliding = json!({"rope_type": "default", "rope_theta": 2e4});
        let types = json!(["sliding_attention", "sliding_attention", "full_attention"]);
        let new = read(json!({"rope_parameters": {"full_attention": full, "sliding_attention": sliding},
                              "layer_types": types, "sliding_window": 7}));
        assert_eq!(old.attention, new.attention);
        assert_eq!(old.attention[0].rope.clone().unwrap(), Rope { theta: 2e4, scaling: None });
        assert!(old.attention[2].rope.as_ref().unwrap().scaling.is_some() && old.attention[2].window.is_none());
    }

    #[test]
    fn what_is_absent_has_the_defaults_of_the_family() {
        let config = read(json!({}));
        assert!(
            config.attention.iter().all(|kind| kind.window == Some(4096) && kind.rope.as_ref().unwrap().theta == 1e4)
        );
        assert_eq!((config.head_dim, config.scores.scale, config.scores.softcap), (256, 0.0625, None));
        assert_eq!(config.final_logit_softcapping, None);
        let full = read(json!({"sliding_window_pattern": 1})).attention[0].clone();
        assert_eq!((full.window, full.rope.unwrap().theta), (None, 1e6));
    }
}
