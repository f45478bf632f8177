//! What a model computes, as facts that can be compared: whether a file says the same of it as its folder.

use crate::ModelConfig;
use crate::nn::Rope;

/// Numbers that were rounded to 32 bits on their way, or computed from such.
const SAME: f64 = 2e-5;

/// The first fact in which two models differ, whatever their modules are called.
pub(super) fn differing(one: &ModelConfig, other: &ModelConfig) -> Option<&'static str> {
    let pairs = facts(one).into_iter().zip(facts(other));
    let numbers = pairs.into_iter().find(|((_, one), (_, other))| {
        let same = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= SAME * a.abs().max(b.abs());
        one.len() != other.len() || !one.iter().zip(other).all(same)
    });
    if let Some(((name, _), _)) = numbers {
        return Some(name);
    }
    let modules = |model: &ModelConfig| {
        let of = |module: &stratune_protocol::Module| (module.block, module.role, module.shape.clone(), module.bias);
        model.modules.iter().map(of).collect::<Vec<_>>()
    };
    (modules(one) != modules(other)).then_some("the modules")
}

fn facts(model: &ModelConfig) -> Vec<(&'static str, Vec<f64>)> {
    let flag = |flag: bool| f64::from(u8::from(flag));
    let size = |size: usize| size as f64;
    // A window that no text reaches beyond is none.
    let window = |window: Option<usize>| window.filter(|window| *window < model.max_position_embeddings).unwrap_or(0);
    let short = |rope: &Rope| rope.switches_after().unwrap_or(1);
    let rotated = |rope: &Rope| {
        let of = |longest: usize| rope.frequencies(model.rotary_dim, longest);
        [of(short(rope)), of(rope.context(model.max_position_embeddings)), vec![rope.magnitude()]].concat()
    };
    let blocks = &model.attention;
    vec![
        (
            "the sizes",
            [
                model.vocab_size,
                model.hidden_size,
                model.intermediate_size,
                model.num_hidden_layers,
                model.num_attention_heads,
                model.num_key_value_heads,
                model.head_dim,
                model.max_position_embeddings,
            ]
            .map(size)
            .into(),
        ),
        ("the share of a head that is rotated", vec![size(model.rotary_dim)]),
        ("the epsilon of norms", vec![model.norm_eps]),
        ("the windows", blocks.iter().map(|kind| size(window(kind.window))).collect()),
        (
            "the rotary positions",
            blocks.iter().flat_map(|kind| kind.rope.as_ref().map_or(vec![0.0], rotated)).collect(),
        ),
        ("the scale of scores", vec![f64::from(model.scores.scale), flag(model.scores_by_depth)]),
        ("the soft cap of scores", vec![f64::from(model.scores.softcap.unwrap_or(0.0))]),
        ("the soft cap of logits", vec![model.final_logit_softcapping.unwrap_or(0.0)]),
        ("the order of fused rows", vec![flag(model.heads_apart)]),
        ("parallel blocks", vec![flag(model.parallel)]),
        ("the activation", vec![size(model.activation as usize)]),
        ("the kind of norms", vec![flag(model.centring_norms), flag(model.zero_centered_norms)]),
        ("the multiplier of embeddings", vec![model.embedding_multiplier]),
        ("the multiplier of residuals", vec![model.residual_multiplier]),
        ("the scaling of logits", vec![model.logits_scaling]),
    ]
}
