//! Which tensor of a GGUF file each of a checkpoint's is.

use std::collections::BTreeMap;

use stratune_protocol::{Module, Role};
use stratune_store::{RowOrder, View};

use super::GgufForm;
use crate::ModelConfig;

/// What llama.cpp calls a tensor, without its block and its end.
pub(super) fn name(role: Role) -> &'static str {
    match role {
        Role::Embedding => "token_embd",
        Role::PositionEmbedding => "position_embd",
        Role::PatchEmbedding => "v.patch_embd",
        Role::FinalNorm => "output_norm",
        Role::Head => "output",
        Role::AttentionNorm => "attn_norm",
        Role::Query => "attn_q",
        Role::Key => "attn_k",
        Role::Value => "attn_v",
        Role::QueryKeyValue => "attn_qkv",
        Role::Output => "attn_output",
        Role::QueryNorm => "attn_q_norm",
        Role::KeyNorm => "attn_k_norm",
        Role::AttentionOutputNorm => "post_attention_norm",
        Role::MlpNorm => "ffn_norm",
        Role::Gate => "ffn_gate",
        // Where both are one, that has the name of up.
        Role::Up | Role::GateUp => "ffn_up",
        Role::Down => "ffn_down",
        Role::MlpOutputNorm => "post_ffw_norm",
        Role::TokenTypeEmbedding => "token_types",
        Role::EmbeddingNorm => "token_embd_norm",
        Role::Pooler => "cls",
        Role::CrossNorm => "cross_attn_norm",
        Role::CrossQuery => "cross_attn_q",
        Role::CrossKey => "cross_attn_k",
        Role::CrossValue => "cross_attn_v",
        Role::CrossOutput => "cross_attn_o",
        Role::RelativeBias => "attn_rel_b",
        Role::EncoderNorm => "enc.output_norm",
        Role::Classifier => "cls.output",
    }
}

/// What a module's tensor is called in the file, where it is one by itself.
pub(super) fn own_name(module: &Module, tensor: &str) -> String {
    let end = tensor.rsplit('.').next().unwrap_or(tensor);
    match module.block {
        Some(block) => format!("blk.{block}.{}.{end}", name(module.role)),
        None => format!("{}.{end}", name(module.role)),
    }
}

/// Where a tensor of a module is in the file, if it is.
pub(super) fn view(
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
    let own = own_name(module, tensor);
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
    let is_norm =
        !module.role.is_linear() && !matches!(module.role, Role::Embedding | Role::PositionEmbedding | Role::Head);
    let added = if is_norm { form.added_to_norms } else { 0.0 };
    let order = row_order(model, form, module.role);
    Some(View { tensor, first_row, shape, order, added })
}

/// In which order the rows of a module lie in the file, and the numbers of its bias.
pub(super) fn row_order(model: &ModelConfig, form: &GgufForm, role: Role) -> RowOrder {
    match role {
        Role::Query | Role::Key if form.alternating => RowOrder::Alternating { head_dim: model.head_dim },
        Role::QueryKeyValue if model.heads_apart => {
            RowOrder::PartsApart { heads: model.num_attention_heads, head_dim: model.head_dim }
        }
        _ => RowOrder::Same,
    }
}
