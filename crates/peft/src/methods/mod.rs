//! The methods, one a file, and the list of them.

mod adalora;
mod bitfit;
mod child_tuning;
mod compacter;
mod did;
mod diff_pruning;
mod dora;
mod dylora;
mod fish;
mod full;
mod galore;
mod hiwi;
mod houlsby;
mod ia3;
mod ladder;
mod layer_norm;
mod lisa;
mod loftq;
mod lokr;
mod lora;
mod lora_fa;
mod lora_plus;
mod lt_sft;
mod pafi;
mod parallel;
mod pfeiffer;
mod pissa;
mod prefix;
mod prompt;
mod qlora;
mod random_mask;
mod rslora;
mod said;
mod shira;
mod sparse_adapter;
mod ssf;
mod vera;

pub use adalora::Adalora;
pub use bitfit::Bias;
pub use diff_pruning::Diff;
pub use dora::Dora;
pub use hiwi::Hiwi;
pub use ia3::Ia3;
pub use ladder::SideShape;
pub use lokr::{Kronecker, Second};
pub use prefix::Prefix;
pub use ssf::Ssf;
pub use vera::Vera;

use serde::{Deserialize, Serialize};

use crate::Method;

/// The kinds of methods, all of them, and the file of each.
macro_rules! list {
    ($($kind:ident: $file:ident,)*) => {
        /// A method of the literature.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs)]
        pub enum MethodKind {
            #[default]
            $($kind,)*
        }

        impl MethodKind {
            /// All of them, by family.
            pub const ALL: [Self; [$(Self::$kind),*].len()] = [$(Self::$kind),*];

            /// All that is known of it.
            pub fn method(self) -> &'static Method {
                match self {
                    $(Self::$kind => &$file::METHOD,)*
                }
            }
        }
    };
}

list! {
    Lora: lora,
    Rslora: rslora,
    LoraPlus: lora_plus,
    LoraFa: lora_fa,
    Pissa: pissa,
    Qlora: qlora,
    Loftq: loftq,
    Adalora: adalora,
    Dylora: dylora,
    Dora: dora,
    Vera: vera,
    Lokr: lokr,
    Did: did,
    Said: said,
    Hiwi: hiwi,
    Houlsby: houlsby,
    Pfeiffer: pfeiffer,
    Parallel: parallel,
    Compacter: compacter,
    SparseAdapter: sparse_adapter,
    Prefix: prefix,
    Prompt: prompt,
    Ia3: ia3,
    Ssf: ssf,
    Ladder: ladder,
    Bitfit: bitfit,
    LayerNorm: layer_norm,
    Pafi: pafi,
    RandomMask: random_mask,
    Shira: shira,
    Fish: fish,
    LtSft: lt_sft,
    DiffPruning: diff_pruning,
    ChildTuning: child_tuning,
    Lisa: lisa,
    Galore: galore,
    Full: full,
}
