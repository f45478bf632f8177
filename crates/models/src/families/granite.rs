//! Granite: embeddings, scores, what a block adds, and logits are multiplied by numbers of their own.

use super::common::{self, ATTENTION_BIAS, LLAMA, MLP_BIAS};
use super::gguf::{self, GgufForm};
use super::{Family, Fields};
use crate::ModelConfig;
use stratune_protocol::Role;

/// Biases where `attention_bias` and `mlp_bias` say so.
pub const FAMILY: Family = Family {
    model_type: "granite",
    class: "GraniteForCausalLM",
    read,
    bias_keys: &[ATTENTION_BIAS, MLP_BIAS],
    file_names: &[],
    gguf: Some(&GGUF),
    file_name: None,
};

const GGUF: GgufForm = GgufForm {
    architecture: "granite",
    alternating: true,
    config: |keys, config| {
        // What is not there or 0 is, in these files, as in Llama.
        let number = |key: &str| Ok::<_, String>(keys.number(key)?.filter(|number| *number != 0.0));
        let scale = number("attention.scale")?.unwrap_or((keys.head_dim()? as f64).sqrt().recip());
        config.insert("attention_multiplier".into(), scale.into());
        for (name, key) in [
            ("embedding_multiplier", "embedding_scale"),
            ("residual_multiplier", "residual_scale"),
            ("logits_scaling", "logit_scale"),
        ] {
            config.insert(name.into(), number(key)?.unwrap_or(1.0).into());
        }
        Ok(())
    },
    keys: |model, keys| {
        keys.set("attention.scale", f64::from(model.scores.scale));
        keys.set("embedding_scale", model.embedding_multiplier);
        keys.set("residual_scale", model.residual_multiplier);
        keys.set("logit_scale", model.logits_scaling);
    },
    biased: &Role::LINEAR,
    ..gguf::PLAIN
};

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let mut config = common::read(family, fields, &LLAMA)?;
    config.scores.scale = fields.number_or("attention_multiplier", 1.0)? as f32;
    config.embedding_multiplier = fields.number_or("embedding_multiplier", 1.0)?;
    config.multiplies_prompt = true;
    config.residual_multiplier = fields.number_or("residual_multiplier", 1.0)?;
    config.logits_scaling = fields.number_or("logits_scaling", 1.0)?;
    for (key, number) in
        [("embedding_multiplier", config.embedding_multiplier), ("logits_scaling", config.logits_scaling)]
    {
        if number == 0.0 {
            return Err(format!("{key} is 0"));
        }
    }
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_multipliers_are_one() {
        let mut json = json!({"model_type": "granite", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
                              "num_hidden_layers": 2, "num_attention_heads": 4});
        let config = ModelConfig::from_json(&json, "config.json").unwrap();
        assert_eq!((config.scores.scale, config.embedding_multiplier, config.logits_scaling), (1.0, 1.0, 1.0));
        json["logits_scaling"] = 0.into();
        assert!(ModelConfig::from_json(&json, "config.json").unwrap_err().what.contains("logits_scaling"));
    }
}
