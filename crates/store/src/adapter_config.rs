//! `adapter_config.json` as Hugging Face PEFT writes it: what of it matters, and what it must not ask for.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::{Map, Value, json};
use stratune_protocol::{MethodConfig, Problem, Target};

/// Settings that change the model beyond plain LoRA on linear layers. Unless null, false or empty, they are refused.
const BEYOND_LORA: [&str; 15] = [
    "use_dora",
    "fan_in_fan_out",
    "modules_to_save",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
    "megatron_config",
];

/// Starting values that leave the base weights alone; the others (`pissa`, `olora`, …) subtract the start from them.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// What of `adapter_config.json` decides how the tensors are read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AdapterConfig {
    /// The model it was trained on, as its author named it.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Rank where no pattern says otherwise.
    #[serde(default = "default_rank")]
    pub r: usize,
    /// Alpha where no pattern says otherwise.
    #[serde(default = "default_alpha")]
    pub lora_alpha: f32,
    /// Divide alpha by the square root of the rank instead of the rank.
    #[serde(default)]
    pub use_rslora: bool,
    /// Other ranks for layers by name.
    #[serde(default)]
    pub rank_pattern: Pattern<usize>,
    /// Other alphas for layers by name.
    #[serde(default)]
    pub alpha_pattern: Pattern<f32>,
}

fn default_rank() -> usize {
    8
}

fn default_alpha() -> f32 {
    8.0
}

impl AdapterConfig {
    /// Reads the file's bytes and refuses what plain LoRA cannot do; `at` names the file in messages.
    pub fn parse(bytes: &[u8], at: &str) -> Result<Self, Problem> {
        let bad = |what: String, next: &str| Err(Problem::input(what).at(at).next(next));
        let unreadable = |e: serde_json::Error| {
            Problem::input(format!("adapter_config.json cannot be read: {e}")).at(at).next("export the adapter again")
        };
        let fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(unreadable)?;
        let config: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        let kind = fields.get("peft_type").and_then(Value::as_str).unwrap_or("absent");
        if kind != "LORA" {
            return bad(format!("peft_type is {kind}"), "only LoRA adapters (peft_type LORA) are read");
        }
        if let Some(bias) = fields.get("bias").filter(|v| **v != "none" && !v.is_null()) {
            return bad(format!("bias is {bias}"), "only adapters trained with bias \"none\" are read");
        }
        let next = "merge the adapter into its model with PEFT, and use the merged model";
        if let Some(key) = BEYOND_LORA.into_iter().find(|key| fields.get(*key).is_some_and(is_set)) {
            return bad(format!("{key} is {}, which goes beyond plain LoRA", fields[key]), next);
        }
        if let Some(Value::String(start)) = fields.get("init_lora_weights")
            && !PLAIN_STARTS.contains(&start.as_str())
        {
            return bad(format!("init_lora_weights is {start}, which alters the model's own weights"), next);
        }
        config.rank_pattern.check("rank_pattern", at)?;
        config.alpha_pattern.check("alpha_pattern", at)?;
        Ok(config)
    }

    /// Rank of the layer at `path`.
    pub fn rank(&self, path: &str) -> usize {
        self.rank_pattern.at(path).unwrap_or(self.r)
    }

    /// What the update of the layer at `path` is multiplied by.
    pub fn scale(&self, path: &str) -> f32 {
        let rank = self.rank(path) as f32;
        self.alpha_pattern.at(path).unwrap_or(self.lora_alpha) / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

/// Whether a setting asks for something.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// Values by the end of a layer's path, such as `q_proj` or `layers.0.self_attn.q_proj`, in the order of the file:
/// the first that fits counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern<T>(pub Vec<(String, T)>);

impl<T: Copy> Pattern<T> {
    /// The value for the layer at `path`.
    pub fn at(&self, path: &str) -> Option<T> {
        let fits = |key: &str| path.strip_suffix(key).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.0.iter().find(|(key, _)| fits(key)).map(|(_, value)| *value)
    }

    /// PEFT takes the keys for regular expressions; only plain names are understood here.
    fn check(&self, field: &str, at: &str) -> Result<(), Problem> {
        let plain = |key: &str| key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
        match self.0.iter().find(|(key, _)| !plain(key)) {
            None => Ok(()),
            Some((key, _)) => Err(Problem::input(format!("{field} has the regular expression '{key}'"))
                .at(at)
                .next("write out the names of the layers it stands for, one entry each")),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pattern<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Pattern<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of values by layer name")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Pattern(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Pattern(entries))
            }
        }

        deserializer.deserialize_any(InOrder(std::marker::PhantomData))
    }
}

/// The file that PEFT reads for an adapter trained with `method`.
pub(crate) fn config_file(base_model: &str, method: &MethodConfig) -> Value {
    let mut targets: Vec<&str> = method.targets.iter().map(|t| t.name()).collect();
    targets.sort_unstable();
    let mut rank_pattern = Map::new();
    let mut alpha_pattern = Map::new();
    for &target in &method.targets {
        let (rank, alpha) = method.at(target);
        if rank != method.rank {
            rank_pattern.insert(target.name().into(), rank.into());
        }
        if alpha != method.alpha {
            alpha_pattern.insert(target.name().into(), number(alpha));
        }
    }
    json!({
        "alpha_pattern": alpha_pattern,
        "auto_mapping": null,
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": number(method.alpha),
        "lora_dropout": number(method.dropout),
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": method.rank,
        "rank_pattern": rank_pattern,
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    })
}

/// A number as a person would write it: 16 rather than 16.0, 0.1 rather than 0.10000000149.
fn number(x: f32) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e9 {
        return (x as i64).into();
    }
    x.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// The target that a layer's path ends in.
pub(crate) fn target_of(path: &str) -> Result<Target, Problem> {
    path.rsplit('.').next().unwrap_or(path).parse()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_fits_counts() {
        let text = r#"{"peft_type":"LORA","r":4,"lora_alpha":8,
            "rank_pattern":{"v_proj":2,"layers.1.self_attn.v_proj":16},
            "alpha_pattern":{"layers.0.mlp.up_proj":4,"up_proj":12.5}}"#;
        let config = AdapterConfig::parse(text.as_bytes(), "a").unwrap();
        let cases = [
            ("model.layers.0.self_attn.q_proj", 4, 2.0),
            ("model.layers.1.self_attn.v_proj", 2, 4.0),
            ("model.layers.0.mlp.up_proj", 4, 1.0),
            ("model.layers.1.mlp.up_proj", 4, 3.125),
            ("up_proj", 4, 3.125),
            ("model.layers.0.mlp.xup_proj", 4, 2.0),
        ];
        for (path, rank, scale) in cases {
            assert_eq!((config.rank(path), config.scale(path)), (rank, scale), "{path}");
        }
    }

    #[test]
    fn what_is_not_plain_lora_is_refused() {
        let cases = [
            (r#"{"peft_type":"IA3"}"#, "peft_type is IA3"),
            (r#"{}"#, "peft_type is absent"),
            (r#"{"peft_type":"LORA","bias":"all"}"#, "bias is \"all\""),
            (r#"{"peft_type":"LORA","use_dora":true}"#, "use_dora is true"),
            (r#"{"peft_type":"LORA","fan_in_fan_out":true}"#, "fan_in_fan_out is true"),
            (r#"{"peft_type":"LORA","modules_to_save":["lm_head"]}"#, "modules_to_save is [\"lm_head\"]"),
            (r#"{"peft_type":"LORA","init_lora_weights":"pissa"}"#, "init_lora_weights is pissa"),
            (r#"{"peft_type":"LORA","rank_pattern":{".*q_proj":2}}"#, "regular expression '.*q_proj'"),
            (r#"{"peft_type":"LORA","alpha_pattern":{"^q_proj":2}}"#, "alpha_pattern"),
            (r#"{"peft_type":"LORA","r":-1}"#, "cannot be read"),
            ("[", "cannot be read"),
        ];
        for (text, want) in cases {
            let problem = AdapterConfig::parse(text.as_bytes(), "adapter").unwrap_err();
            assert!(problem.what.contains(want), "{want}: {problem:?}");
            assert!(problem.at == "adapter" && !problem.next.is_empty(), "{problem:?}");
        }
        let harmless =
            r#"{"peft_type":"LORA","modules_to_save":[],"rank_pattern":null,"init_lora_weights":"gaussian"}"#;
        AdapterConfig::parse(harmless.as_bytes(), "adapter").unwrap();
    }

    #[test]
    fn numbers_are_written_plainly() {
        for (x, want) in [(16.0, "16"), (0.1, "0.1"), (12.5, "12.5"), (0.0, "0")] {
            assert_eq!(number(x).to_string(), want);
        }
    }
}
