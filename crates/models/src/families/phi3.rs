//! Phi-3 to Phi-4: queries, keys and values are made by one matrix, and both halves of the feed-forward by another; where
//! `partial_rotary_factor` says so, a part of each head is rotated.

use serde_json::Value;

use super::common::{self, Decoder, LLAMA};
use super::gguf::{self, GgufForm};
use super::{Family, Fields, rope};
use crate::ModelConfig;

/// No biases.
pub const FAMILY: Family = Family {
    model_type: "phi3",
    class: "Phi3ForCausalLM",
    read,
    bias_keys: &[],
    file_names: &[],
    file_name: None,
    gguf: Some(&GGUF),
};

/// The window of these files counts, though llama.cpp leaves it out: the model was made with it. Where there is none they say 0.
const GGUF: GgufForm = GgufForm {
    architecture: "phi3",
    slides: true,
    rotary_share: Some("partial_rotary_factor"),
    config: |keys, config| {
        let window = keys.number("attention.sliding_window")?.filter(|window| *window > 0.0);
        config.insert("sliding_window".into(), window.map(|window| window as u64).into());
        Ok(())
    },
    keys: |model, keys| keys.set("attention.sliding_window", model.window().unwrap_or(0)),
    ..gguf::PLAIN
};

/// Every block slides where there is a `sliding_window`.
fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let json = with_todays_name(fields.0);
    let fields = Fields(&json);
    let phi3 = Decoder { rms_norm_eps: 1e-5, max_position_embeddings: 4096, fused: true, ..LLAMA };
    let mut config = common::read(family, &fields, &phi3)?;
    config.rotary_dim = rope::rotated(&fields, config.head_dim, 1.0)?;
    let slides = match common::sliding_layers(&fields, config.num_hidden_layers)? {
        Some(types) => types,
        None => vec![true; config.num_hidden_layers],
    };
    config.slide(&common::windows(&fields, &slides, None)?);
    Ok(config)
}

/// LongRoPE was once called `su`, and in some files of this family `yarn`.
fn with_todays_name(json: &Value) -> Value {
    let mut json = json.clone();
    for (part, key) in [("rope_scaling", "type"), ("rope_scaling", "rope_type"), ("rope_parameters", "rope_type")] {
        let kind = json.get(part).and_then(|scaling| scaling.get(key)).and_then(Value::as_str);
        if matches!(kind, Some("su" | "yarn")) {
            json[part][key] = "longrope".into();
        }
    }
    json
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;
    use stratune_protocol::Role;

    use super::*;
    use crate::nn::RopeScaling;

    fn base() -> Value {
        json!({"model_type": "phi3", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
               "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
               "max_position_embeddings": 128})
    }

    #[test]
    fn layers_are_fused() {
        let config = ModelConfig::from_json(&base(), "config.json").unwrap();
        let module =
            |role| config.module(Some(1), role).map(|module| (module.name().to_string(), module.shape.clone()));
        assert_eq!(module(Role::QueryKeyValue), Some(("qkv_proj".into(), vec![64, 32])));
        assert_eq!(module(Role::GateUp), Some(("gate_up_proj".into(), vec![96, 32])));
        assert_eq!((module(Role::Query), module(Role::Up)), (None, None));
        assert!(config.attention.iter().all(|kind| kind.window.is_none()));
    }

    #[test]
    fn positions_of_each_year_say_the_same() {
        let lists = json!({"short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 4.0, 8.0]});
        let read = |scaling: &str, kind: &str, more: Value| {
            let mut json = base();
            json[scaling] = lists.clone();
            json[scaling][kind.split_once('=').unwrap().0] = kind.split_once('=').unwrap().1.into();
            json[scaling]["partial_rotary_factor"] = more["partial_rotary_factor"].clone();
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ModelConfig::from_json(&json, "config.json").unwrap()
        };
        let more = json!({"original_max_position_embeddings": 16, "partial_rotary_factor": 0.75});
        let want = read("rope_parameters", "rope_type=longrope", more.clone());
        assert_eq!((want.head_dim, want.rotary_dim), (8, 6));
        let Some(RopeScaling::LongRope(long)) = want.attention[0].rope.clone().unwrap().scaling else { unreachable!() };
        // √(1 + ln 8 / ln 16) of a context that is 8 times longer.
        assert!((long.attention_factor - 1.75_f64.sqrt()).abs() < 1e-12, "{long:?}");
        for (part, kind) in
            [("rope_scaling", "type=su"), ("rope_scaling", "type=yarn"), ("rope_scaling", "rope_type=su")]
        {
            let config = read(part, kind, more.clone());
            assert_eq!((config.attention, config.rotary_dim), (want.attention.clone(), 6), "{kind}");
        }
        let mut wrong = base();
        wrong["rope_scaling"] = lists;
        wrong["rope_scaling"]["type"] = "longrope".into();
        assert!(ModelConfig::from_json(&wrong, "").unwrap_err().what.contains("pairs that rotate"));
    }
}
