//! A family's model in a GGUF file of llama.cpp: its metadata as a `config.json`, and which tensor of the file each of the
//! checkpoint's is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use stratune_protocol::{Module, Problem, Role};
use stratune_store::{RowOrder, View};

use super::{FAMILIES, Family, Fields, Given};
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
    /// Fields of `config.json` that other families do not have, or not from there; an error names the key.
    pub config: fn(&Keys<'_>, &mut Map<String, Value>) -> Result<(), String>,
}

/// What most of llama.cpp's architectures are: a family says in what it is another.
pub(super) const PLAIN: GgufForm =
    GgufForm { architecture: "", alternating: false, added_to_norms: 0.0, slides: false, config: |_, _| Ok(()) };

/// More blocks than any model has.
const MAX_LAYERS: usize = 512;

/// The tensor of the factors by which wavelengths are stretched.
pub const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Keys of one architecture, which begin with its name.
#[derive(Debug)]
pub struct Keys<'a> {
    architecture: &'a str,
    fields: Fields<'a>,
    /// What [`ROPE_FACTORS`] holds.
    pub rope_factors: Option<&'a [f32]>,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A size that may be there.
    ///
    /// # Errors
    /// It is no size; names the key.
    pub fn size(&self, key: &str) -> Result<Option<usize>, String> {
        Ok(self.fields.given_size(&self.key(key))?.or_none())
    }

    /// A number that may be there.
    ///
    /// # Errors
    /// It is no number; names the key.
    pub fn number(&self, key: &str) -> Result<Option<f64>, String> {
        Ok(self.fields.given(&self.key(key), "number", Value::as_f64)?.or_none())
    }

    /// A size that has to be there.
    ///
    /// # Errors
    /// It is missing, or no size; names the key.
    pub fn needed(&self, key: &str) -> Result<usize, String> {
        self.size(key)?.ok_or_else(|| format!("{} is missing", self.key(key)))
    }

    /// A size that may be given for each block, and is the same for all here.
    fn of_all_blocks(&self, key: &str) -> Result<Option<usize>, String> {
        let key = self.key(key);
        let Some(Value::Array(sizes)) = self.fields.get(&key) else {
            return Ok(self.fields.given_size(&key)?.or_none());
        };
        let first = sizes.first().and_then(Value::as_u64).filter(|size| (1..1 << 24).contains(size));
        match first {
            Some(first) if sizes.iter().all(|size| size.as_u64() == Some(first)) => Ok(Some(first as usize)),
            _ => Err(format!("{key} is not the same for all blocks, which is not computed")),
        }
    }

    /// Width of a head.
    ///
    /// # Errors
    /// Keys and values have others, or a key is missing.
    pub fn head_dim(&self) -> Result<usize, String> {
        let heads = self.of_all_blocks("attention.head_count")?;
        let heads = heads.ok_or_else(|| format!("{} is missing", self.key("attention.head_count")))?;
        let plain = self.needed("embedding_length")? / heads;
        let [keys, values] = ["attention.key_length", "attention.value_length"].map(|key| self.size(key));
        let (keys, values) = (keys?.unwrap_or(plain), values?.unwrap_or(plain));
        if keys == values {
            return Ok(keys);
        }
        Err(format!(
            "{} is {keys} and that of values {values}, which is not computed",
            self.key("attention.key_length")
        ))
    }
}

impl<T> Given<T> {
    fn or_none(self) -> Option<T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// What a GGUF file has, as a folder would.
#[derive(Debug)]
pub struct GgufModel {
    /// `config.json`.
    pub config: Value,
    /// The checkpoint's tensors by name.
    pub tensors: BTreeMap<String, View>,
}

impl GgufModel {
    /// Reads a file's metadata, the shapes of its tensors by name, and what [`ROPE_FACTORS`] holds if it is there. `at` is
    /// the file's name for errors.
    ///
    /// # Errors
    /// Another architecture, a missing or impossible key, a feature that is not computed here, or a tensor that is missing.
    pub fn read(
        metadata: &Value,
        shapes: &BTreeMap<String, Vec<usize>>,
        rope_factors: Option<&[f32]>,
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
        let keys = Keys { architecture, fields: Fields(metadata), rope_factors };
        let config = config(family, form, &keys, shapes).map_err(|what| bad(what).next(again))?;
        let model = ModelConfig::from_json(&config, at).map_err(|problem| problem.or_next(again))?;
        let mut tensors = BTreeMap::new();
        for module in &model.modules {
            for (name, shape) in module.tensors() {
                let Some(view) = view(&model, form, module, &name, shape, shapes) else {
                    return Err(bad(format!("the file has no tensor for {name}")).next("use a complete file"));
                };
                tensors.insert(name, view);
            }
        }
        Ok(Self { config, tensors })
    }
}

/// What the metadata say, as the keys of `config.json`.
fn config(
    family: &Family,
    form: &GgufForm,
    keys: &Keys<'_>,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<Value, String> {
    let layers = keys.needed("block_count")?;
    if layers > MAX_LAYERS {
        return Err(format!("{} is {layers}, more than any model has", keys.key("block_count")));
    }
    if let Some(experts) = keys.size("expert_count").unwrap_or(None) {
        return Err(format!("{} is {experts}: mixtures of experts are not computed", keys.key("expert_count")));
    }
    let needed = |key: &str| keys.of_all_blocks(key)?.ok_or_else(|| format!("{} is missing", keys.key(key)));
    let (heads, head_dim) = (needed("attention.head_count")?, keys.head_dim()?);
    let context = keys.needed("context_length")?;
    if let Some(rotated) = keys.size("rope.dimension_count")?.filter(|rotated| *rotated != head_dim) {
        return Err(format!("{} is {rotated} of {head_dim}, which is not computed", keys.key("rope.dimension_count")));
    }
    if let Some(window) = keys.size("attention.sliding_window").unwrap_or(None)
        && !form.slides
        && window < context
    {
        return Err(format!("{} is {window}, which is not computed", keys.key("attention.sliding_window")));
    }
    let embedding = shapes.get("token_embd.weight").and_then(|shape| shape.first()).copied();
    let epsilon = keys.number("attention.layer_norm_rms_epsilon")?;
    let mut config = json!({
        "architectures": [family.class],
        "model_type": family.model_type,
        "vocab_size": embedding.ok_or("the file has no tensor token_embd.weight")?,
        "hidden_size": keys.needed("embedding_length")?,
        "intermediate_size": needed("feed_forward_length")?,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.of_all_blocks("attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": epsilon.ok_or_else(|| format!("{} is missing", keys.key("attention.layer_norm_rms_epsilon")))?,
        "rope_theta": keys.number("rope.freq_base")?.unwrap_or(1e4),
        "tie_word_embeddings": !shapes.contains_key("output.weight"),
    });
    let Value::Object(fields) = &mut config else { return Ok(config) };
    if let Some(scaling) = rope_scaling(keys, context)? {
        fields.insert("rope_scaling".into(), scaling);
    }
    for (key, roles) in family.bias_keys {
        let has = |role: &Role| shapes.contains_key(&format!("blk.0.{}.bias", name(*role)));
        fields.insert((*key).into(), roles.iter().any(has).into());
    }
    for token in ["bos", "eos"] {
        if let Some(id) = keys.fields.get(&format!("tokenizer.ggml.{token}_token_id")) {
            fields.insert(format!("{token}_token_id"), id.clone());
        }
    }
    (form.config)(keys, fields)?;
    Ok(config)
}

/// How positions are stretched, as `rope_scaling` of `config.json`.
fn rope_scaling(keys: &Keys<'_>, context: usize) -> Result<Option<Value>, String> {
    let kind = keys.key("rope.scaling.type");
    let factor = match keys.number("rope.scaling.factor")? {
        None => keys.number("rope.scale_linear")?,
        factor => factor,
    };
    match (keys.fields.word_or(&kind, "none")?, factor, keys.rope_factors) {
        ("none", None, Some(factors)) => llama3(factors, keys).map(Some),
        ("linear" | "none", Some(factor), None) => Ok(Some(json!({"rope_type": "linear", "factor": factor}))),
        ("linear" | "none", None, None) => Ok(None),
        ("yarn", Some(factor), None) => {
            let mut scaling = json!({"rope_type": "yarn", "factor": factor});
            scaling["original_max_position_embeddings"] =
                keys.size("rope.scaling.original_context_length")?.unwrap_or(context).into();
            for (key, name) in
                [("rope.scaling.yarn_beta_fast", "beta_fast"), ("rope.scaling.yarn_beta_slow", "beta_slow")]
            {
                if let Some(number) = keys.number(key)? {
                    scaling[name] = number.into();
                }
            }
            Ok(Some(scaling))
        }
        (other, _, None) => Err(format!("{kind} is {other}, which is not computed")),
        (other, _, Some(_)) => Err(format!("{kind} is {other} and there is {ROPE_FACTORS}, which is not computed")),
    }
}

/// The scaling of Llama 3 of which these factors are: files hold them and not what they are made of. The longest wavelengths
/// are stretched by the whole factor, and one that is stretched by less says how long texts were before.
fn llama3(factors: &[f32], keys: &Keys<'_>) -> Result<Value, String> {
    const LOW: f64 = 1.0;
    const HIGH: f64 = 4.0;
    let head_dim = keys.head_dim()?;
    let theta = keys.number("rope.freq_base")?.unwrap_or(1e4);
    let factor = factors.iter().copied().fold(1.0_f32, f32::max);
    let factor: f64 = factor.to_string().parse().unwrap_or(f64::NAN);
    let wavelength = |i: usize| std::f64::consts::TAU * theta.powf(2.0 * i as f64 / head_dim as f64);
    // They are f32, made in f32 or f64.
    let fits = |original: f64| {
        let want = |i: usize| {
            let smooth = ((original / wavelength(i) - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
            1.0 / ((1.0 - smooth) / factor + smooth)
        };
        factors.iter().enumerate().all(|(i, is)| (f64::from(*is) / want(i) - 1.0).abs() < 1e-4)
    };
    let of_one = |(i, is): (usize, &f32)| {
        let smooth = (1.0 / f64::from(*is) - 1.0 / factor) / (1.0 - 1.0 / factor);
        (smooth > 1e-3 && smooth < 1.0 - 1e-3).then(|| (wavelength(i) * (LOW + (HIGH - LOW) * smooth)).round())
    };
    let original = [8192.0].into_iter().chain(factors.iter().enumerate().filter_map(of_one)).find(|it| fits(*it));
    match original {
        Some(original) if factors.len() == head_dim / 2 => {
            Ok(json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": LOW, "high_freq_factor": HIGH,
                      "original_max_position_embeddings": original as u64}))
        }
        _ => Err(format!("{ROPE_FACTORS} stretches wavelengths otherwise than Llama 3 does, which is not computed")),
    }
}

/// What llama.cpp calls a tensor, without its block and its end.
fn name(role: Role) -> &'static str {
    match role {
        Role::Embedding => "token_embd",
        Role::FinalNorm => "output_norm",
        Role::Head => "output",
        Role::AttentionNorm => "attn_norm",
        Role::Query => "attn_q",
        Role::Key => "attn_k",
        Role::Value => "attn_v",
        Role::Output => "attn_output",
        Role::QueryNorm => "attn_q_norm",
        Role::KeyNorm => "attn_k_norm",
        Role::AttentionOutputNorm => "post_attention_norm",
        Role::MlpNorm => "ffn_norm",
        Role::Gate => "ffn_gate",
        Role::Up => "ffn_up",
        Role::Down => "ffn_down",
        Role::MlpOutputNorm => "post_ffw_norm",
    }
}

/// Where a tensor of a module is in the file, if it is.
fn view(
    model: &ModelConfig,
    form: &GgufForm,
    module: &Module,
    tensor: &str,
    shape: Vec<usize>,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Option<View> {
    let end = tensor.rsplit('.').next()?;
    let full = |name: &str| match module.block {
        Some(block) => format!("blk.{block}.{name}.{end}"),
        None => format!("{name}.{end}"),
    };
    let (q, kv) = (model.num_attention_heads * model.head_dim, model.num_key_value_heads * model.head_dim);
    let own = full(name(module.role));
    // Some files have all three in one.
    let within = match module.role {
        Role::Query => Some(0),
        Role::Key => Some(q),
        Role::Value => Some(q + kv),
        _ => None,
    };
    let (tensor, first_row) = match within {
        Some(first) if !shapes.contains_key(&own) => (full("attn_qkv"), first),
        _ => (own, 0),
    };
    if !shapes.contains_key(&tensor) {
        return None;
    }
    let order = match module.role {
        Role::Query | Role::Key if form.alternating => RowOrder::Alternating { head_dim: model.head_dim },
        _ => RowOrder::Same,
    };
    let is_norm = !module.role.is_linear() && !matches!(module.role, Role::Embedding | Role::Head);
    let added = if is_norm { form.added_to_norms } else { 0.0 };
    Some(View { tensor, first_row, shape, order, added })
}
