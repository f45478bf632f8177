//! What Llama and the families after it have in common: the keys of their sizes, and the names of their modules.

use stratune_kernels::{Activation, Scores};
use stratune_protocol::{Module, Role};

use super::{Family, Fields, Given, rope};
use crate::ModelConfig;
use crate::nn::AttentionKind;

/// The key that gives all linear layers of the attention biases.
pub(super) const ATTENTION_BIAS: (&str, &[Role]) =
    ("attention_bias", &[Role::Query, Role::Key, Role::Value, Role::Output]);
/// The key that gives all linear layers of the feed-forward biases.
pub(super) const MLP_BIAS: (&str, &[Role]) = ("mlp_bias", &[Role::Gate, Role::Up, Role::Down]);

/// What a family's modules are, and what keys mean that are absent.
pub(super) struct Decoder {
    /// Key heads, from the query heads.
    pub num_key_value_heads: fn(usize) -> usize,
    /// Width of a head, from the width and the query heads.
    pub head_dim: fn(usize, usize) -> usize,
    /// Added to the mean square in the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary wavelengths.
    pub rope_theta: f64,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// The key of the activation, and what it is.
    pub activation: (&'static str, &'static str),
    /// Whether the output layer is the embedding.
    pub tie_word_embeddings: bool,
    /// Linear layers with a bias that no key speaks of.
    pub biased: &'static [Role],
    /// Whether the feed-forward is gated.
    pub gated: bool,
    /// Whether queries, keys and values are made by one matrix, and both halves of the feed-forward.
    pub fused: bool,
    /// Where a block's norms are.
    pub norms: Norms,
    /// What queries and keys are normalised by.
    pub qk_norm: QkNorm,
}

/// Where a block's norms are: around what attention and feed-forward read, or give, or both.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    /// Of what they read.
    Pre,
    /// Of what they give.
    Post,
    /// Of both.
    Sandwich,
}

/// What queries and keys are normalised by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum QkNorm {
    /// Nothing.
    None,
    /// Each head by itself.
    Head,
    /// All heads at once.
    Whole,
}

/// Llama: a family says in what it is another.
pub(super) const LLAMA: Decoder = Decoder {
    num_key_value_heads: |heads| heads,
    head_dim: |hidden, heads| hidden / heads,
    rms_norm_eps: 1e-6,
    rope_theta: 1e4,
    max_position_embeddings: 2048,
    activation: ("hidden_act", "silu"),
    tie_word_embeddings: false,
    biased: &[],
    gated: true,
    fused: false,
    norms: Norms::Pre,
    qk_norm: QkNorm::None,
};

/// More blocks than any model has.
const MAX_LAYERS: usize = 4096;

/// What `config.json` says of sizes, positions, activation and biases. Nothing slides and nothing is multiplied, but as in
/// Llama.
pub(super) fn read(family: &'static Family, fields: &Fields<'_>, of: &Decoder) -> Result<ModelConfig, String> {
    let [hidden_size, num_attention_heads] = [fields.size("hidden_size")?, fields.size("num_attention_heads")?];
    let num_hidden_layers = fields.size("num_hidden_layers")?;
    if num_hidden_layers > MAX_LAYERS {
        return Err(format!("num_hidden_layers is {num_hidden_layers}, more than any model has"));
    }
    let kv_heads = fields.given_size("num_key_value_heads")?;
    let head_dim = (of.head_dim)(hidden_size, num_attention_heads);
    let head_dim = fields.given_size("head_dim")?.or(head_dim, head_dim);
    let max_position_embeddings =
        fields.given_size("max_position_embeddings")?.or(of.max_position_embeddings, of.max_position_embeddings);
    let rope = rope::read(fields, of.rope_theta, max_position_embeddings)?;
    let mut config = ModelConfig {
        family,
        json: fields.0.clone(),
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: kv_heads.or((of.num_key_value_heads)(num_attention_heads), num_attention_heads),
        head_dim,
        rotary_dim: head_dim,
        norm_eps: fields.number_or("rms_norm_eps", of.rms_norm_eps)?,
        max_position_embeddings,
        attention: vec![AttentionKind { rope: Some(rope), window: None, bidirectional: false }; num_hidden_layers],
        scores: Scores::of(head_dim),
        scores_by_depth: false,
        heads_apart: false,
        parallel: false,
        norms_of_sums: false,
        first_position: 0,
        unplaced_token: None,
        classifier: None,
        image: None,
        seq2seq: None,
        activation: activation(fields, of.activation)?,
        centring_norms: false,
        zero_centered_norms: false,
        embedding_multiplier: 1.0,
        multiplies_prompt: false,
        residual_multiplier: 1.0,
        logits_scaling: 1.0,
        final_logit_softcapping: None,
        modules: Vec::new(),
    };
    let mut biased = of.biased.to_vec();
    for (key, roles) in family.bias_keys {
        if fields.flag_or(key, false)? {
            biased.extend_from_slice(roles);
        }
    }
    let tied = fields.flag_or("tie_word_embeddings", of.tie_word_embeddings)?;
    config.modules = modules(&config, of, &biased, tied);
    Ok(config)
}

/// The activation that a key names, by the names of transformers.
pub(super) fn activation(
    fields: &Fields<'_>,
    (key, default): (&'static str, &'static str),
) -> Result<Activation, String> {
    match fields.word_or(key, default)? {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "relu2" => Ok(Activation::Relu2),
        other => Err(format!("{key} is {other}, which is not computed")),
    }
}

/// The modules of a model without biases, norms of heads and an output layer.
pub(crate) fn plain_modules(config: &ModelConfig) -> Vec<Module> {
    modules(config, &LLAMA, &[], true)
}

/// A module whose weight files have as it is here.
pub(super) fn module(block: Option<usize>, path: String, role: Role, shape: Vec<usize>, bias: bool) -> Module {
    Module { path, block, role, shape, bias, transposed: false }
}

/// The table of modules, by the names that checkpoints of these families have.
fn modules(config: &ModelConfig, of: &Decoder, biased: &[Role], tied: bool) -> Vec<Module> {
    let (d, m, h) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let (q, kv) = (config.num_attention_heads * h, config.num_key_value_heads * h);
    let module = |block: Option<usize>, path: String, role: Role, shape: Vec<usize>| {
        module(block, path, role, shape, biased.contains(&role))
    };
    let [attention_norms, mlp_norms] = of.norms.names();
    let qk_norms = match of.qk_norm {
        QkNorm::None => None,
        QkNorm::Head => Some([h, h]),
        QkNorm::Whole => Some([q, kv]),
    };
    let mut all = vec![module(None, "model.embed_tokens".into(), Role::Embedding, vec![config.vocab_size, d])];
    for i in 0..config.num_hidden_layers {
        let mut add = |name: &str, role: Role, shape: Vec<usize>| {
            all.push(module(Some(i), format!("model.layers.{i}.{name}"), role, shape));
        };
        let norm = |add: &mut dyn FnMut(&str, Role, Vec<usize>), name: Option<&str>, role: Role| {
            if let Some(name) = name {
                add(name, role, vec![d]);
            }
        };
        norm(&mut add, attention_norms[0], Role::AttentionNorm);
        if of.fused {
            add("self_attn.qkv_proj", Role::QueryKeyValue, vec![q + 2 * kv, d]);
        } else {
            add("self_attn.q_proj", Role::Query, vec![q, d]);
            add("self_attn.k_proj", Role::Key, vec![kv, d]);
            add("self_attn.v_proj", Role::Value, vec![kv, d]);
        }
        add("self_attn.o_proj", Role::Output, vec![d, q]);
        if let Some([of_queries, of_keys]) = qk_norms {
            add("self_attn.q_norm", Role::QueryNorm, vec![of_queries]);
            add("self_attn.k_norm", Role::KeyNorm, vec![of_keys]);
        }
        norm(&mut add, attention_norms[1], Role::AttentionOutputNorm);
        norm(&mut add, mlp_norms[0], Role::MlpNorm);
        if of.fused {
            add("mlp.gate_up_proj", Role::GateUp, vec![2 * m, d]);
        } else {
            if of.gated {
                add("mlp.gate_proj", Role::Gate, vec![m, d]);
            }
            add("mlp.up_proj", Role::Up, vec![m, d]);
        }
        add("mlp.down_proj", Role::Down, vec![d, m]);
        norm(&mut add, mlp_norms[1], Role::MlpOutputNorm);
    }
    all.push(module(None, "model.norm".into(), Role::FinalNorm, vec![d]));
    if !tied {
        all.push(module(None, "lm_head".into(), Role::Head, vec![config.vocab_size, d]));
    }
    all
}

impl Norms {
    /// Of what the attention reads and gives, and of what the feed-forward reads and gives. `post_attention_layernorm` is
    /// the feed-forward's where nothing is normalised behind the attention.
    fn names(self) -> [[Option<&'static str>; 2]; 2] {
        let (attention, mlp) = ("post_attention_layernorm", "post_feedforward_layernorm");
        match self {
            Self::Pre => [[Some("input_layernorm"), None], [Some("post_attention_layernorm"), None]],
            Self::Post => [[None, Some(attention)], [None, Some(mlp)]],
            Self::Sandwich => {
                [[Some("input_layernorm"), Some(attention)], [Some("pre_feedforward_layernorm"), Some(mlp)]]
            }
        }
    }
}

/// The blocks whose attention slides, as `layer_types` says it; none if it does not.
pub(super) fn sliding_layers(fields: &Fields<'_>, layers: usize) -> Result<Option<Vec<bool>>, String> {
    let Some(types) = fields.get("layer_types") else { return Ok(None) };
    let sliding = |kind: &serde_json::Value| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(format!("layer_types has {kind}, which is not computed")),
    };
    let types = types.as_array().map(Vec::as_slice).unwrap_or_default();
    if types.len() != layers {
        return Err(format!("layer_types names {} layers where num_hidden_layers is {layers}", types.len()));
    }
    types.iter().map(sliding).collect::<Result<_, _>>().map(Some)
}

/// The window of each block of these that slides; `absent` where the key is not there.
pub(super) fn windows(
    fields: &Fields<'_>,
    slides: &[bool],
    absent: Option<usize>,
) -> Result<Vec<Option<usize>>, String> {
    let window = match fields.given_size("sliding_window")? {
        Given::Absent => absent,
        Given::Null => None,
        Given::Value(window) => Some(window),
    };
    Ok(slides.iter().map(|slides| window.filter(|_| *slides)).collect())
}
