//! Hugging Face's `config.json`, checked.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratune_kernels::RotaryScaling;
use stratune_protocol::{ModelReport, Problem};

/// The geometry of a Llama model, named as in `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Tokens it knows.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key heads; as many as query heads if absent.
    #[serde(default)]
    pub num_key_value_heads: usize,
    /// Width of a head; `hidden_size / num_attention_heads` if absent.
    #[serde(default)]
    pub head_dim: usize,
    /// Added to the mean square in the norms.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary wavelengths.
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// How they are stretched, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Longest sequence it was made for.
    #[serde(default = "default_context")]
    pub max_position_embeddings: usize,
    /// Whether the output layer is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Whether the attention's linear layers have biases.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether the feed-forward's linear layers have biases.
    #[serde(default)]
    pub mlp_bias: bool,
}

/// `rope_scaling` of `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
pub enum RopeScaling {
    /// Llama 3's.
    Llama3 {
        /// How much longer the context is.
        factor: f64,
        /// Wavelengths above `original / this` are stretched.
        low_freq_factor: f64,
        /// Wavelengths below `original / this` stay.
        high_freq_factor: f64,
        /// The context it was first trained on.
        original_max_position_embeddings: f64,
    },
}

fn default_eps() -> f64 {
    1e-6
}

fn default_theta() -> f64 {
    10_000.0
}

fn default_context() -> usize {
    2048
}

impl LlamaConfig {
    /// Reads `config.json`. `at` is the file's name for errors.
    ///
    /// # Errors
    /// Another architecture, a missing or impossible field, or a feature this code does not compute.
    pub fn from_json(json: &Value, at: &str) -> Result<Self, Problem> {
        let bad = |what: String| Problem::input(what).at(at);
        let model_type = json["model_type"].as_str().unwrap_or("");
        if model_type != "llama" {
            return Err(
                bad(format!("unknown architecture '{model_type}'")).next("use a model whose model_type is llama")
            );
        }
        if let Some(act) = json["hidden_act"].as_str().filter(|a| *a != "silu") {
            return Err(bad(format!("hidden_act is {act}")).next("use a model with silu"));
        }
        let mut json = json.clone();
        flatten_rope(&mut json).map_err(&bad)?;
        let mut config: Self =
            serde_json::from_value(json).map_err(|e| bad(format!("not a Llama configuration: {e}")))?;
        if config.num_key_value_heads == 0 {
            config.num_key_value_heads = config.num_attention_heads;
        }
        if config.head_dim == 0 && config.num_attention_heads > 0 {
            config.head_dim = config.hidden_size / config.num_attention_heads;
        }
        config.check().map_err(bad)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0 || *size > 1 << 24) {
            return Err(format!("{name} is out of range"));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim is {}: rotary positions need an even one", self.head_dim));
        }
        Ok(())
    }

    /// `config.json` of this model, as transformers reads it.
    pub fn to_json(&self) -> Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        json["architectures"] = serde_json::json!(["LlamaForCausalLM"]);
        json["model_type"] = "llama".into();
        json["hidden_act"] = "silu".into();
        json
    }

    /// The stretch of the wavelengths for the rotary tables.
    pub fn rotary_scaling(&self) -> Option<RotaryScaling> {
        self.rope_scaling.map(
            |RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }| {
                RotaryScaling { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }
            },
        )
    }

    /// What the model is, for people.
    pub fn report(&self, name: &str, parameters: u64) -> ModelReport {
        ModelReport {
            name: name.into(),
            family: "llama".into(),
            parameters,
            layers: self.num_hidden_layers,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            key_value_size: self.num_key_value_heads * self.head_dim,
            query_size: self.num_attention_heads * self.head_dim,
            head_dim: self.head_dim,
            vocabulary: self.vocab_size,
            context: self.max_position_embeddings,
        }
    }
}

/// transformers 5 writes `rope_parameters` with the base inside; earlier versions wrote `rope_theta` and `rope_scaling`,
/// whose kind was once called `type`. A kind of `default` is no scaling.
fn flatten_rope(json: &mut Value) -> Result<(), String> {
    if let Some(parameters) = json.get("rope_parameters").filter(|p| p.is_object()).cloned() {
        if let Some(theta) = parameters.get("rope_theta") {
            json["rope_theta"] = theta.clone();
        }
        json["rope_scaling"] = parameters;
    }
    let Some(scaling) = json.get_mut("rope_scaling").filter(|s| s.is_object()) else { return Ok(()) };
    if scaling["rope_type"].is_null() {
        scaling["rope_type"] = scaling["type"].take();
    }
    match scaling["rope_type"].as_str() {
        Some("default") => json["rope_scaling"] = Value::Null,
        Some("llama3") => {}
        other => return Err(format!("rope_type {} is not computed", other.unwrap_or("(none)"))),
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({"model_type": "llama", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
               "num_hidden_layers": 3, "num_attention_heads": 4})
    }

    #[test]
    fn absent_fields_have_the_family_defaults() {
        let config = LlamaConfig::from_json(&base(), "config.json").unwrap();
        assert_eq!((config.num_key_value_heads, config.head_dim), (4, 8));
        assert_eq!(LlamaConfig::from_json(&config.to_json(), "").unwrap(), config);
    }

    #[test]
    fn biases_are_part_of_the_layout() {
        let biases = |key: &str| {
            let mut json = base();
            json[key] = true.into();
            let config = LlamaConfig::from_json(&json, "config.json").unwrap();
            assert_eq!(LlamaConfig::from_json(&config.to_json(), "").unwrap(), config);
            let first =
                |(name, _): &(String, Vec<usize>)| name.starts_with("model.layers.0.") && name.ends_with(".bias");
            config.layout().into_iter().filter(first).map(|(name, shape)| (name, shape[0])).collect::<Vec<_>>()
        };
        assert_eq!(biases("attention_bias").len(), 4);
        assert_eq!(biases("mlp_bias").len(), 3);
        assert_eq!(biases("mlp_bias")[2], ("model.layers.0.mlp.down_proj.bias".to_string(), 32));
    }

    #[test]
    fn rope_is_read_in_both_forms() {
        let scaling = json!({"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 16});
        let mut old = base();
        old["rope_theta"] = 5e5.into();
        old["rope_scaling"] = scaling.clone();
        let mut new = base();
        new["rope_parameters"] = scaling;
        new["rope_parameters"]["rope_theta"] = 5e5.into();
        let old = LlamaConfig::from_json(&old, "").unwrap();
        assert!(old.rope_scaling.is_some());
        assert_eq!(old, LlamaConfig::from_json(&new, "").unwrap());
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (key, value, named) in [
            ("model_type", json!("mamba"), "mamba"),
            ("hidden_act", json!("gelu"), "gelu"),
            ("num_key_value_heads", json!(3), "num_key_value_heads"),
            ("rope_scaling", json!({"rope_type": "yarn"}), "yarn"),
            ("hidden_size", json!(0), "hidden_size"),
        ] {
            let mut json = base();
            json[key] = value;
            let problem = LlamaConfig::from_json(&json, "config.json").unwrap_err();
            assert!(problem.what.contains(named), "{problem}");
            assert_eq!(problem.at, "config.json");
        }
    }
}
