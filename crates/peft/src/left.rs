//! What is left of a method when training is over.

use stratune_protocol::{MethodConfig, MethodKind, Role, TargetOverride, Targets};

/// What computes the same on this base without what only training needs: HiWi leaves biases, a prefix's network the prefix,
/// diff pruning its largest differences; what data have chosen is written down.
pub fn finalized(method: &MethodConfig) -> MethodConfig {
    match method.kind {
        MethodKind::Hiwi => MethodConfig {
            layers: method.layers.clone(),
            targets: Some(Targets::listed(&[Role::Up.name(), Role::Down.name()])),
            ..MethodConfig::new(MethodKind::Bitfit)
        },
        MethodKind::Fish | MethodKind::LtSft | MethodKind::DiffPruning => MethodConfig {
            layers: method.layers.clone(),
            targets: method.targets.clone(),
            share: method.share,
            ..MethodConfig::new(MethodKind::RandomMask)
        },
        MethodKind::Prefix => MethodConfig { width: Some(0), ..method.clone() },
        MethodKind::Lora
        | MethodKind::Rslora
        | MethodKind::LoraPlus
        | MethodKind::LoraFa
        | MethodKind::Pissa
        | MethodKind::Qlora
        | MethodKind::Loftq
        | MethodKind::Adalora
        | MethodKind::Dylora
        | MethodKind::Dora
        | MethodKind::Vera
        | MethodKind::Lokr
        | MethodKind::Did
        | MethodKind::Said
        | MethodKind::Houlsby
        | MethodKind::Pfeiffer
        | MethodKind::Parallel
        | MethodKind::Compacter
        | MethodKind::SparseAdapter
        | MethodKind::Prompt
        | MethodKind::Ia3
        | MethodKind::Ssf
        | MethodKind::Ladder
        | MethodKind::Bitfit
        | MethodKind::LayerNorm
        | MethodKind::Pafi
        | MethodKind::RandomMask
        | MethodKind::Shira
        | MethodKind::ChildTuning
        | MethodKind::Lisa
        | MethodKind::Galore
        | MethodKind::Full => method.clone(),
    }
}

/// What computes it on the base as its file has it, from what [`finalized`] leaves: QLoRA is a LoRA there, PiSSA and LoftQ are
/// one of twice the rank, which has what they started at taken off.
pub fn for_base_as_read(method: &MethodConfig) -> MethodConfig {
    let lora = |times: usize| {
        let over = |over: &TargetOverride| TargetOverride {
            rank: over.rank.map(|r| times * r),
            alpha: over.alpha.map(|a| times as f32 * a),
        };
        MethodConfig {
            kind: MethodKind::Lora,
            bits: None,
            gated: Some(false),
            rank: method.rank.map(|r| times * r),
            alpha: method.alpha.map(|a| times as f32 * a),
            overrides: method.overrides.iter().map(|(path, o)| (path.clone(), over(o))).collect(),
            ..method.clone()
        }
    };
    match method.kind {
        MethodKind::Qlora => lora(1),
        MethodKind::Pissa | MethodKind::Loftq => lora(2),
        MethodKind::Lora
        | MethodKind::Rslora
        | MethodKind::LoraPlus
        | MethodKind::LoraFa
        | MethodKind::Adalora
        | MethodKind::Dylora
        | MethodKind::Dora
        | MethodKind::Vera
        | MethodKind::Lokr
        | MethodKind::Did
        | MethodKind::Said
        | MethodKind::Hiwi
        | MethodKind::Houlsby
        | MethodKind::Pfeiffer
        | MethodKind::Parallel
        | MethodKind::Compacter
        | MethodKind::SparseAdapter
        | MethodKind::Prefix
        | MethodKind::Prompt
        | MethodKind::Ia3
        | MethodKind::Ssf
        | MethodKind::Ladder
        | MethodKind::Bitfit
        | MethodKind::LayerNorm
        | MethodKind::Pafi
        | MethodKind::RandomMask
        | MethodKind::Shira
        | MethodKind::Fish
        | MethodKind::LtSft
        | MethodKind::DiffPruning
        | MethodKind::ChildTuning
        | MethodKind::Lisa
        | MethodKind::Galore
        | MethodKind::Full => method.clone(),
    }
}
