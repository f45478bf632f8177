//! What a model is: its sizes, the switches of its parts, and the table of its modules.

use serde_json::Value;
use stratune_kernels::{Activation, Scores};
use stratune_protocol::{ModelReport, Module, Problem, Role};

use crate::classifier_config::{ClassifierConfig, classifies, classifying};
use crate::families::{self, Family, Fields};
use crate::image_config::ImageConfig;
use crate::nn::{AttentionKind, Rope};
use crate::seq2seq::Seq2Seq;

/// What a model is, read from its `config.json` by its family.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// Who has read it.
    pub(crate) family: &'static Family,
    /// `config.json` as it came.
    pub(crate) json: Value,
    /// Tokens it knows.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Blocks, of an encoder and of a decoder together.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key heads, which divide the query heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// How many numbers of a head, from its first, are rotated.
    pub rotary_dim: usize,
    /// Added to the mean square, or the variance, in the norms.
    pub norm_eps: f64,
    /// Longest sequence it was trained on, or stretched to.
    pub max_position_embeddings: usize,
    /// What each block's attention makes of positions.
    pub attention: Vec<AttentionKind>,
    /// How scores are made of queries and keys.
    pub scores: Scores,
    /// Whether the scores of block i are divided by i + 1, too.
    pub scores_by_depth: bool,
    /// Whether the rows of queries, keys and values in one matrix are those of one head after those of another.
    pub heads_apart: bool,
    /// Whether attention and feed-forward read the same: what the block reads.
    pub parallel: bool,
    /// Whether norms behind attention and feed-forward are of the sums with what these are added to.
    pub norms_of_sums: bool,
    /// The row of the positions' table that the first position has.
    pub first_position: usize,
    /// A token that takes no position, wherever it is: it has the row before the first.
    pub unplaced_token: Option<u32>,
    /// The head that classifies, in models that have one.
    pub classifier: Option<ClassifierConfig>,
    /// The images that it reads, in models that read such.
    pub image: Option<ImageConfig>,
    /// Its two stacks, in models that read a text and write another.
    pub seq2seq: Option<Seq2Seq>,
    /// Of the feed-forward layers.
    pub activation: Activation,
    /// Whether norms take the mean off first.
    pub centring_norms: bool,
    /// Whether the gain of a norm is 1 + weight.
    pub zero_centered_norms: bool,
    /// What embeddings of tokens are multiplied by.
    pub embedding_multiplier: f64,
    /// Whether that is done to all that enters the first block, and not in the embedding: a learned prompt is multiplied too.
    pub multiplies_prompt: bool,
    /// What attention and feed-forward are multiplied by before they are added to the residual stream.
    pub residual_multiplier: f64,
    /// What logits are divided by.
    pub logits_scaling: f64,
    /// What no logit goes beyond: c in `c tanh(logit / c)`.
    pub final_logit_softcapping: Option<f64>,
    /// Its modules, in the order of the forward pass.
    pub modules: Vec<Module>,
}

/// All of it follows from `config.json`.
impl PartialEq for ModelConfig {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl ModelConfig {
    /// Reads `config.json`. `at` is the file's name for errors.
    ///
    /// # Errors
    /// Another family, a missing or impossible field, or a feature that is not computed here.
    pub fn from_json(json: &Value, at: &str) -> Result<Self, Problem> {
        let bad = |what: String| Problem::input(what).at(at);
        let model_type = json["model_type"].as_str().unwrap_or("");
        let Some(family) = families::FAMILIES.into_iter().find(|family| family.model_type == model_type) else {
            let known: Vec<_> = families::FAMILIES.iter().map(|family| family.model_type).collect();
            return Err(bad(format!("unknown architecture '{model_type}'"))
                .next(format!("use a model whose model_type is one of {}", known.join(", "))));
        };
        let mut config = (family.read)(family, &Fields(json)).map_err(&bad)?;
        if config.classifier.is_none() && classifies(json) {
            config.read_last_token().map_err(&bad)?;
        }
        config.check().map_err(bad)?;
        Ok(config)
    }

    /// Whether each token of a text sees those behind it: such a model classifies and writes nothing.
    pub fn is_encoder(&self) -> bool {
        self.seq2seq.is_none() && self.attention.iter().any(|kind| kind.bidirectional)
    }

    /// Whether texts of a pair are told apart by embeddings of their own.
    pub fn has_token_types(&self) -> bool {
        self.module(None, Role::TokenTypeEmbedding).is_some_and(|table| table.shape[0] > 1)
    }

    /// Gives each block its window.
    pub(crate) fn slide(&mut self, windows: &[Option<usize>]) {
        for (kind, window) in self.attention.iter_mut().zip(windows) {
            kind.window = *window;
        }
    }

    /// The window that blocks see, if one sees no more.
    pub(crate) fn window(&self) -> Option<usize> {
        self.attention.iter().find_map(|kind| kind.window)
    }

    fn check(&self) -> Result<(), String> {
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim is {}: rotary positions need an even one", self.head_dim));
        }
        if !self.rotary_dim.is_multiple_of(2) || !(2..=self.head_dim).contains(&self.rotary_dim) {
            let (rotated, head_dim) = (self.rotary_dim, self.head_dim);
            return Err(format!("partial_rotary_factor rotates {rotated} of the {head_dim} numbers of a head"));
        }
        let lists = self.attention.iter().filter_map(|kind| kind.rope.as_ref()).flat_map(Rope::lists);
        match lists.into_iter().find(|list| list.len() != self.rotary_dim / 2) {
            None => Ok(()),
            Some(list) => {
                let (has, pairs) = (list.len(), self.rotary_dim / 2);
                Err(format!("short_factor or long_factor has {has} numbers where a head has {pairs} pairs that rotate"))
            }
        }
    }

    /// How scores are made in block `i`.
    pub(crate) fn scores_of(&self, i: usize) -> Scores {
        let by = if self.scores_by_depth { (i + 1) as f32 } else { 1.0 };
        Scores { scale: self.scores.scale / by, ..self.scores }
    }

    /// The same with other values of `config.json`.
    ///
    /// # Errors
    /// No model has such values.
    pub fn changed<const N: usize>(&self, values: [(&str, Value); N]) -> Result<Self, Problem> {
        let mut json = self.json.clone();
        for (key, value) in values {
            set(&mut json, key, value);
        }
        Self::from_json(&json, "config.json")
    }

    /// `config.json` of this model, as transformers reads it.
    pub fn to_json(&self) -> Value {
        let mut json = self.json.clone();
        if json["architectures"].is_null() {
            let class = self.family.class;
            let class = if self.classifier.is_some() { classifying(class) } else { class.to_string() };
            json["architectures"] = serde_json::json!([class]);
        }
        json
    }

    /// The module of this role, in this block if it is of one.
    pub fn module(&self, block: Option<usize>, role: Role) -> Option<&Module> {
        self.modules.iter().find(|module| module.block == block && module.role == role)
    }

    /// Longest sequence it is for: what it was trained on, and more where positions stretch with the text.
    pub fn context(&self) -> usize {
        let ropes = self.attention.iter().filter_map(|kind| kind.rope.as_ref());
        let of = ropes.map(|rope| rope.context(self.max_position_embeddings)).max();
        of.unwrap_or(self.max_position_embeddings)
    }

    /// What a learned prompt is multiplied by.
    pub fn prompt_multiplier(&self) -> f64 {
        if self.multiplies_prompt { self.embedding_multiplier } else { 1.0 }
    }

    /// The same with biases at the linear layers of these roles too, where the family can hold them.
    ///
    /// # Errors
    /// It cannot; names the layer.
    pub fn with_biases(&self, roles: &[Role]) -> Result<Self, Problem> {
        let mut json = self.json.clone();
        for role in roles {
            let missing = self.modules.iter().find(|module| module.role == *role && !module.bias);
            let Some(module) = missing else { continue };
            let key = self.family.bias_keys.iter().find(|(_, roles)| roles.contains(role));
            let Some((key, _)) = key else {
                let what = format!("{} models have no place for a bias at {}", self.family.model_type, module.name());
                return Err(Problem::input(what).next("keep the adapter beside the model: --adapter takes it"));
            };
            set(&mut json, key, true.into());
        }
        Self::from_json(&json, "config.json")
    }

    /// What the model is, for people.
    pub fn report(&self, name: &str, parameters: u64) -> ModelReport {
        ModelReport {
            name: name.into(),
            family: self.family.model_type.into(),
            parameters,
            layers: self.num_hidden_layers,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            key_value_size: self.num_key_value_heads * self.head_dim,
            query_size: self.num_attention_heads * self.head_dim,
            beside_others: self.json["text_config"].is_object(),
            head_dim: self.head_dim,
            activation: self.activation.name().into(),
            vocabulary: self.vocab_size,
            context: self.context(),
            in_file: None,
            encoder: self.is_encoder(),
            labels: self.classifier.as_ref().map(|of| of.labels.clone()).unwrap_or_default(),
            modules: self.modules.clone(),
        }
    }
}

/// Sets a key of a `config.json`: of its text part, where it has several parts.
fn set(json: &mut Value, key: &str, value: Value) {
    let of = if json["text_config"].is_object() { &mut json["text_config"] } else { json };
    of[key] = value;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A small model of each family.
    fn base(family: &Family) -> Value {
        json!({"model_type": family.model_type, "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
               "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8})
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for family in families::FAMILIES {
            let config = ModelConfig::from_json(&base(family), "config.json").unwrap();
            let again = ModelConfig::from_json(&config.to_json(), "").unwrap();
            assert_eq!(
                (&again.modules, &again.attention),
                (&config.modules, &config.attention),
                "{}",
                family.model_type
            );
            assert_eq!(config.to_json()["architectures"][0], family.class);
        }
    }

    #[test]
    fn a_bias_goes_where_the_family_has_a_place_for_it() {
        for family in families::FAMILIES {
            let config = ModelConfig::from_json(&base(family), "config.json").unwrap();
            for role in Role::LINEAR {
                let known = family.bias_keys.iter().any(|(_, roles)| roles.contains(&role));
                let Some(module) = config.module(Some(0), role) else { continue };
                let has = module.bias;
                match config.with_biases(&[role]) {
                    Ok(with) => {
                        assert!(known || has, "{} {role:?}", family.model_type);
                        assert!(with.modules.iter().filter(|m| m.role == role).all(|m| m.bias));
                    }
                    Err(problem) => {
                        assert!(!known && !has, "{problem}");
                        assert!(problem.what.contains(module.name()), "{problem}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for family in families::FAMILIES {
            for (key, value, named) in [
                ("hidden_act", json!("tanh"), "tanh"),
                ("num_key_value_heads", json!(3), "num_key_value_heads"),
                ("rope_scaling", json!({"rope_type": "spiral"}), "spiral"),
                ("hidden_size", json!(0), "hidden_size"),
                ("hidden_size", json!("x"), "hidden_size"),
                ("hidden_size", Value::Null, "hidden_size"),
                ("num_hidden_layers", json!(1_000_000), "num_hidden_layers"),
                ("head_dim", json!(7), "head_dim"),
            ] {
                let mut json = base(family);
                // Where some families have the activation.
                if key == "hidden_act" {
                    json["hidden_activation"] = value.clone();
                    json["activation_function"] = value.clone();
                    json["activation"] = value.clone();
                    json["feed_forward_proj"] = value.clone();
                }
                // Those that have as many key heads as query heads, of a width that follows, know no such keys.
                let fixed = ModelConfig::from_json(&json, "config.json").is_ok_and(|c| c.num_key_value_heads == 4);
                if fixed && ["num_key_value_heads", "head_dim"].contains(&key) {
                    continue;
                }
                json[key] = value;
                let problem = ModelConfig::from_json(&json, "config.json").unwrap_err();
                assert!(problem.what.contains(named), "{} {problem}", family.model_type);
                assert_eq!(problem.at, "config.json");
            }
        }
        let unknown = ModelConfig::from_json(&json!({"model_type": "mamba"}), "config.json").unwrap_err();
        assert!(unknown.what.contains("mamba") && unknown.next.contains(families::FAMILIES[0].model_type));
    }
}
