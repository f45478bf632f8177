//! A model as the metadata and the tensors of a GGUF file: the way back of what is read beside this.
//!
//! What was written is read again before it is given out, and must compute the same: what a file has no key for is refused by
//! its name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use stratune_protocol::Problem;
use stratune_store::View;

use super::{GgufForm, GgufModel, LONGROPE_FACTORS, ROPE_FACTORS, facts, tensors};
use crate::families::FAMILIES;
use crate::nn::{Rope, RopeScaling};
use crate::{Entry, ModelConfig};

/// A key, and the size that it says.
type Size = (&'static str, fn(&ModelConfig) -> usize);

/// Keys that most architectures have.
const SIZES: [Size; 9] = [
    ("block_count", |model| model.num_hidden_layers),
    ("context_length", |model| model.max_position_embeddings),
    ("embedding_length", |model| model.hidden_size),
    ("feed_forward_length", |model| model.intermediate_size),
    ("attention.head_count", |model| model.num_attention_heads),
    ("attention.head_count_kv", |model| model.num_key_value_heads),
    ("attention.key_length", |model| model.head_dim),
    ("attention.value_length", |model| model.head_dim),
    ("vocab_size", |model| model.vocab_size),
];

/// A model as a GGUF file has it.
#[derive(Debug)]
pub struct WrittenModel {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Its keys but for those of the vocabulary.
    pub metadata: Vec<(String, Value)>,
    /// Each tensor of the checkpoint, and where in the file it is.
    pub tensors: Vec<(Entry, View)>,
    /// Vectors that only the configuration is read from, by their names in the file.
    pub factors: BTreeMap<&'static str, Vec<f32>>,
}

/// Keys on their way into a file.
#[derive(Debug)]
pub struct WrittenKeys {
    architecture: &'static str,
    keys: Map<String, Value>,
}

impl WrittenKeys {
    /// Says something under a key of the architecture.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.keys.insert(format!("{}.{key}", self.architecture), value.into());
    }
}

impl WrittenModel {
    /// What a GGUF file says of a model.
    ///
    /// # Errors
    /// No architecture has the model's form, or none has a place for all of it; names what it has none for.
    pub fn of(model: &ModelConfig) -> Result<Self, Problem> {
        let family = model.family.model_type;
        let next = "write it as safetensors: --format safetensors";
        let refused = |what: String| Problem::input(what).next(next);
        if let Some(form) = model.family.gguf {
            return written(model, form).map_err(|lacking| {
                refused(format!("GGUF files of {} have no place for {lacking} of this model", form.architecture))
            });
        }
        // What llama.cpp takes for a model of another family computes what that does.
        let mut forms = FAMILIES.into_iter().filter_map(|family| family.gguf);
        let found = forms.find_map(|form| written(model, form).ok());
        found.ok_or_else(|| refused(format!("models of the family {family} cannot be written as GGUF")))
    }
}

/// The model in a form; or what there is no place for.
fn written(model: &ModelConfig, form: &'static GgufForm) -> Result<WrittenModel, String> {
    let mut keys = WrittenKeys { architecture: form.architecture, keys: Map::new() };
    for (key, size) in SIZES {
        keys.set(key, size(model));
    }
    keys.set(form.epsilon[0], model.norm_eps);
    let mut factors = BTreeMap::new();
    if let Some(rope) = rope_of_all_texts(model) {
        rotary(&mut keys, &mut factors, model, rope);
    }
    (form.keys)(model, &mut keys);
    let metadata = [("general.architecture", form.architecture), ("general.type", "model")];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), Value::from(value)));
    let metadata: Vec<(String, Value)> = metadata.chain(keys.keys).collect();
    let tensors = tensors_of(model, form)?;
    let written = WrittenModel { architecture: form.architecture, metadata, tensors, factors };
    match facts::differing(model, &read_again(&written)?) {
        None => Ok(written),
        Some(fact) => Err(fact.into()),
    }
}

/// The rotary positions of the blocks that see all of a text; of the others, if there are none such.
fn rope_of_all_texts(model: &ModelConfig) -> Option<&Rope> {
    let of = |sees_all: bool| {
        let kinds = model.attention.iter().filter(move |kind| kind.window.is_none() == sees_all);
        kinds.into_iter().find_map(|kind| kind.rope.as_ref())
    };
    of(true).or_else(|| of(false))
}

/// The keys of rotary positions, and the factors that files have instead of Llama 3's.
fn rotary(keys: &mut WrittenKeys, factors: &mut BTreeMap<&'static str, Vec<f32>>, model: &ModelConfig, rope: &Rope) {
    keys.set("rope.dimension_count", model.rotary_dim);
    keys.set("rope.freq_base", rope.theta);
    match &rope.scaling {
        Some(RopeScaling::Linear { factor }) => {
            keys.set("rope.scaling.type", "linear");
            keys.set("rope.scaling.factor", *factor);
        }
        Some(RopeScaling::Yarn(yarn)) => {
            keys.set("rope.scaling.type", "yarn");
            keys.set("rope.scaling.factor", yarn.factor);
            keys.set("rope.scaling.original_context_length", yarn.original_max_position_embeddings as u64);
            keys.set("rope.scaling.yarn_beta_fast", yarn.beta_fast);
            keys.set("rope.scaling.yarn_beta_slow", yarn.beta_slow);
        }
        Some(RopeScaling::Llama3 { .. }) => {
            let plain = Rope { scaling: None, ..rope.clone() }.frequencies(model.rotary_dim, 1);
            let stretched = rope.frequencies(model.rotary_dim, 1);
            let by = plain.iter().zip(stretched).map(|(plain, stretched)| (plain / stretched) as f32);
            factors.insert(ROPE_FACTORS, by.collect());
        }
        Some(RopeScaling::LongRope(long)) => {
            for (name, by) in LONGROPE_FACTORS.into_iter().zip([&long.short_factor, &long.long_factor]) {
                factors.insert(name, by.iter().map(|factor| *factor as f32).collect());
            }
            keys.set("rope.scaling.original_context_length", long.original_max_position_embeddings);
            keys.set("rope.scaling.attn_factor", long.attention_factor);
        }
        // No key says the second, and what was written is compared.
        None | Some(RopeScaling::Dynamic { .. }) => {}
    }
}

/// Where each tensor goes.
fn tensors_of(model: &ModelConfig, form: &GgufForm) -> Result<Vec<(Entry, View)>, String> {
    let all: BTreeMap<String, Vec<usize>> = (model.modules.iter())
        .flat_map(|module| module.tensors().map(|(name, shape)| (tensors::own_name(module, &name), shape)))
        .collect();
    let mut entries = model.layout().into_iter();
    let mut found = Vec::new();
    for module in &model.modules {
        if form.needs_biases && module.role.is_linear() && !module.bias {
            return Err(format!("{} without a bias", module.name()));
        }
        for (name, shape) in module.tensors() {
            let biased = name.ends_with(".bias") && module.role.is_linear();
            if biased && !form.biased.contains(&module.role) {
                return Err(format!("a bias at {}", module.name()));
            }
            let view = tensors::view(model, form, module, &name, shape, &all);
            let (Some(view), Some(entry)) = (view, entries.next()) else { return Err(name) };
            found.push((entry, view));
        }
    }
    Ok(found)
}

/// The model that a reader makes of it.
fn read_again(written: &WrittenModel) -> Result<ModelConfig, String> {
    let key = |(key, value): &(String, Value)| (key.clone(), in_file(value));
    let metadata = Value::Object(written.metadata.iter().map(key).collect());
    let shapes = written.tensors.iter().map(|(entry, view)| (view.tensor.clone(), entry.shape.clone())).collect();
    let read = GgufModel::read(&metadata, &shapes, &written.factors, "");
    let read = read.map_err(|problem| format!("something ({})", problem.what))?;
    ModelConfig::from_json(&read.config, "").map_err(|problem| format!("something ({})", problem.what))
}

/// A number as it comes out of a file, where it has 32 bits.
fn in_file(value: &Value) -> Value {
    match value.as_f64().filter(|_| value.is_f64()) {
        None => value.clone(),
        Some(number) => json!((number as f32).to_string().parse::<f64>().unwrap_or(number)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_store::RowOrder;

    use super::*;

    fn model(family: &str, more: &[(&str, Value)]) -> ModelConfig {
        let mut json = json!({"model_type": family, "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
                              "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
                              "max_position_embeddings": 128, "query_pre_attn_scalar": 8});
        for (key, value) in more {
            json[*key] = value.clone();
        }
        ModelConfig::from_json(&json, "config.json").unwrap()
    }

    /// Reading and writing have one list: a family cannot be added to one alone.
    #[test]
    fn every_family_that_is_read_is_written() {
        for family in FAMILIES.into_iter().filter(|family| family.gguf.is_some()) {
            let written = WrittenModel::of(&model(family.model_type, &[])).unwrap();
            assert_eq!(Some(written.architecture), family.gguf.map(|form| form.architecture));
            let names: std::collections::BTreeSet<_> = written.tensors.iter().map(|(_, view)| &view.tensor).collect();
            assert_eq!(names.len(), written.tensors.len());
        }
    }

    #[test]
    fn families_without_a_name_of_their_own_are_written_as_what_computes_the_same() {
        let mistral = WrittenModel::of(&model("mistral", &[("sliding_window", Value::Null)])).unwrap();
        assert_eq!(mistral.architecture, "llama");
        let (_, query) = mistral.tensors.iter().find(|(_, view)| view.tensor == "blk.0.attn_q.weight").unwrap();
        assert_eq!(query.order, RowOrder::Alternating { head_dim: 8 });
        let problem = WrittenModel::of(&model("mistral", &[("sliding_window", json!(7))])).unwrap_err();
        assert!(problem.what.contains("mistral") && !problem.next.is_empty(), "{problem}");
        // A window beyond the longest text is none.
        assert!(WrittenModel::of(&model("mistral", &[("sliding_window", json!(4096))])).is_ok());
    }

    #[test]
    fn the_keys_that_make_a_family_are_there() {
        let value = |family: &str, key: &str, more: &[(&str, Value)]| {
            let written = WrittenModel::of(&model(family, more)).unwrap();
            written.metadata.into_iter().find(|(name, _)| *name == format!("{family}.{key}")).map(|(_, value)| value)
        };
        assert_eq!(value("gemma2", "attn_logit_softcapping", &[]), Some(json!(50.0)));
        assert_eq!(value("gemma2", "attention.sliding_window", &[("sliding_window", json!(7))]), Some(json!(7)));
        assert_eq!(
            value(
                "gemma3",
                "attention.sliding_window_pattern",
                &[("sliding_window_pattern", json!(3)), ("sliding_window", json!(7))]
            ),
            Some(json!(3))
        );
        assert_eq!(value("granite", "logit_scale", &[("logits_scaling", json!(5.0))]), Some(json!(5.0)));
        let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
        assert_eq!(value("qwen2", "rope.scaling.factor", &[("rope_scaling", yarn)]), Some(json!(4.0)));
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                            "original_max_position_embeddings": 16});
        let written = WrittenModel::of(&model("llama", &[("rope_scaling", llama3)])).unwrap();
        assert_eq!(written.factors[ROPE_FACTORS].len(), 4);
    }

    #[test]
    fn what_a_file_has_no_key_for_is_refused_by_name() {
        for (family, key, value, named) in [
            (
                "qwen2",
                "layer_types",
                json!(["sliding_attention", "full_attention", "full_attention", "full_attention", "full_attention"]),
                "windows",
            ),
            ("smollm3", "no_rope_layer_interval", json!(2), "rotary positions"),
            ("gemma3_text", "query_pre_attn_scalar", json!(20), "scale of scores"),
            ("llama", "hidden_act", json!("gelu"), "activation"),
            ("qwen3", "attention_bias", json!(true), "bias at o_proj"),
            ("gpt_neox", "attention_bias", json!(false), "query_key_value without a bias"),
        ] {
            let mut more = vec![(key, value)];
            if family == "qwen2" {
                more.push(("sliding_window", json!(7)));
            }
            let problem = WrittenModel::of(&model(family, &more)).unwrap_err();
            assert!(problem.what.contains(named) && problem.next.contains("safetensors"), "{named}: {problem}");
        }
    }
}
