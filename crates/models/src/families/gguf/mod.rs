//! A family's model in a GGUF file of llama.cpp: its metadata as a `config.json`, and which tensor of the file each of the
//! checkpoint's is.

mod config;
mod facts;
mod keys;
mod tensors;
mod write;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use stratune_protocol::{Problem, Role};
use stratune_store::View;

pub use keys::Keys;
pub use write::{WrittenKeys, WrittenModel};

use super::{FAMILIES, Fields};
use crate::ModelConfig;

/// How llama.cpp's files have a family.
#[derive(Debug)]
pub struct GgufForm {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Whether rows of queries and keys alternate between the halves of a head: llama.cpp rotates neighbours there.
    pub alternating: bool,
    /// What is added to the weights of norms.
    pub added_to_norms: f32,
    /// Whether `config` sees to windows; others have none.
    pub slides: bool,
    /// What `config.json` calls the share of a head that is rotated, where that may be a part.
    pub rotary_share: Option<&'static str>,
    /// The key of what norms add to the mean square or the variance, and what `config.json` calls it.
    pub epsilon: [&'static str; 2],
    /// Fields of `config.json` that other families do not have, or not from there; an error names the key.
    pub config: fn(&Keys<'_>, &mut Map<String, Value>) -> Result<(), String>,
    /// The way back: keys that other families do not have, or say otherwise.
    pub keys: fn(&ModelConfig, &mut WrittenKeys),
    /// The linear layers whose biases llama.cpp reads.
    pub biased: &'static [Role],
    /// Whether it reads no model without them.
    pub needs_biases: bool,
}

/// What most of llama.cpp's architectures are: a family says in what it is another.
pub(super) const PLAIN: GgufForm = GgufForm {
    architecture: "",
    alternating: false,
    added_to_norms: 0.0,
    slides: false,
    rotary_share: None,
    epsilon: ["attention.layer_norm_rms_epsilon", "rms_norm_eps"],
    config: |_, _| Ok(()),
    keys: |_, _| {},
    biased: &[Role::Query, Role::Key, Role::Value],
    needs_biases: false,
};

/// The tensor of the factors by which Llama 3 stretches wavelengths.
pub const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Those of LongRoPE: of short texts, and of long ones.
const LONGROPE_FACTORS: [&str; 2] = ["rope_factors_short.weight", "rope_factors_long.weight"];

/// The tensors that are read into `config.json`.
pub const TENSORS_OF_CONFIG: [&str; 3] = [ROPE_FACTORS, LONGROPE_FACTORS[0], LONGROPE_FACTORS[1]];

/// What a GGUF file has, as a folder would.
#[derive(Debug)]
pub struct GgufModel {
    /// `config.json`.
    pub config: Value,
    /// The checkpoint's tensors by name.
    pub tensors: BTreeMap<String, View>,
}

impl GgufModel {
    /// Reads a file's metadata, the shapes of its tensors by name, and what those of [`TENSORS_OF_CONFIG`] hold that are
    /// there. `at` is the file's name for errors.
    ///
    /// # Errors
    /// Another architecture, a missing or impossible key, a feature that is not computed here, or a tensor that is missing.
    pub fn read(
        metadata: &Value,
        shapes: &BTreeMap<String, Vec<usize>>,
        tensors: &BTreeMap<&'static str, Vec<f32>>,
        at: &str,
    ) -> Result<Self, Problem> {
        let bad = |what: String| Problem::input(what).at(at);
        let again = "use a model of another family, or convert it again with a llama.cpp of today";
        let architecture = metadata["general.architecture"].as_str().unwrap_or("");
        let forms = || FAMILIES.into_iter().filter_map(|family| Some((family, family.gguf?)));
        let Some((family, form)) = forms().find(|(_, form)| form.architecture == architecture) else {
            let known: Vec<_> = forms().map(|(_, form)| form.architecture).collect();
            return Err(bad(format!("unknown architecture '{architecture}'"))
                .next(format!("use a file whose general.architecture is one of {}", known.join(", "))));
        };
        if let Some(kind) = metadata["general.type"].as_str().filter(|kind| *kind != "model") {
            return Err(
                bad(format!("the file is of the type '{kind}', and no model")).next("use the file of the model")
            );
        }
        let keys = Keys { architecture, fields: Fields(metadata), shapes, tensors };
        let config = config::of(family, form, &keys).map_err(|what| bad(what).next(again))?;
        let model = ModelConfig::from_json(&config, at).map_err(|problem| problem.or_next(again))?;
        let mut tensors = BTreeMap::new();
        for module in &model.modules {
            for (name, shape) in module.tensors() {
                let Some(view) = tensors::view(&model, form, module, &name, shape, shapes) else {
                    return Err(bad(format!("the file has no tensor for {name}")).next("use a complete file"));
                };
                tensors.insert(name, view);
            }
        }
        Ok(Self { config, tensors })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;
    use stratune_store::RowOrder;

    use super::*;

    /// A small model of an architecture, with other values of some keys.
    fn metadata(architecture: &str, more: &[(&str, Value)]) -> Value {
        let mut all = json!({"general.architecture": architecture});
        for (key, value) in [
            ("block_count", json!(1)),
            ("context_length", json!(64)),
            ("embedding_length", json!(32)),
            ("feed_forward_length", json!(48)),
            ("attention.head_count", json!(4)),
            ("attention.head_count_kv", json!(2)),
            ("attention.layer_norm_rms_epsilon", json!(1e-5)),
        ] {
            all[format!("{architecture}.{key}")] = value;
        }
        for (key, value) in more {
            let key = if key.contains("general") { (*key).to_string() } else { format!("{architecture}.{key}") };
            all[key] = value.clone();
        }
        all
    }

    /// The tensors of all families' names; those with all three of the attention in one, if `fused`.
    fn shapes(fused: bool) -> BTreeMap<String, Vec<usize>> {
        let qkv: &[(&str, &[usize])] = if fused {
            &[("attn_qkv", &[64, 32])]
        } else {
            &[("attn_q", &[32, 32]), ("attn_k", &[16, 32]), ("attn_v", &[16, 32])]
        };
        let others: [(&str, &[usize]); 8] = [
            ("attn_norm", &[32]),
            ("attn_output", &[32, 32]),
            ("ffn_norm", &[32]),
            ("ffn_gate", &[48, 32]),
            ("ffn_up", &[48, 32]),
            ("ffn_down", &[32, 48]),
            ("post_attention_norm", &[32]),
            ("post_ffw_norm", &[32]),
        ];
        let mut all: BTreeMap<String, Vec<usize>> =
            qkv.iter().chain(&others).map(|(name, shape)| (format!("blk.0.{name}.weight"), shape.to_vec())).collect();
        all.insert("token_embd.weight".into(), vec![96, 32]);
        all.insert("output_norm.weight".into(), vec![32]);
        all
    }

    fn read(architecture: &str, more: &[(&str, Value)], factors: Option<&[f32]>) -> Result<GgufModel, Problem> {
        let tensors = factors.map(|factors| (ROPE_FACTORS, factors.to_vec())).into_iter().collect();
        GgufModel::read(&metadata(architecture, more), &shapes(false), &tensors, "a.gguf")
    }

    #[test]
    fn every_form_has_its_name_to_itself() {
        let mut names: Vec<_> = FAMILIES.iter().filter_map(|family| Some(family.gguf?.architecture)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| !name.is_empty()));
    }

    #[test]
    fn rows_alternate_and_norms_have_one_more_where_llama_cpp_has_it_so() {
        for (architecture, alternating, added) in [
            ("llama", true, 0.0),
            ("granite", true, 0.0),
            ("smollm3", true, 0.0),
            ("gemma", false, 1.0),
            ("gemma2", false, 1.0),
        ] {
            let tensors = read(architecture, &[], None).unwrap().tensors;
            let order = |name: &str| tensors[&format!("model.layers.0.self_attn.{name}_proj.weight")].order;
            let heads = if alternating { RowOrder::Alternating { head_dim: 8 } } else { RowOrder::Same };
            assert_eq!([order("q"), order("k"), order("v")], [heads, heads, RowOrder::Same], "{architecture}");
            let added_to = |name: &str| tensors[name].added;
            assert_eq!(added_to("model.layers.0.input_layernorm.weight"), added, "{architecture}");
            assert_eq!(added_to("model.norm.weight"), added, "{architecture}");
            assert_eq!(added_to("model.layers.0.mlp.up_proj.weight"), 0.0);
            assert_eq!(
                tensors.len(),
                if architecture == "gemma2" { 13 } else { 11 },
                "{architecture}: no head of its own"
            );
        }
    }

    #[test]
    fn three_in_one_are_taken_apart_by_rows() {
        let tensors =
            GgufModel::read(&metadata("llama", &[]), &shapes(true), &BTreeMap::new(), "a.gguf").unwrap().tensors;
        for (name, first_row, rows) in [("q", 0, 32), ("k", 32, 16), ("v", 48, 16)] {
            let view = &tensors[&format!("model.layers.0.self_attn.{name}_proj.weight")];
            assert_eq!((view.tensor.as_str(), view.first_row), ("blk.0.attn_qkv.weight", first_row));
            assert_eq!(view.shape, [rows, 32]);
        }
    }

    #[test]
    fn keys_become_those_of_config_json() {
        let granite = read(
            "granite",
            &[
                ("attention.scale", json!(0.11)),
                ("embedding_scale", json!(7.0)),
                ("residual_scale", json!(0.3)),
                ("logit_scale", json!(5.0)),
            ],
            None,
        );
        let config = ModelConfig::from_json(&granite.unwrap().config, "").unwrap();
        assert_eq!((config.scores.scale, config.embedding_multiplier), (0.11, 7.0));
        assert_eq!((config.residual_multiplier, config.logits_scaling), (0.3, 5.0));
        let plain = ModelConfig::from_json(&read("granite", &[], None).unwrap().config, "").unwrap();
        assert_eq!((plain.scores.scale, plain.logits_scaling), (8.0_f32.sqrt().recip(), 1.0));

        // In the largest Gemma 2, scores are divided by what is not a head's width.
        let scale = |more: &[(&str, Value)]| {
            let mut json = metadata("gemma2", more);
            json["gemma2.block_count"] = 1.into();
            let (shapes, tensors) = Default::default();
            let keys = Keys { architecture: "gemma2", fields: Fields(&json), shapes: &shapes, tensors: &tensors };
            let mut config = Map::new();
            let form = FAMILIES.into_iter().filter_map(|family| family.gguf).find(|form| form.architecture == "gemma2");
            (form.unwrap().config)(&keys, &mut config).unwrap();
            config
        };
        let gemma2 = scale(&[("attention.key_length", json!(16)), ("attention.value_length", json!(16))]);
        assert_eq!((&gemma2["query_pre_attn_scalar"], &gemma2["sliding_window"]), (&json!(16), &json!(4096)));
        assert_eq!(gemma2["attn_logit_softcapping"], 50.0);
        assert_eq!(read("llama", &[], None).unwrap().config["tie_word_embeddings"], true);
    }

    #[test]
    fn factors_are_read_back_into_what_they_were_made_of() {
        // Of heads of 8, base 1e4, factor 8, texts of 16 before.
        let wavelength = |i: i32| std::f64::consts::TAU * 1e4_f64.powf(f64::from(2 * i) / 8.0);
        let factor = |i: i32| {
            let smooth = ((16.0 / wavelength(i) - 1.0) / 3.0).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / 8.0 + smooth)) as f32
        };
        let factors: Vec<f32> = (0..4).map(factor).collect();
        let scaling = read("llama", &[], Some(&factors)).unwrap().config["rope_scaling"].clone();
        let want = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 16});
        assert_eq!(scaling, want);
        for other in [&factors[..3], &[1.0, 2.0, 2.0, 8.0]] {
            assert!(read("llama", &[], Some(other)).unwrap_err().what.contains(ROPE_FACTORS));
        }
        let yarn = [("rope.scaling.type", json!("yarn")), ("rope.scaling.factor", json!(4.0))];
        assert_eq!(read("qwen2", &yarn, None).unwrap_err().what.split(' ').next(), Some("the"), "biases are missing");
        let linear =
            read("llama", &[("rope.scaling.type", json!("linear")), ("rope.scaling.factor", json!(2.0))], None);
        assert_eq!(linear.unwrap().config["rope_scaling"], json!({"rope_type": "linear", "factor": 2.0}));
    }

    /// Of Phi-3: what is multiplied by stands in `config.json` where it does not follow from the contexts.
    #[test]
    fn factors_of_longrope_are_lists() {
        let mut shapes = shapes(true);
        shapes.insert("blk.0.ffn_up.weight".into(), vec![96, 32]);
        let config = |more: &[(&str, Value)]| {
            let more = [&[("rope.dimension_count", json!(6)), ("attention.sliding_window", json!(0))], more].concat();
            let tensors = [(LONGROPE_FACTORS[0], vec![1.0, 1.25, 1.1]), (LONGROPE_FACTORS[1], vec![2.0, 3.0, 4.0])];
            GgufModel::read(&metadata("phi3", &more), &shapes, &tensors.into(), "a.gguf").unwrap().config
        };
        let usual =
            [("rope.scaling.original_context_length", json!(16)), ("rope.scaling.attn_factor", json!(1.224_744_9))];
        let want = json!({"rope_type": "longrope", "short_factor": [1.0, 1.25, 1.1], "long_factor": [2.0, 3.0, 4.0],
                          "original_max_position_embeddings": 16});
        let said = config(&usual);
        assert_eq!((&said["rope_scaling"], &said["partial_rotary_factor"]), (&want, &json!(0.75)));
        assert_eq!(said["sliding_window"], Value::Null);
        let other = [usual[0].clone(), ("rope.scaling.attn_factor", json!(1.5))];
        assert_eq!(config(&other)["rope_scaling"]["attention_factor"], 1.5);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (architecture, key, value, named) in [
            ("mamba", "block_count", json!(1), "unknown architecture 'mamba'"),
            ("llama", "general.type", json!("adapter"), "'adapter'"),
            ("llama", "expert_count", json!(8), "llama.expert_count is 8"),
            ("llama", "block_count", json!(513), "llama.block_count is 513"),
            ("llama", "block_count", Value::Null, "llama.block_count is missing"),
            ("llama", "attention.head_count", json!(0), "llama.attention.head_count is 0"),
            ("llama", "attention.head_count", json!([4, 8]), "not the same for all blocks"),
            ("llama", "attention.head_count_kv", json!(3), "num_key_value_heads"),
            ("llama", "attention.value_length", json!(4), "that of values 4"),
            ("llama", "rope.dimension_count", json!(4), "llama.rope.dimension_count is 4 of 8"),
            ("llama", "rope.scaling.type", json!("longrope"), "longrope"),
            ("llama", "attention.sliding_window", json!(7), "llama.attention.sliding_window is 7"),
            ("llama", "attention.layer_norm_rms_epsilon", Value::Null, "epsilon is missing"),
            ("gemma", "attention.key_length", json!(7), "attention.key_length is 7"),
            ("qwen3", "block_count", json!(1), "no tensor for model.layers.0.self_attn.q_norm.weight"),
        ] {
            let problem = read(architecture, &[(key, value)], None).unwrap_err();
            assert!(problem.what.contains(named), "{named}: {problem:?}");
            assert!(problem.at == "a.gguf" && !problem.next.is_empty(), "{problem:?}");
        }
        let long = [("context_length", json!(131_072)), ("rope.freq_base", json!(5e5))];
        assert!(read("llama", &long, None).unwrap_err().what.contains("Llama 3.1"));
        // Windows that no text reaches beyond are none.
        assert!(read("llama", &[("attention.sliding_window", json!(64))], None).is_ok());
    }
}
