//! What is known of each method, by family.

mod additive;
mod reparameterised;
mod selective;

use super::{Enters, Family, Merges, MethodKind, Setting};

/// What is known of a method.
pub(super) struct Fact {
    /// As configurations write it.
    pub name: &'static str,
    /// As people write it.
    pub title: &'static str,
    /// One sentence for who chooses.
    pub sentence: &'static str,
    /// What of it trains.
    pub trains: &'static str,
    pub family: Family,
    pub enters: Enters,
    pub merges: Merges,
    /// Hugging Face PEFT's name for it, if PEFT has it.
    pub peft: Option<&'static str>,
    pub settings: &'static [Setting],
}

/// The entry of a method.
pub(super) fn of(kind: MethodKind) -> &'static Fact {
    match kind {
        MethodKind::Lora => &reparameterised::LORA,
        MethodKind::Rslora => &reparameterised::RSLORA,
        MethodKind::LoraPlus => &reparameterised::LORA_PLUS,
        MethodKind::LoraFa => &reparameterised::LORA_FA,
        MethodKind::Pissa => &reparameterised::PISSA,
        MethodKind::Qlora => &reparameterised::QLORA,
        MethodKind::Loftq => &reparameterised::LOFTQ,
        MethodKind::Adalora => &reparameterised::ADALORA,
        MethodKind::Dylora => &reparameterised::DYLORA,
        MethodKind::Dora => &reparameterised::DORA,
        MethodKind::Vera => &reparameterised::VERA,
        MethodKind::Lokr => &reparameterised::LOKR,
        MethodKind::Did => &reparameterised::DID,
        MethodKind::Said => &reparameterised::SAID,
        MethodKind::Hiwi => &reparameterised::HIWI,
        MethodKind::Houlsby => &additive::HOULSBY,
        MethodKind::Pfeiffer => &additive::PFEIFFER,
        MethodKind::Parallel => &additive::PARALLEL,
        MethodKind::Compacter => &additive::COMPACTER,
        MethodKind::SparseAdapter => &additive::SPARSE_ADAPTER,
        MethodKind::Prefix => &additive::PREFIX,
        MethodKind::Prompt => &additive::PROMPT,
        MethodKind::Ia3 => &additive::IA3,
        MethodKind::Ssf => &additive::SSF,
        MethodKind::Ladder => &additive::LADDER,
        MethodKind::Bitfit => &selective::BITFIT,
        MethodKind::LayerNorm => &selective::LAYER_NORM,
        MethodKind::Pafi => &selective::PAFI,
        MethodKind::RandomMask => &selective::RANDOM_MASK,
        MethodKind::Shira => &selective::SHIRA,
        MethodKind::Fish => &selective::FISH,
        MethodKind::LtSft => &selective::LT_SFT,
        MethodKind::DiffPruning => &selective::DIFF_PRUNING,
        MethodKind::ChildTuning => &selective::CHILD_TUNING,
        MethodKind::Lisa => &selective::LISA,
        MethodKind::Galore => &selective::GALORE,
        MethodKind::Full => &selective::FULL,
    }
}
