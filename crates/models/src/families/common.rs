//! What Llama and the families after it have in common: the keys of their sizes, and the names of their modules.

use stratune_protocol::{Module, Role};

use super::{Family, Fields, rope};
use crate::ModelConfig;

/// What keys mean that are absent, and how large a head is then.
pub(super) struct Defaults {
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
}

/// More blocks than any model has.
const MOST_LAYERS: usize = 4096;

/// Sizes, norms and positions. Nothing slides, and the table of modules is still empty.
pub(super) fn decoder(
    family: &'static Family,
    fields: &Fields<'_>,
    defaults: &Defaults,
) -> Result<ModelConfig, String> {
    let act = fields.word_or("hidden_act", "silu")?;
    if !matches!(act, "silu" | "swish") {
        return Err(format!("hidden_act is {act}, and silu alone is computed"));
    }
    let [hidden_size, num_attention_heads] = [fields.size("hidden_size")?, fields.size("num_attention_heads")?];
    let num_hidden_layers = fields.size("num_hidden_layers")?;
    if num_hidden_layers > MOST_LAYERS {
        return Err(format!("num_hidden_layers is {num_hidden_layers}, more than any model has"));
    }
    let kv_heads = fields.given_size("num_key_value_heads")?;
    let head_dim = (defaults.head_dim)(hidden_size, num_attention_heads);
    let max_position_embeddings = fields
        .given_size("max_position_embeddings")?
        .or(defaults.max_position_embeddings, defaults.max_position_embeddings);
    Ok(ModelConfig {
        family,
        json: fields.0.clone(),
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: kv_heads.or((defaults.num_key_value_heads)(num_attention_heads), num_attention_heads),
        head_dim: fields.given_size("head_dim")?.or(head_dim, head_dim),
        rms_norm_eps: fields.number_or("rms_norm_eps", defaults.rms_norm_eps)?,
        max_position_embeddings,
        rope: rope::read(fields, defaults.rope_theta, max_position_embeddings)?,
        windows: vec![None; num_hidden_layers],
        modules: Vec::new(),
    })
}

/// What modules a model has beside those that all have.
pub(super) struct Switches<'a> {
    /// Whether a linear layer has a bias.
    pub bias: &'a dyn Fn(Role) -> bool,
    /// Whether queries and keys of each head are normalised.
    pub qk_norm: bool,
    /// Whether the output layer is the embedding.
    pub tied: bool,
}

/// The table of modules, by the names that checkpoints of these families have.
pub(super) fn modules(config: &ModelConfig, switches: &Switches<'_>) -> Vec<Module> {
    let (d, m, h) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let (q, kv) = (config.num_attention_heads * h, config.num_key_value_heads * h);
    let module = |block: Option<usize>, path: String, role: Role, shape: Vec<usize>| Module {
        path,
        block,
        role,
        shape,
        bias: role.is_linear() && (switches.bias)(role),
    };
    let mut all = vec![module(None, "model.embed_tokens".into(), Role::Embedding, vec![config.vocab_size, d])];
    for i in 0..config.num_hidden_layers {
        let qk_norms = [("self_attn.q_norm", Role::QueryNorm, vec![h]), ("self_attn.k_norm", Role::KeyNorm, vec![h])];
        let parts = [
            ("input_layernorm", Role::AttentionNorm, vec![d]),
            ("self_attn.q_proj", Role::Query, vec![q, d]),
            ("self_attn.k_proj", Role::Key, vec![kv, d]),
            ("self_attn.v_proj", Role::Value, vec![kv, d]),
            ("self_attn.o_proj", Role::Output, vec![d, q]),
        ];
        let parts = parts.into_iter().chain(qk_norms.into_iter().filter(|_| switches.qk_norm)).chain([
            ("post_attention_layernorm", Role::MlpNorm, vec![d]),
            ("mlp.gate_proj", Role::Gate, vec![m, d]),
            ("mlp.up_proj", Role::Up, vec![m, d]),
            ("mlp.down_proj", Role::Down, vec![d, m]),
        ]);
        all.extend(parts.map(|(name, role, shape)| module(Some(i), format!("model.layers.{i}.{name}"), role, shape)));
    }
    all.push(module(None, "model.norm".into(), Role::FinalNorm, vec![d]));
    if !switches.tied {
        all.push(module(None, "lm_head".into(), Role::Head, vec![config.vocab_size, d]));
    }
    all
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
